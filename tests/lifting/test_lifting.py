"""The lifting network, its training, and what comes of lifting with it; no data set is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.lifting.body import LIMBS, limb_lengths, limbs_of, views
from posefix.lifting.lift import Lifter, camera_of
from posefix.lifting.network import LIFTING, LiftingConfig, LiftingNetwork
from posefix.lifting.placing import root_of, smoothed_distance, with_constant_limbs
from posefix.lifting.training import LiftingExperiment, LiftingTrainer, draw_batch, draw_scene, with_true_poses
from posefix.motion.tracks import Track
from posefix.training import config
from tests.motion_scenes import resumed, saved, standing

SKELETON = skeletons.load("coco17")
SMALL = LiftingConfig(filter_widths=(3, 3), channels=16)
CAMERA = camera_of(640, 480)


def network(causal: bool = False) -> LiftingNetwork:
    torch.manual_seed(0)
    made = LiftingNetwork(SMALL.model_copy(update={"causal": causal}), SKELETON).eval()
    for weights in made.parameters():
        weights.data += 0.05 * torch.randn_like(weights)
    return made


@pytest.mark.parametrize("size", [(640, 480), (480, 640)])
def test_the_field_of_view_is_along_the_longer_side(size: tuple[int, int]) -> None:
    rays = camera_of(*size, 90).rays(np.array([(0, 0), size]))
    np.testing.assert_allclose(rays[:, np.argmax(size)], [-1, 1])
    np.testing.assert_allclose(rays[:, np.argmin(size)], [-0.75, 0.75])


def track(frames: int = 40, seed: int = 0) -> Track:
    rng = np.random.default_rng(seed)
    pose = rng.uniform((250, 100), (390, 400), (17, 2))
    places = pose + np.cumsum(rng.normal(0, 1, (frames, 17, 2)), axis=0)
    xyc = np.concatenate([places, rng.uniform(0.3, 1, (frames, 17, 1))], axis=-1)
    return Track(4, np.arange(frames), np.arange(frames) / 30, xyc, np.arange(frames))


@pytest.mark.parametrize("causal", [False, True])
def test_an_output_sees_exactly_the_receptive_field(causal: bool) -> None:
    made = network(causal)
    tracks = torch.rand(1, 40, 17, 3, requires_grad=True)
    made(tracks, torch.tensor([30.0])).keypoints[0, 20].sum().backward()
    seen = torch.nonzero(tracks.grad[0].abs().sum((-2, -1))).flatten().tolist()
    assert made.receptive_field == 9
    # One frame more of the past than the field: movement is the difference from the frame before.
    assert seen == list(range(11, 21) if causal else range(15, 25))


def test_frames_beyond_the_ends_are_frames_without_a_pose() -> None:
    made, tracks = network(), torch.rand(1, 12, 17, 3)
    padded = torch.nn.functional.pad(tracks, (0, 0, 0, 0, 6, 6))
    inside = made(padded, torch.tensor([30.0])).keypoints[:, 6:-6]
    # Absent frames inside a window still tell the rate of frames; beyond it nothing is told.
    assert inside.shape == (1, 12, 17, 3)
    with pytest.raises(ValueError, match=r"tracks must be \(N, T, 17, 3\)"):
        made(tracks[:, :, :12], torch.tensor([30.0]))


def test_depth_does_not_depend_on_place_and_size_in_the_image() -> None:
    lifter, given = Lifter(network(), SKELETON), track()
    moved = replace(given, keypoints=given.keypoints * [0.5, 0.5, 1] + [37, -11, 0])
    one, two = (lifter._lift(lifter._network_pose(t.keypoints)[None], 30.0) for t in (given, moved))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_mirrored_track_is_lifted_to_the_mirrored_poses() -> None:
    lifter, given = Lifter(network(), SKELETON), track()
    mirrored = given.keypoints[:, SKELETON.flip] * [-1, 1, 1] + [2 * CAMERA.centre[0], 0, 0]
    one, two = lifter.tracks([given, replace(given, keypoints=mirrored)], CAMERA).tracks
    np.testing.assert_allclose(two.keypoints, one.keypoints[:, SKELETON.flip] * [-1, 1, 1], atol=1e-4)
    np.testing.assert_allclose(two.root, one.root * [-1, 1, 1], atol=1e-3)


def test_keypoints_that_are_never_given_are_not_made_up_and_gaps_are_filled() -> None:
    lifter, given = Lifter(network(), SKELETON), track()
    given.keypoints[:, 3] = (np.nan, np.nan, 0)
    given.keypoints[10:14, 9] = (np.nan, np.nan, 0)
    (found,) = lifter.tracks([given], CAMERA).tracks
    assert np.isnan(found.keypoints[:, 3]).all()
    assert np.isfinite(np.delete(found.keypoints, 3, axis=1)).all()
    assert np.isfinite(found.root).all()


def test_skeletons_meet_by_the_names_of_their_keypoints() -> None:
    body25, given = skeletons.load("body25"), track()
    order = body25.indices_from(SKELETON)
    other = replace(given, keypoints=np.where((order >= 0)[:, None], given.keypoints[:, order], (np.nan, np.nan, 0)))
    one = Lifter(network(), SKELETON).tracks([given], CAMERA).tracks[0]
    two = Lifter(network(), body25).tracks([other], CAMERA).tracks[0]
    np.testing.assert_allclose(two.keypoints, one.keypoints, atol=1e-5)


def test_people_of_images_are_lifted_each_alone() -> None:
    rng = np.random.default_rng(3)
    people = People(SKELETON, rng.uniform(100, 400, (5, 17, 2)), np.ones((5, 17)), np.array([4, 4, 7, 8, 9]))
    people.scores[2] = 0
    lifter = Lifter(network(), SKELETON)
    found = lifter.people(people, lambda image_id: CAMERA)
    alone = lifter.people(people[np.array([1])], lambda image_id: CAMERA)
    np.testing.assert_allclose(found.tracks[1].keypoints, alone.tracks[0].keypoints, atol=1e-5)
    assert [len(t) for t in found.tracks] == [1] * 5
    assert np.isnan(found.tracks[2].root).all()


def test_arrays_are_lifted_as_people_are_and_bad_ones_are_refused() -> None:
    lifter = Lifter(network(), SKELETON)
    keypoints = track(3).keypoints.astype(np.float32)
    keypoints[1, 9] = 0
    people = People(SKELETON, keypoints[..., :2], keypoints[..., 2], np.zeros(3))
    expected = [one.positions[0] for one in lifter.people(people, lambda image_id: CAMERA).tracks]
    found = lifter(keypoints, 640, 480)
    assert found.shape == (3, 17, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found).all(-1).sum() == 1
    assert lifter(keypoints[:0], 640, 480).shape == (0, 17, 3)
    for bad in (keypoints[:, :16], keypoints / 480, keypoints * np.nan):
        with pytest.raises(InputError):
            lifter(bad, 640, 480)


def test_size_is_that_of_the_height() -> None:
    given = track()
    one, two = (Lifter(network(), SKELETON, height).tracks([given], CAMERA).tracks[0] for height in (1.75, 3.5))
    np.testing.assert_allclose(2 * one.positions, two.positions, rtol=1e-4, atol=1e-4)


def test_the_root_is_where_the_keypoints_are_seen() -> None:
    rng = np.random.default_rng(0)
    pose, root = rng.normal(0, 0.4, (30, 17, 3)), rng.normal((0, 0, 5), (1, 1, 0.5), (30, 3))
    rays = CAMERA.rays(CAMERA.project(pose + root[:, None]))
    weights = rng.uniform(0.5, 1, (30, 17))
    weights[0, 3:] = 0
    found = root_of(pose, rays, weights)
    np.testing.assert_allclose(found[1:], root[1:], atol=1e-6)
    assert np.isnan(found[0]).all()


def test_a_distance_is_smoothed_along_the_line_of_sight() -> None:
    rng = np.random.default_rng(0)
    root = np.tile([0.5, 0.2, 4.0], (60, 1)) * rng.lognormal(0, 0.05, (60, 1))
    root[7] = np.nan
    smooth = smoothed_distance(root, np.arange(60) / 30)
    known = np.delete(np.arange(60), 7)
    assert np.isnan(smooth[7]).all()
    assert np.log(smooth[known, 2]).std() < 0.5 * np.log(root[known, 2]).std()
    np.testing.assert_allclose(smooth[known] / smooth[known, 2:], root[known] / root[known, 2:])


def test_limbs_have_one_length_and_keep_their_directions() -> None:
    rng, limbs = np.random.default_rng(0), limbs_of(SKELETON)
    poses = rng.normal(0, 0.4, (25, 17, 3))
    poses[3, 9] = np.nan
    found = with_constant_limbs(poses, limbs)
    lengths = limb_lengths(found, limbs)
    assert np.nanstd(lengths, axis=0).max() < 1e-9
    np.testing.assert_allclose(lengths[0, 0::2], lengths[0, 1::2])
    before, after = (p[:, limbs[:, 1]] - p[:, limbs[:, 0]] for p in (poses, found))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    np.testing.assert_allclose(cosine[np.isfinite(cosine)], 1)
    np.testing.assert_allclose(with_constant_limbs(found, limbs), found, atol=1e-9)


def test_scenes_are_of_standard_size_and_seen_where_they_are() -> None:
    scene = draw_scene(standing(), SKELETON, 16, 12, np.random.default_rng(0))
    lengths = limb_lengths(scene.keypoints, limbs_of(SKELETON)).sum(-1)
    np.testing.assert_allclose(np.median(lengths, axis=1), LIMBS, rtol=1e-4)
    placed = np.einsum("ntji,ntkj->ntki", views(scene.root), scene.keypoints) + scene.root[:, :, None]
    seen = placed[..., :2] / placed[..., 2:] * scene.focal[:, None, None, None]
    np.testing.assert_allclose(seen, scene.exact, atol=1e-4)
    again = draw_scene(standing(), SKELETON, 16, 12, np.random.default_rng(0))
    np.testing.assert_array_equal(again.tracks, scene.tracks)
    fixed = with_true_poses(scene, np.arange(16) < 4)
    np.testing.assert_array_equal(fixed.tracks[:4, ..., :2], scene.exact[:4])
    np.testing.assert_array_equal(fixed.tracks[4:], scene.tracks[4:])


def test_batches_hold_tracks_that_begin_and_end_and_single_frames() -> None:
    rng = np.random.default_rng(0)
    scene = draw_scene(standing(), SKELETON, 32, 12, rng)
    batch = draw_batch(scene, False, rng)
    given = batch.tracks[..., 2].sum(-1) > 0
    assert 0.05 < ((~given[:, 0]) | (~given[:, -1])).float().mean() < 0.8
    assert batch.weights.mean() == pytest.approx(1, abs=1e-4)
    alone = draw_batch(scene, True, rng)
    assert alone.tracks.shape == (64, 1, 17, 3)
    assert alone.keypoints.shape == (64, 1, 17, 3)


def test_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    path = saved(standing(), tmp_path)
    small = {"lifting": SMALL.model_dump(), "frames": 9, "batch": 4, "steps": 6, "data": str(path)}
    experiment = LiftingExperiment.model_validate(small)
    resumed(LiftingTrainer, experiment, tmp_path)


def test_the_shipped_configuration_is_valid_and_other_checkpoints_are_refused() -> None:
    spec, _ = config.read("lifting", ["steps=5"])
    assert LiftingExperiment.model_validate(spec).steps == 5
    with pytest.raises(InputError, match="not a checkpoint of the lifting network"):
        LIFTING.load("posefix-motion")


def test_poses_are_brought_near_their_rays_but_not_to_an_outlier() -> None:
    rng = np.random.default_rng(0)
    lifter = Lifter(network(), SKELETON)
    truth = with_constant_limbs(rng.normal(0, 0.4, (20, 17, 3)), limbs_of(SKELETON))
    truth -= truth[:, lifter.network.hips].mean(1, keepdims=True)
    root = rng.normal((0, 0, 5), (0.5, 0.5, 0.2), (20, 3))
    rays = CAMERA.rays(CAMERA.project(truth + root[:, None]))
    said = truth + rng.normal(0, 0.05, truth.shape) * [1, 1, 0]
    rays[:, 10, 0] += 0.3  # 1.5 metres aside
    spreads = np.full((20, 17), 0.25)
    keypoints, placed = lifter._fit_to_rays(said, rays, spreads, np.where(spreads > 0, 100.0, 0))
    others = np.delete(np.arange(17), 10)
    seen = [CAMERA.project(p + r[:, None]) for p, r in ((truth, root), (said, root), (keypoints, placed))]
    before, after = (np.linalg.norm(pixels - seen[0], axis=-1)[:, others].mean() for pixels in seen[1:])
    assert after < 0.6 * before
    assert np.linalg.norm(keypoints - truth, axis=-1)[:, 10].mean() < 0.3
    assert np.linalg.norm(placed - root, axis=-1).mean() < 0.3
    none, nowhere = lifter._fit_to_rays(said, rays, spreads, np.zeros((20, 17)))
    assert np.isnan(nowhere).all()
    assert np.isfinite(none).all()


def test_keypoints_keep_their_place_where_most_rays_of_a_pose_are_wrong() -> None:
    rng = np.random.default_rng(0)
    lifter = Lifter(network(), SKELETON)
    said = with_constant_limbs(np.repeat(rng.normal(0, 0.4, (1, 17, 3)), 20, axis=0), limbs_of(SKELETON))
    said -= said[:, lifter.network.hips].mean(1, keepdims=True)
    right = CAMERA.rays(CAMERA.project(said + rng.normal(0, 0.05, said.shape) * [1, 1, 0] + [0, 0, 5]))
    wrong = right.copy()
    wrong[:, 5:, :2] += rng.normal(0, 0.3, (20, 12, 2))
    spreads = np.full((20, 17), 0.25)
    moved = [
        np.linalg.norm(lifter._fit_to_rays(said, rays, spreads, 1 / spreads**2)[0] - said, axis=-1)[:, :5].mean()
        for rays in (right, wrong)
    ]
    assert moved[1] < 0.5 * moved[0]


def test_half_a_person_is_placed_by_hips_that_nobody_saw() -> None:
    lifter, given = Lifter(network(), SKELETON), track()
    given.keypoints[:, 11:] = (np.nan, np.nan, 0)
    (found,) = lifter.tracks([given], CAMERA).tracks
    assert np.isfinite(found.keypoints[:, :11]).all()
    assert np.isnan(found.keypoints[:, 11:]).all()
    assert np.isfinite(found.root).all()


def test_an_ankle_is_known_without_its_knee() -> None:
    lifter, given = Lifter(network(), SKELETON), track()
    given.keypoints[:, SKELETON.index("left_knee")] = (np.nan, np.nan, 0)
    (found,) = lifter.tracks([given], CAMERA).tracks
    assert np.isfinite(found.keypoints[:, SKELETON.index("left_ankle")]).all()


def test_who_is_aside_does_not_turn_in_a_gap() -> None:
    lifter, given = Lifter(network(), SKELETON), track(60)
    given.keypoints[..., 0] += 400
    whole = lifter.tracks([given], CAMERA).tracks[0]
    given.keypoints[20:32] = (np.nan, np.nan, 0)
    filled = lifter.tracks([given], CAMERA).tracks[0]
    directions = [t.root / np.linalg.norm(t.root, axis=1, keepdims=True) for t in (whole, filled)]
    assert np.rad2deg(np.arccos((directions[0] * directions[1]).sum(1))).max() < 15
    shift = np.linalg.norm(np.diff(filled.keypoints, axis=0), axis=-1).mean(1)
    assert shift[19] < 3 * shift[20:31].max() + 0.1
    assert shift[31] < 3 * shift[20:31].max() + 0.1


def test_the_distance_of_a_track_jitters_less_than_that_of_its_frames() -> None:
    noisy = track()
    noisy.keypoints[..., :2] += np.random.default_rng(1).normal(0, 5, noisy.keypoints[..., :2].shape)
    lifter = Lifter(network(), SKELETON)
    people = People(SKELETON, noisy.keypoints[..., :2], noisy.keypoints[..., 2], noisy.frames)
    together = lifter.tracks([noisy], CAMERA).tracks[0].root
    alone = np.concatenate([one.root for one in lifter.people(people, lambda image_id: CAMERA).tracks])
    jitter = [np.abs(np.diff(np.linalg.norm(root, axis=1), 2)).mean() for root in (together, alone)]
    assert jitter[0] < 0.2 * jitter[1]


def test_distances_are_not_smoothed_across_a_cut() -> None:
    lifter, given, far = Lifter(network(), SKELETON), track(30), track(30)
    far.keypoints[..., :2] = (far.keypoints[..., :2] - CAMERA.centre) / 4 + (100, 100)
    both = replace(
        given,
        frames=np.arange(60),
        times=np.arange(60) / 30,
        keypoints=np.concatenate([given.keypoints, far.keypoints]),
        rows=np.arange(60),
    )
    distance = np.linalg.norm(lifter.tracks([both], CAMERA).tracks[0].root, axis=1)
    assert distance[30] / distance[29] > 2.5


def test_the_rate_is_that_of_the_times() -> None:
    given = track()
    fast = replace(given, times=given.times / 2)
    assert Lifter(network(), SKELETON).tracks([fast], CAMERA).fps == pytest.approx(60)


def test_people_are_lifted_as_their_arrays() -> None:
    rng, lifter = np.random.default_rng(3), Lifter(network(), SKELETON)
    people = People(SKELETON, rng.uniform(100, 400, (3, 17, 2)), np.ones((3, 17)), np.zeros(3))
    np.testing.assert_array_equal(lifter(people, 640, 480), lifter(people.xyc, 640, 480))


def test_skeletons_without_shoulders_are_refused_and_widths_are_odd() -> None:
    hand = replace(SKELETON, name="hand", keypoint_names=tuple(f"finger_{i}" for i in range(17)))
    with pytest.raises(InputError, match="skeleton hand: lifting needs"):
        Lifter(network(), hand)
    with pytest.raises(ValueError, match="must be odd"):
        LiftingConfig(filter_widths=(2, 3))
