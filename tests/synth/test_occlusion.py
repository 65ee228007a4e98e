"""The part of the image that hides legs."""

from __future__ import annotations

import numpy as np

from posefix.core import skeleton as skeletons
from synth import leg_regions

COCO = skeletons.load("coco17")
LEGS = [[COCO.index(f"{side}_{part}") for part in ("hip", "knee", "ankle")] for side in ("left", "right")]


def test_skeletons_without_legs_have_nothing_to_hide(rng):
    head = skeletons.from_dict({"name": "head", "keypoints": [{"name": "nose", "sigma": 0.1, "group": "face"}]})
    keypoints = rng.uniform(0, 300, (20, 1, 2))
    assert not leg_regions(keypoints, np.ones((20, 1)), head, np.ones(20, bool), rng).any()


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
