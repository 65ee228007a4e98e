"""Measures of poses in video, on clips whose measures are known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from posefix.core.people import People, concatenate
from posefix.core.skeleton import load
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import FORMATS, Source, write
from posefix.formats.coco import ImageRecord
from posefix.motion.clips import read_clips
from posefix.motion.measures import LOWER_IS_BETTER, RATIOS, Clip, compare_clips, low_passed, measure_clips
from tests.motion_scenes import video, walk

WALKS = {0: walk((80, 200), (5, 0), 30)}
approx = partial(pytest.approx, abs=1e-3)


def annotated(walks: dict[int, np.ndarray], tracked: bool = True) -> GroundTruth:
    """All people of all frames, with boxes of 100 by 200 px and an area of 100^2 px^2."""
    frames = max(map(len, walks.values()))
    annotations = []
    for track, poses in walks.items():
        for frame, pose in enumerate(poses):
            points = np.concatenate([pose, np.full((17, 1), 2)], axis=1)
            one = {
                "id": len(annotations) + 1,
                "image_id": frame,
                "category_id": 1,
                "keypoints": points.ravel().tolist(),
                "bbox": [*pose.min(0).tolist(), 100, 200],
                "area": 1e4,
            }
            annotations.append({**one, "track_id": track} if tracked else one)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(frames)]
    return GroundTruth.of_dataset({"images": images, "annotations": annotations, "categories": [{"id": 1}]})


def moved(people: People, by: np.ndarray) -> People:
    return people.with_keypoints(people.keypoints + by)


@pytest.fixture
def truth() -> GroundTruth:
    return annotated(WALKS)


@pytest.fixture
def exact(rng: np.random.Generator) -> People:
    return video(WALKS, rng, noise=0)


@pytest.mark.parametrize("named", [True, False])
def test_named_results_are_matched_with_frames_by_number(
    truth: GroundTruth, exact: People, named: bool, tmp_path: Path
) -> None:
    exact.source = Source(FORMATS["openpose"], None, {i: ImageRecord(f"film_{i:012d}") for i in range(30)})
    write(exact, tmp_path / "poses")
    images = [image if named else {"id": image["id"]} for image in truth.coco.dataset["images"]]
    (tmp_path / "truth.json").write_text(
        json.dumps({**truth.coco.dataset, "images": images}, default=np.ndarray.tolist)
    )
    clips = read_clips(tmp_path / "truth.json", tmp_path / "poses", truth.skeleton)
    assert measure_clips(clips)["pck05"] == 100


def test_the_truth_has_no_error(truth: GroundTruth, exact: People) -> None:
    found = measure_clips([Clip(truth, exact)])
    zero = set(RATIOS) - {"pck05", "pck10", "pck20", "smooth_acceleration_error", "acceleration", "jerk"}
    assert {name: found[name] for name in zero} == {name: approx(0) for name in zero}
    assert {found[name] for name in ("pck05", "pck10", "pck20")} == {100} and found["AP"] == approx(100)
    assert found["identity_switches"] == 0


def test_a_displaced_pose_is_that_far_off_and_moves_alike(truth: GroundTruth, exact: People) -> None:
    found = measure_clips([Clip(truth, moved(exact, np.array([12.0, 0])))])
    assert found["position_error"] == approx(12)
    assert (found["pck05"], found["pck10"]) == (0, 100)  # of 200 px
    assert found["acceleration_error"] == approx(0)


def test_a_pose_at_rest_does_not_accelerate_but_the_truth_does(truth: GroundTruth, exact: People) -> None:
    rest = exact.with_keypoints(np.broadcast_to(exact.keypoints[:1], exact.keypoints.shape))
    found, real = (measure_clips([Clip(truth, people)]) for people in (rest, exact))
    assert found["acceleration"] == found["jerk"] == 0
    assert found["acceleration_error"] == approx(real["acceleration"]) and found["lost"] > 0


def test_exchanged_limbs_are_swapped_pairs(truth: GroundTruth, exact: People) -> None:
    flip = load("coco17").flip
    mirrored = exact.with_keypoints(
        np.where((exact.image_ids % 3 == 0)[:, None, None], exact.keypoints[:, flip], exact.keypoints)
    )
    found = measure_clips([Clip(truth, mirrored)])
    assert 0 < found["swapped_pairs"] <= 100 / 3 + 1e-9
    assert found["swaps"] == approx(6 * found["swapped_pairs"])  # six pairs of limbs in each frame
    assert measure_clips([Clip(truth, exact)])["swaps"] == 0


def test_frames_without_a_result_are_missing_and_break_movement(truth: GroundTruth, exact: People) -> None:
    found = measure_clips([Clip(truth, exact[exact.image_ids % 3 != 0])])
    assert found["missing"] == approx(100 / 3) and found["pck20"] == approx(200 / 3)
    assert found["acceleration"] is None and found["position_error"] == approx(0)


def test_without_any_result_all_frames_are_missing(truth: GroundTruth, exact: People) -> None:
    found = measure_clips([Clip(truth, exact[:0])])
    assert found["missing"] == 100 and found["pck20"] == 0 and found["position_error"] is None


def test_of_several_results_of_one_person_the_best_scored_counts(truth: GroundTruth, exact: People) -> None:
    worse = moved(exact, np.array([30.0, 0]))
    both = replace(concatenate([worse, exact]), person_scores=np.repeat([0.4, 0.8], len(exact)), track_ids=None)
    found = measure_clips([Clip(truth, both)])
    assert found["position_error"] == approx(0)


@pytest.mark.parametrize("tracked", [True, False])
def test_people_who_take_over_the_others_tracks_are_identity_switches(tracked: bool, rng: np.random.Generator) -> None:
    walks = {1: walk((80, 200), (3, 0), 30), 2: walk((400, 200), (3, 0), 30)}
    people = video(walks, rng, noise=1)
    truth = annotated(walks, tracked)
    assert measure_clips([Clip(truth, people)])["identity_switches"] == 0
    late = people.image_ids >= 15
    swapped = replace(people, track_ids=np.where(late, 3 - people.track_ids, people.track_ids))
    assert measure_clips([Clip(truth, swapped)])["identity_switches"] == 2
    assert measure_clips([Clip(truth, replace(swapped, track_ids=None))])["identity_switches"] == 0  # linked anew


def test_noise_is_what_the_low_pass_takes_away(rng: np.random.Generator) -> None:
    walked = WALKS[0]
    noisy = walked + rng.normal(0, 3, walked.shape)
    smooth = low_passed(noisy, np.ones(30, bool), 30)
    assert np.abs(np.diff(smooth, 2, axis=0)).mean() < 0.3 * np.abs(np.diff(noisy, 2, axis=0)).mean()
    assert np.abs(smooth - walked).mean() < np.abs(noisy - walked).mean()
    there = np.arange(30) != 7
    np.testing.assert_allclose(low_passed(noisy * there[:, None, None], there, 30), smooth, atol=6)


def test_gains_are_differences_and_have_intervals(rng: np.random.Generator) -> None:
    clips, better = [], []
    for start in range(12):
        walks = {0: walk((80 + start, 200), (3, 1), 20)}
        truth, noise = annotated(walks), rng.normal(0, 6 + start, (20, 17, 2))
        exact = video(walks, rng, 0)
        first = moved(exact, noise)[exact.image_ids != 4]
        clips.append(Clip(truth, first))
        better.append(Clip(truth, moved(exact, noise / 3)))
    found = compare_clips(clips, better, 200, rng=rng)
    before, after, gain = found["before"], found["after"], found["gain"]
    for name in ("position_error", "pck05", "acceleration_error", "AP", "jerk"):
        assert gain[name] == pytest.approx(after[name] - before[name])
        assert gain[f"{name}_low"] <= gain[name] <= gain[f"{name}_high"]
        assert (gain[f"{name}_high"] < 0) if name in LOWER_IS_BETTER else (gain[f"{name}_low"] > 0)
    assert gain["filled"] == approx(5)
    same = compare_clips(clips, clips, 50, rng=rng)["gain"]
    assert {value for value in same.values() if value is not None} == {0.0}
