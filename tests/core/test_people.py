"""People: selection, concatenation and the defaults of the arrays."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.people import People, concatenate
from posefix.core.skeleton import load

FIELDS = ("keypoints", "scores", "image_ids", "boxes", "person_scores", "areas", "original_scores", "track_ids")


def some_people(rng: np.random.Generator, n: int = 6) -> People:
    return People(
        load("coco17"),
        rng.uniform(0, 500, (n, 17, 2)),
        rng.uniform(0, 1, (n, 17)),
        rng.integers(0, 2**62, n),
        boxes=rng.uniform(0, 500, (n, 4)),
        person_scores=rng.uniform(0, 1, n),
        areas=rng.uniform(0, 9e4, n),
        original_scores=np.where(rng.random(n) < 0.5, np.nan, 0.5),
        track_ids=rng.integers(-1, 9, n),
        extra=[{"track_id": i} for i in range(n)],
    )


def assert_same(a: People, b: People) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.extra == b.extra
    assert a.skeleton == b.skeleton


@pytest.mark.parametrize("index", [slice(1, 4), [5, 0, 0], np.array([True, False] * 3), 3, []])
def test_selection_takes_the_same_rows_of_every_field(rng: np.random.Generator, index: object) -> None:
    people = some_people(rng)
    rows = np.atleast_1d(np.arange(6)[index])
    chosen = people[index]
    assert len(chosen) == len(rows)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(chosen, name), getattr(people, name)[rows])
    assert chosen.extra == [people.extra[i] for i in rows]


def test_concatenation_undoes_slicing(rng: np.random.Generator) -> None:
    people = some_people(rng)
    assert_same(concatenate([people[:2], people[2:2], people[2:]]), people)


def test_concatenation_refuses_different_skeletons(rng: np.random.Generator) -> None:
    people = some_people(rng)
    with pytest.raises(ValueError, match="skeletons"):
        concatenate([people, people.to_skeleton(load("mpii16"))])


def test_what_is_not_given_is_zero_or_not_known() -> None:
    people = People(load("coco17"), np.ones((2, 17, 2)), np.ones((2, 17)), [1, 2])
    assert not people.boxes.any() and not people.person_scores.any() and not people.areas.any()
    assert np.isnan(people.original_scores).all() and (people.track_ids == -1).all()
    assert people.extra == [{}, {}] and people.extra[0] is not people.extra[1]
    assert {getattr(people, name).dtype for name in FIELDS} == {np.dtype(np.float32), np.dtype(np.int64)}
    assert people.image_ids.dtype == np.int64


def test_fields_must_agree_in_length() -> None:
    with pytest.raises(InputError, match=r"keypoints must be \(N, 17, 2\) for coco17, got \(2, 17, 3\)"):
        People(load("coco17"), np.ones((2, 17, 3)), None, None)
    with pytest.raises(InputError, match=r"image_ids must be \(2,\) .* 2 people, got \(3,\)"):
        People(load("coco17"), np.ones((2, 17, 2)), np.ones((2, 17)), [1, 2, 3])
    with pytest.raises(ValueError, match="extra"):
        People(load("coco17"), np.ones((2, 17, 2)), np.ones((2, 17)), [1, 2], extra=[{}])


def test_new_keypoints_leave_the_original_and_the_rest_alone(rng: np.random.Generator) -> None:
    people = some_people(rng)
    before = people.keypoints.copy()
    moved = people.with_keypoints(people.keypoints + 1)
    np.testing.assert_array_equal(people.keypoints, before)
    assert_same(moved.with_keypoints(before), people)
    np.testing.assert_array_equal(people.with_keypoints(before, people.scores * 0).scores, 0)


def test_nobody_is_a_people_too() -> None:
    nobody = People.empty(load("halpe26"))
    assert len(nobody) == 0
    assert nobody.keypoints.shape == (0, 26, 2) and nobody.boxes.shape == (0, 4)
    assert len(concatenate([nobody, nobody])) == 0
    assert nobody.to_skeleton(load("coco17")).keypoints.shape == (0, 17, 2)


def test_labelled_are_the_keypoints_with_a_score(rng: np.random.Generator) -> None:
    people = some_people(rng)
    people.scores[0, :5] = 0
    assert people.labelled.sum() == people.scores.size - 5
    assert not people.labelled[0, :5].any()
