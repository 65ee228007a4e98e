"""Poses are drawn where they are, in colours that tell left from right, and nothing far away does harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.report.drawing import POSE, WRONG, draw_people, keypoint_sides, limb_sides

SKELETON = load("coco17")
GREY = np.full((200, 160, 3), 120, np.uint8)


def person(centre: tuple[float, float] = (80, 100), size: float = 60.0) -> People:
    keypoints = SKELETON.template * size + np.array(centre)
    return People(SKELETON, keypoints[None], np.ones((1, 17)), np.zeros(1))


def color_at(image: np.ndarray, point: np.ndarray) -> tuple[int, ...]:
    x, y = np.rint(point).astype(int)
    return tuple(image[y, x].tolist())


def test_each_side_has_its_colour_at_its_keypoints() -> None:
    people = person()
    drawn = draw_people(GREY, people)
    for name, color in (("left_ankle", POSE.left), ("right_ankle", POSE.right), ("nose", POSE.centre)):
        assert color_at(drawn, people.keypoints[0, SKELETON.index(name)]) == color
    knee, ankle = (people.keypoints[0, SKELETON.index(f"left_{n}")] for n in ("knee", "ankle"))
    assert color_at(drawn, (knee + ankle) / 2) == pytest.approx(POSE.left, abs=40)


def test_colours_tell_left_from_right_without_red_and_green() -> None:
    """Seen with no difference between red and green (protanopia and deuteranopia leave blue and lightness)."""
    left, right = np.array(POSE.left, float), np.array(POSE.right, float)
    assert abs(left[2] - right[2]) > 150


def test_mirroring_keypoints_and_image_mirrors_the_picture_but_for_the_colours() -> None:
    people = person((79.5, 100))
    swapped = people.with_keypoints(people.keypoints[:, SKELETON.flip])  # the template is symmetric about its centre
    drawn, other = draw_people(GREY, people), draw_people(GREY, swapped)
    mirrored = other[:, ::-1].astype(int)
    assert np.abs(drawn.astype(int) - mirrored).mean() < 0.5


def test_nothing_is_drawn_of_keypoints_without_an_estimate() -> None:
    people = person()
    people.scores[0, SKELETON.index("left_ankle")] = 0
    drawn = draw_people(GREY, people)
    assert color_at(drawn, people.keypoints[0, SKELETON.index("left_ankle")]) == (120, 120, 120)
    assert color_at(drawn, people.keypoints[0, SKELETON.index("left_knee")]) == POSE.left


def test_the_given_image_is_not_changed() -> None:
    image = GREY.copy()
    draw_people(image, person())
    assert (image == GREY).all()


def test_lines_grow_with_the_person() -> None:
    canvas = np.full((900, 700, 3), 120, np.uint8)
    small, large = (draw_people(canvas, person((350, 420), size)) for size in (60, 360))
    inked = [(np.any(image != 120, axis=2)).sum() for image in (small, large)]
    assert inked[1] / inked[0] > 9  # length alone would be 6


@settings(max_examples=60)
@given(arrays(np.float32, (2, 17, 2), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_any_coordinates_can_be_drawn(keypoints: np.ndarray) -> None:
    people = People(SKELETON, keypoints, np.ones((2, 17)), np.zeros(2))
    with np.errstate(all="ignore"):
        assert draw_people(GREY, people).shape == GREY.shape


def test_a_limb_that_leaves_the_image_is_drawn_up_to_the_border() -> None:
    people = person()
    knee, ankle = SKELETON.index("left_knee"), SKELETON.index("left_ankle")
    people.keypoints[0, knee], people.keypoints[0, ankle] = (100, 100), (1e5 + 100, 1e5 + 100)
    drawn = draw_people(GREY, people)
    assert color_at(drawn, np.array([140.0, 140.0])) == POSE.left


def test_wrong_keypoints_and_no_others_have_a_ring() -> None:
    people = person()
    wrong = np.zeros((1, 17), bool)
    assert (draw_people(GREY, people, wrong=wrong) == draw_people(GREY, people)).all()
    ankle = SKELETON.index("left_ankle")
    wrong[0, ankle] = True
    ringed = np.abs(draw_people(GREY, people, wrong=wrong).astype(int) - WRONG).sum(-1) < 60
    assert np.argwhere(ringed).mean(0)[::-1] == pytest.approx(people.keypoints[0, ankle], abs=1)
    people.scores[0, ankle] = 0
    assert (draw_people(GREY, people, wrong=wrong) == draw_people(GREY, people)).all()


def test_sides_come_from_the_names_whatever_their_order() -> None:
    sides = keypoint_sides(SKELETON)
    for name, side in zip(SKELETON.keypoint_names, sides, strict=True):
        assert side == {"l": 1, "r": 2, "n": 0}[name[0]]
    np.testing.assert_array_equal(limb_sides(sides, SKELETON.limbs[[0, 2, 4, 13]]), [1, 2, 0, 1])


@pytest.mark.parametrize("shape", [(1, 1), (3, 500)])
def test_small_images(shape: tuple[int, int]) -> None:
    assert draw_people(np.zeros((*shape, 3), np.uint8), person()).shape == (*shape, 3)
