"""What is looked at: the box; the pose's extent where there is no box; both where they contradict each other."""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.refine.views import Views
from tests.tiny import random_people

SIZE = (64, 48)


def test_everybody_has_a_view_and_those_whose_box_is_elsewhere_two(rng: np.random.Generator) -> None:
    people = random_people(rng, 6, side=400)
    people.boxes[1, :2] += 200
    people.boxes[2] = 0
    people.boxes[3] += [-500, -500, 1000, 1000]  # the whole image
    elsewhere, loose = geometry.contradicted_boxes(people.boxes, people.keypoints, people.scores)
    assert elsewhere.tolist() == [False, True, False, False, False, False]
    assert loose.tolist() == [False, False, False, True, False, False]
    rows = np.array([5, 3, 1, 2])
    views = Views.of(people, rows, SIZE, 1.25)
    assert views.rows.tolist() == [5, 3, 1, 1, 2]
    extents = geometry.pose_boxes(people.keypoints, people.labelled)
    assert views.posed.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(views.boxes[[0, 2]], people.boxes[[5, 1]])
    np.testing.assert_allclose(views.boxes[[1, 3, 4]], extents[[3, 1, 2]])
    assert views.contradicted.tolist() == [False, True, True, True, False]
    people.boxes[5], people.scores[5] = 0, 0
    assert Views.of(people, rows, SIZE, 1.25).rows.tolist() == [3, 1, 1, 2]


def test_few_confident_keypoints_do_not_speak_against_a_box(rng: np.random.Generator) -> None:
    people = random_people(rng, 1)
    people.boxes[:, :2] += 300
    people.scores[:] = 0.1
    people.scores[:, :5] = 0.9
    assert not np.any(geometry.contradicted_boxes(people.boxes, people.keypoints, people.scores))
