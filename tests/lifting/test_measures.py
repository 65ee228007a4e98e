"""Measures of poses in depth: what they must not see, and what they must."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from posefix.core.skeleton import load
from posefix.lifting.body import limb_lengths
from posefix.lifting.measures import (
    aligned,
    auc,
    bones,
    length_variation,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pa_track,
    pck,
)

SKELETON = load("coco17")
DISTANCES = (mpjpe, p_mpjpe, n_mpjpe, pa_track, mpjve)


@pytest.fixture
def truth(rng: np.random.Generator) -> np.ndarray:
    """A person of 20 frames who moves, with a little noise."""
    body, swing = rng.normal(0, 0.4, (2, 17, 3))
    return body + np.sin(np.arange(20) / 3)[:, None, None] * swing * 0.3 + rng.normal(0, 0.02, (20, 17, 3))


@pytest.fixture
def found(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return truth + rng.normal(0, 0.05, truth.shape)


@pytest.mark.parametrize("measure", DISTANCES)
def test_the_truth_has_no_error(measure, truth: np.ndarray) -> None:
    error = measure(truth, truth)
    first = 1 if measure is mpjve else 0
    assert error.shape == (20,) and np.isnan(error[:first]).all()
    np.testing.assert_allclose(error[first:], 0, atol=1e-9)
    assert (pck(truth, truth) == 100).all()
    np.testing.assert_allclose(auc(truth, truth), 100 * 30 / 31)  # nothing is nearer than 0 mm


def test_each_alignment_removes_just_what_it_may(truth: np.ndarray, rng: np.random.Generator) -> None:
    turns = Rotation.random(20, random_state=1).as_matrix()
    per_frame = {
        "turned": truth @ turns,
        "moved": truth + rng.normal(0, 1, (20, 1, 3)),
        "scaled": truth * rng.uniform(0.5, 2, (20, 1, 1)),
    }
    per_track = {"turned": truth @ turns[0], "moved": truth + np.arange(3), "scaled": 1.3 * truth}
    removed = {
        mpjpe: ([], []),
        n_mpjpe: (["scaled"], ["scaled"]),
        pa_track: ([], ["turned", "moved", "scaled"]),
        p_mpjpe: (["turned", "moved", "scaled"], ["turned", "moved", "scaled"]),
    }
    for measure, allowed in removed.items():
        for changes, gone in zip((per_frame, per_track), allowed, strict=True):
            for name, changed in changes.items():
                error = measure(changed, truth).mean()
                assert (error < 1e-9) if name in gone else (error > 10), (measure.__name__, name)


def test_aligned_errors_do_not_see_how_the_result_lies(truth: np.ndarray, found: np.ndarray) -> None:
    turn = Rotation.random(random_state=2).as_matrix()
    for measure in (p_mpjpe, pa_track):
        np.testing.assert_allclose(measure(0.7 * found @ turn + 3, truth), measure(found, truth))


def test_more_freedom_brings_no_larger_squared_errors(truth: np.ndarray, found: np.ndarray) -> None:
    off = 1.2 * found @ Rotation.from_euler("y", 5, degrees=True).as_matrix()
    whole = aligned(off.reshape(-1, 3), truth.reshape(-1, 3)).reshape(truth.shape)
    squares = [((poses - truth) ** 2).sum() for poses in (off, whole, aligned(off, truth))]
    assert squares[0] > squares[1] > squares[2] > 0


def test_mirrored_poses_stay_wrong(truth: np.ndarray) -> None:
    mirrored = truth * (1, 1, -1)
    assert p_mpjpe(mirrored, truth).min() > 100
    moved = aligned(mirrored, truth)
    sides = [np.linalg.det(poses[:, 1:4] - poses[:, :1]) for poses in (mirrored, moved)]
    assert (np.sign(sides[0]) == np.sign(sides[1])).all()


def test_alignment_is_that_of_scipy(truth: np.ndarray, found: np.ndarray) -> None:
    for one, two, moved in zip(found, truth, aligned(found, truth), strict=True):
        disparity = procrustes(two, one)[2]
        assert ((moved - two) ** 2).sum() / ((two - two.mean(0)) ** 2).sum() == pytest.approx(disparity)


def test_known_distances(truth: np.ndarray) -> None:
    off = truth.copy()
    off[:, 0, 0] += 0.17  # one keypoint of 17
    np.testing.assert_allclose(mpjpe(off, truth), 10)
    np.testing.assert_allclose(pck(off, truth), 100 * 16 / 17)
    np.testing.assert_allclose(pck(truth + np.array([0, 0.149, 0]), truth), 100)
    np.testing.assert_allclose(auc(truth + np.array([0, 0, 0.0749]), truth), 100 * 16 / 31)  # within 75, 80, ..., 150
    drift = truth + np.arange(20)[:, None, None] * (0, 0.003, 0.004)
    np.testing.assert_allclose(mpjve(drift, truth)[1:], 5)


def test_what_is_not_known_does_not_count(truth: np.ndarray, found: np.ndarray, rng: np.random.Generator) -> None:
    valid = rng.random((20, 17)) < 0.7
    valid[4] = False
    hidden, wild = np.where(valid[..., None], found, np.nan), np.where(valid[..., None], found, 1e3)
    for measure in (*DISTANCES, pck, auc):
        np.testing.assert_array_equal(measure(hidden, truth), measure(wild, truth, valid))
        assert np.isnan(measure(hidden, truth)[4]) and np.isfinite(measure(hidden, truth)[6:]).all()
    two = np.arange(17) < 2
    assert np.isnan(p_mpjpe(found, truth, np.broadcast_to(two, (20, 17)))).all()
    assert np.isfinite(mpjpe(found, truth, np.broadcast_to(two, (20, 17)))).all()


def test_velocities_over_gaps_do_not_count(truth: np.ndarray, found: np.ndarray) -> None:
    follows = np.arange(20) != 7
    error, all_rows = mpjve(found, truth, follows=follows), mpjve(found, truth)
    assert np.isnan(error[[0, 7]]).all()
    rest = np.setdiff1d(np.arange(20), [0, 7])
    np.testing.assert_array_equal(error[rest], all_rows[rest])


def test_many_tracks_at_once_are_as_each(truth: np.ndarray, found: np.ndarray) -> None:
    both, real = np.stack([found, 2 * found]), np.stack([truth, truth])
    for measure in (*DISTANCES, pck, auc):
        expected = np.stack([measure(one, truth) for one in both])
        np.testing.assert_allclose(measure(both, real), expected)


def test_bones_are_those_of_arms_and_legs() -> None:
    names = {frozenset(SKELETON.keypoint_names[i] for i in limb) for limb in bones(SKELETON)}
    assert {"left_knee", "left_ankle"} in names and {"right_elbow", "right_wrist"} in names
    assert not any({"nose", "left_ear"} & limb for limb in names)
    assert {"left_shoulder", "left_hip"} not in names  # a back bends


def test_bone_lengths_vary_by_what_they_are_changed(truth: np.ndarray) -> None:
    limbs = bones(SKELETON)
    rigid = np.repeat(truth[:1], 20, axis=0) @ Rotation.random(20, random_state=3).as_matrix()
    assert length_variation(limb_lengths(rigid, limbs)) == pytest.approx(0, abs=1e-5)
    factor = np.where(np.arange(20) % 2, 1.1, 0.9)
    changing = limb_lengths(rigid * factor[:, None, None], limbs)
    assert length_variation(changing) == pytest.approx(10)
    assert length_variation(3 * changing) == pytest.approx(10)
    changing[5:8, 2] = np.nan
    expected = np.mean(100 * np.nanstd(changing, axis=0) / np.nanmean(changing, axis=0))
    assert length_variation(changing) == pytest.approx(expected)
    assert np.isnan(length_variation(np.full((5, 3), np.nan)))
