"""Who is near whom: others of the same image, never oneself, never oneself found twice."""

from __future__ import annotations

import numpy as np

from posefix.core.neighbours import COUNT, OtherPeople
from posefix.core.people import People
from tests.tiny import COCO, random_people


def nearest(people: People, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    chosen = people[rows]
    scales = np.sqrt(chosen.areas)[:, None] * 2 * COCO.sigmas
    return OtherPeople(people).nearest(np.array(rows), chosen.keypoints, chosen.labelled, scales, chosen.boxes)


def test_the_nearest_others_of_the_image_by_brute_force(rng: np.random.Generator) -> None:
    people = random_people(rng, 12, images=2)
    people.keypoints += rng.uniform(-300, 300, (12, 1, 2)).astype(np.float32)
    scales = np.sqrt(people.areas)[:, None] * 2 * COCO.sigmas
    keypoints, scores = nearest(people, list(range(12)))
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
    keypoints, scores = nearest(people, [0, 1])
    assert (keypoints[scores > 0] > 400).any(-1).all()
    np.testing.assert_array_equal(nearest(people, [1])[0][0], keypoints[1])


def test_without_a_pose_those_near_the_box_are_the_others(rng: np.random.Generator) -> None:
    people = random_people(rng, 3, images=1)
    people.keypoints[1] += 200
    people.boxes[0, :2] += 200
    people.scores[0] = 0
    keypoints, scores = nearest(people, [0])
    np.testing.assert_array_equal(keypoints[0, :2], people.keypoints[[1, 2]])
    assert (scores[0, :2] > 0).all()


def test_without_others_there_is_nothing(rng: np.random.Generator) -> None:
    people = random_people(rng, 1)
    keypoints, scores = nearest(people, [0])
    assert not keypoints.any()
    assert not scores.any()
