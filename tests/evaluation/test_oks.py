"""OKS as arrays is pycocotools' OKS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.skeleton import load
from posefix.evaluation.matching import keypoint_similarity, oks
from tests.evaluation_scenes import reference, scene

SIGMAS = load("coco17").sigmas


def test_equals_compute_oks_of_people_with_keypoints(rng) -> None:
    dataset, records = scene(rng, images=40, noise=0.3)
    evaluation = reference(dataset, records)
    compared = 0
    for image_id in range(1, 41):
        people, results = evaluation._gts[image_id, 1], evaluation._dts[image_id, 1]
        if not people or not results:
            continue
        results = sorted(results, key=lambda r: -r["score"])
        truth = np.array([p["keypoints"] for p in people]).reshape(-1, 17, 3)
        found = np.array([r["keypoints"] for r in results]).reshape(-1, 17, 3)
        annotated = (truth[..., 2] > 0).any(1)
        compared += annotated.sum()
        values = oks(
            found[:, None, :, :2],
            truth[None, :, :, :2],
            truth[None, :, :, 2] > 0,
            np.array([p["area"] for p in people]),
            SIGMAS,
        )
        np.testing.assert_allclose(values[:, annotated], evaluation.ious[image_id, 1][:, annotated], rtol=1e-12)
        assert (values[:, ~annotated] == 0).all()
    assert compared > 20


@given(st.floats(0.01, 1.0), st.floats(1.0, 1e5), st.floats(0, 2 * np.pi), st.integers(0, 16))
def test_similarity_is_a_radius(similarity: float, area: float, angle: float, keypoint: int) -> None:
    radius = np.sqrt(-2 * area * (2 * SIGMAS[keypoint]) ** 2 * np.log(similarity))
    truth = np.full((17, 2), 100.0)
    found = truth + radius * np.array([np.cos(angle), np.sin(angle)])
    assert keypoint_similarity(found, truth, np.array(area), SIGMAS)[keypoint] == pytest.approx(similarity, rel=1e-6)


def test_keypoints_that_nobody_annotated_do_not_count(rng) -> None:
    truth = rng.uniform(0, 100, (17, 2))
    labelled = np.arange(17) % 2 == 0
    found = np.where(labelled[:, None], truth, 1e6)
    assert oks(found, truth, labelled, np.array(500.0), SIGMAS) == 1
    assert oks(found, truth, ~labelled, np.array(500.0), SIGMAS) == 0
