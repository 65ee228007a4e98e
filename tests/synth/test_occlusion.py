"""Shortened legs: segment lengths, what follows and what stays; and the part of the image that hides them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import skeleton as skeletons
from synth import leg_regions, shorten_legs
from synth.occlusion import SHORTEST

COCO = skeletons.load("coco17")
LEGS = [[COCO.index(f"{side}_{part}") for part in ("hip", "knee", "ankle")] for side in ("left", "right")]


def poses(rng: np.random.Generator, n: int, skeleton=COCO) -> np.ndarray:
    return rng.uniform(0, 300, (n, len(skeleton), 2)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_segments_keep_their_direction_and_at_least_the_shortest_length(seed):
    rng = np.random.default_rng(seed)
    before = poses(rng, 30)
    after, occluded = shorten_legs(before, np.ones((30, 17)), COCO, rng, 1.0)
    assert occluded.all()
    for upper, lower in [pair for leg in LEGS for pair in (leg[:2], leg[1:])]:
        old, new = before[:, lower] - before[:, upper], after[:, lower] - after[:, upper]
        length = np.linalg.norm(old, axis=1)
        factor = (old * new).sum(1) / length**2
        assert ((factor >= SHORTEST - 1e-3) & (factor <= 1 + 1e-3)).all()
        np.testing.assert_allclose(new, factor[:, None] * old, atol=1e-2)
    others = np.setdiff1d(np.arange(17), [i for leg in LEGS for i in leg[1:]])
    np.testing.assert_array_equal(after[:, others], before[:, others])


def test_factors_are_spread_over_their_range(rng):
    before = poses(rng, 4000)
    after, _ = shorten_legs(before, np.ones((4000, 17)), COCO, rng, 1.0)
    hip, knee, _ = LEGS[0]
    factor = np.linalg.norm((after[:, knee] - after[:, hip]), axis=1) / np.linalg.norm(
        before[:, knee] - before[:, hip], axis=1
    )
    assert abs(np.sort(factor) - (0.8 + 0.2 * (np.arange(4000) + 0.5) / 4000)).max() < 0.2 * 2.2 / np.sqrt(4000)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_requested_share_is_occluded_and_nobody_else_moves(probability, rng):
    before = poses(rng, 4000)
    after, occluded = shorten_legs(before, np.ones((4000, 17)), COCO, rng, probability)
    assert abs(occluded.mean() - probability) <= 4.5 * np.sqrt(probability * (1 - probability) / 4000)
    np.testing.assert_array_equal((after != before).any((1, 2)), occluded)


def test_segments_without_input_stay(rng):
    before, scores = poses(rng, 200), np.ones((200, 17))
    scores[:100, LEGS[0][1]] = 0  # no left knee
    scores[100:, LEGS[0][0]] = 0  # no left hip
    before[scores == 0] = 0
    after, _ = shorten_legs(before, scores, COCO, rng, 1.0)
    np.testing.assert_array_equal(after[:100, LEGS[0]], before[:100, LEGS[0]])
    np.testing.assert_array_equal(after[100:, LEGS[0][1]], before[100:, LEGS[0][1]])
    assert (after[100:, LEGS[0][2]] != before[100:, LEGS[0][2]]).any(1).all()
    nothing, occluded = shorten_legs(before, np.zeros((200, 17)), COCO, rng, 1.0)
    assert not occluded.any() and (nothing == before).all()


def test_feet_move_with_their_ankle(rng):
    halpe = skeletons.load("halpe26")
    before = poses(rng, 50, halpe)
    after, _ = shorten_legs(before, np.ones((50, 26)), halpe, rng, 1.0)
    for side in ("left", "right"):
        shift = (after - before)[:, halpe.index(f"{side}_ankle")]
        for part in ("big_toe", "small_toe", "heel"):
            np.testing.assert_allclose((after - before)[:, halpe.index(f"{side}_{part}")], shift, atol=1e-3)


def test_skeletons_without_legs_stay_as_they_are(rng):
    head = skeletons.from_dict({"name": "head", "keypoints": [{"name": "nose", "sigma": 0.1, "group": "face"}]})
    before = poses(rng, 20, head)
    after, occluded = shorten_legs(before, np.ones((20, 1)), head, rng, 1.0)
    np.testing.assert_array_equal(after, before)
    assert not occluded.any()
    assert not leg_regions(before, np.ones((20, 1)), head, np.ones(20, bool), rng).any()


def test_regions_hide_what_is_below_the_line_and_nothing_above(rng):
    upright = (rng.normal(300, 50, (300, 1, 2)) + 100 * COCO.template + rng.normal(0, 4, (300, 17, 2))).astype(
        np.float32
    )
    labelled, occluded = np.ones((300, 17), bool), rng.random(300) < 0.7
    regions = leg_regions(upright, labelled, COCO, occluded, rng)
    assert not regions[~occluded].any()
    x0, y0, x1, y1 = regions[occluded].T
    hips, knees, ankles = (upright[occluded][:, [leg[i] for leg in LEGS]] for i in range(3))
    for inside in (ankles[..., 0] > x0[:, None], ankles[..., 0] < x1[:, None], ankles[..., 1] < y1[:, None]):
        assert inside.all()
    hip_line, knee_line = hips[..., 1].mean(1), knees[..., 1].mean(1)
    from_hips, from_knees = np.isclose(y0, hip_line, atol=1e-2), np.isclose(y0, knee_line, atol=1e-2)
    assert (from_hips ^ from_knees).all() and abs(from_knees.mean() - 0.5) < 0.2
    assert (upright[occluded][:, COCO.group("face") | COCO.group("upper"), 1] < y0[:, None]).all()


def test_regions_of_legs_that_point_upwards_or_are_not_annotated_are_empty(rng):
    upside_down = (300 - 100 * COCO.template)[None].repeat(50, 0)
    everybody, all_labelled = np.ones(50, bool), np.ones((50, 17), bool)
    assert not leg_regions(upside_down, all_labelled, COCO, everybody, rng, from_knees=0.0).any()
    upright = (300 + 100 * COCO.template)[None].repeat(50, 0)
    assert not leg_regions(upright, ~all_labelled, COCO, everybody, rng).any()
    no_hips = all_labelled.copy()
    no_hips[:, [leg[0] for leg in LEGS]] = False
    regions = leg_regions(upright, no_hips, COCO, everybody, rng)
    np.testing.assert_allclose(regions[:, 1], upright[:, LEGS[0][1], 1], rtol=1e-5)
