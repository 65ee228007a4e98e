"""Neighbours are the others of the image, no more and no less."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from synth import neighbours_of

COCO = skeletons.load("coco17")


def scattered(rng: np.random.Generator, n: int, images: int) -> People:
    boxes = np.concatenate([rng.uniform(0, 60, (n, 2)), rng.uniform(5, 60, (n, 2))], axis=1)
    return People(
        COCO,
        rng.uniform(0, 100, (n, 17, 2)),
        rng.integers(0, 3, (n, 17)),
        rng.integers(0, images, n) * 1000,
        boxes,
        areas=rng.uniform(10, 1000, n),
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 30), images=st.integers(1, 12))
def test_neighbours_are_the_others_of_the_image(seed, n, images):
    people = scattered(np.random.default_rng(seed), n, images)
    neighbours = neighbours_of(people)
    same_image = (people.image_ids[:, None] == people.image_ids[None]) & ~np.eye(n, dtype=bool)
    assert neighbours.keypoints.shape == (n, same_image.sum(1).max(initial=0), 17, 2)
    iou = geometry.iou(people.boxes[:, None], people.boxes[None])
    np.testing.assert_array_equal(neighbours.overlaps, (same_image & (iou > 0.1)).sum(1))
    for person in range(n):
        others = np.flatnonzero(same_image[person])
        m = len(others)
        np.testing.assert_array_equal(neighbours.labelled[person, :m], people.labelled[others])
        np.testing.assert_array_equal(neighbours.areas[person, :m], people.areas[others])
        there = people.labelled[others]
        np.testing.assert_array_equal(neighbours.keypoints[person, :m][there], people.keypoints[others][there])
        assert not neighbours.labelled[person, m:].any()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_is_found_alike_and_cut_from_the_whole(seed):
    rng = np.random.default_rng(seed)
    people = scattered(rng, 40, 15)
    people.scores[:, 0] = 1
    batch = rng.integers(0, 40, 7)
    cut, gathered = neighbours_of(people).take(batch), neighbours_of(people, batch)
    for name in ("keypoints", "labelled", "areas", "overlaps"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(gathered, name))
    assert cut.labelled.any((0, 2)).all()


def test_boxes_not_given_come_from_the_poses():
    keypoints = np.tile(100 * COCO.template + 300, (3, 1, 1))
    keypoints[2] += 5000
    neighbours = neighbours_of(People(COCO, keypoints, np.ones((3, 17)), [1, 1, 1], areas=np.full(3, 1e4)))
    assert neighbours.overlaps.tolist() == [1, 1, 0]
