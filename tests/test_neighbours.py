"""Who is near whom: others of the same image, never oneself, never oneself found twice."""

from __future__ import annotations

import numpy as np
from tiny import COCO, random_people

from posefix.neighbours import COUNT, OtherPeople
from posefix.people import People


def scales_of(people: People) -> np.ndarray:
    return np.sqrt(people.areas)[:, None] * 2 * COCO.sigmas


def test_the_nearest_others_of_the_image_by_brute_force(rng: np.random.Generator) -> None:
    people = random_people(rng, 12, images=2)
    people.keypoints += rng.uniform(-300, 300, (12, 1, 2)).astype(np.float32)
    scales = scales_of(people)
    keypoints, scores = OtherPeople(people).nearest(np.arange(12), scales)
    for i in range(12):
        others = [j for j in range(12) if j != i and people.image_ids[j] == people.image_ids[i]]
        near = [(np.linalg.norm(people.keypoints[j] - people.keypoints[i], axis=-1) / scales[i]).min() for j in others]
        expected = [others[j] for j in np.argsort(near)[:COUNT]]
        np.testing.assert_array_equal(keypoints[i, : len(expected)], people.keypoints[expected])
        assert (scores[i, len(expected) :] == 0).all()


def test_somebody_found_twice_is_no_other_and_who_asks_does_not_matter(rng: np.random.Generator) -> None:
    people = random_people(rng, 6, images=1)
    people.keypoints[1] = people.keypoints[0] + 0.5
    people.keypoints[2:] += 500
    keypoints, scores = OtherPeople(people).nearest(np.array([0, 1]), scales_of(people)[:2])
    assert (keypoints[scores > 0] > 400).any(-1).all()
    alone, _ = OtherPeople(people).nearest(np.array([1]), scales_of(people)[1:2])
    np.testing.assert_array_equal(alone[0], keypoints[1])


def test_without_others_there_is_nothing(rng: np.random.Generator) -> None:
    people = random_people(rng, 1)
    keypoints, scores = OtherPeople(people).nearest(np.array([0]), scales_of(people))
    assert not keypoints.any()
    assert not scores.any()
