"""Linking finds who is who in synthetic videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posefix.core.people import People
from posefix.motion.linking import link
from tests.motion_scenes import video, walk

SCENES = {
    "side by side": {1: walk((100, 200), (3, 0), 60), 2: walk((220, 200), (3, 0), 60), 3: walk((340, 200), (3, 0), 60)},
    "crossing": {1: walk((80, 200), (5, 0), 60), 2: walk((400, 215), (-5, 0), 60)},
    "one overtakes the other": {1: walk((80, 200), (7, 0), 60), 2: walk((200, 210), (3, 0), 60)},
    "near and far": {1: walk((80, 200), (4, 0), 60, 300), 2: walk((330, 150), (-4, 0), 60, 80)},
    "fast": {1: walk((80, 200), (40, 0), 30), 2: walk((80, 420), (-40, 5), 30)},
}


def switches(truth: np.ndarray, found: np.ndarray, frames: np.ndarray) -> int:
    """How often the found id of a person changes from one frame to the next, or is that of another before."""
    order = np.lexsort((frames, truth))
    changed = (np.diff(truth[order]) == 0) & (np.diff(found[order]) != 0)
    shared = len(np.unique(truth)) - len(np.unique(found))
    return int(changed.sum()) + abs(shared)


def linked(people: People) -> np.ndarray:
    return link(replace(people, track_ids=None)).track_ids


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
@pytest.mark.parametrize("noise", [0, 2, 5])
def test_nobody_becomes_somebody_else(scene: dict, noise: float, rng: np.random.Generator) -> None:
    people = video(scene, rng, noise)
    assert switches(people.track_ids, linked(people), people.image_ids) == 0


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_short_gaps_are_survived(scene: dict, rng: np.random.Generator) -> None:
    people = video(scene, rng)
    start = rng.integers(3, 20, len(scene) + 1)[people.track_ids]
    seen = people[(people.image_ids < start) | (people.image_ids >= start + 4)]
    assert switches(seen.track_ids, linked(seen), seen.image_ids) == 0


def test_one_hidden_while_crossing_is_found_again(rng: np.random.Generator) -> None:
    people = video(SCENES["crossing"], rng)
    hidden = (people.track_ids == 2) & (people.image_ids >= 28) & (people.image_ids < 37)
    seen = people[~hidden]
    assert switches(seen.track_ids, linked(seen), seen.image_ids) == 0


def test_the_order_of_records_does_not_matter(rng: np.random.Generator) -> None:
    people = video(SCENES["side by side"], rng)
    order = rng.permutation(len(people))
    shuffled = people[order]
    assert switches(shuffled.track_ids, linked(shuffled), shuffled.image_ids) == 0


def test_every_fifth_frame_is_enough(rng: np.random.Generator) -> None:
    people = video(SCENES["side by side"], rng)
    some = people[people.image_ids % 5 == 0]
    assert switches(some.track_ids, linked(some), some.image_ids) == 0


@pytest.mark.parametrize("factor", [5, 100, 33_367])
def test_only_the_order_and_gaps_of_frame_numbers_count(factor: int, rng: np.random.Generator) -> None:
    people = video(SCENES["fast"], rng)
    seen = people[(people.image_ids < 12) | (people.image_ids > 15)]
    np.testing.assert_array_equal(linked(replace(seen, image_ids=factor * seen.image_ids)), linked(seen))


def test_elsewhere_and_long_after_it_is_somebody_else(rng: np.random.Generator) -> None:
    cut = np.concatenate([walk((80, 200), (2, 0), 20), walk((500, 300), (2, 0), 20)])
    people = video({1: cut}, rng)
    assert len(np.unique(linked(people))) == 2
    late = video({1: walk((80, 200), (0, 0), 20)}, rng)
    late.image_ids[10:] += 100
    assert len(np.unique(linked(late))) == 2


def test_ids_from_the_file_stay(rng: np.random.Generator) -> None:
    people = video(SCENES["crossing"], rng)
    given = people.track_ids + 6
    given[10] = 20
    np.testing.assert_array_equal(link(replace(people, track_ids=given)).track_ids, given)


def test_who_has_no_id_gets_that_of_most_others_or_a_new_one(rng: np.random.Generator) -> None:
    people = video(SCENES["crossing"] | {3: walk((100, 600), (3, 0), 60)}, rng)
    known, own = people.track_ids < 3, people.track_ids + 2  # others than the linker's, 1, 2 and 3
    given = np.where(~known | (rng.uniform(size=len(people)) < 0.5), -1, own)
    wrong = np.flatnonzero(given == 3)[0]
    given[wrong] = 0
    found = link(replace(people, track_ids=given)).track_ids
    own[wrong] = 0
    np.testing.assert_array_equal(found[known], own[known])
    assert len(set(found[~known])) == 1 and not np.isin(found[~known], given).any()


def test_nobody_gets_an_id_that_is_in_the_frame(rng: np.random.Generator) -> None:
    people = video({1: walk((100, 200), (3, 0), 20), 2: walk((300, 200), (3, 0), 20)}, rng)
    given = np.where(people.track_ids == 1, 7, -1)
    given[(people.track_ids == 2) & (people.image_ids < 9)] = 7  # a tracker that takes them for one: both have its id
    given[(people.track_ids == 1) & (people.image_ids < 9)] = 5
    found = link(replace(people, track_ids=given)).track_ids
    np.testing.assert_array_equal(found[given >= 0], given[given >= 0])
    assert len(np.unique(np.column_stack([people.image_ids, found]), axis=0)) == len(people) and (found >= 0).all()


def test_people_without_an_estimate_are_in_no_track(rng: np.random.Generator) -> None:
    people = video(SCENES["crossing"], rng)
    people.scores[[4, 5]] = 0
    assert (np.flatnonzero(linked(people) < 0) == [4, 5]).all()
    people.scores[:] = 0
    assert (linked(people) == -1).all()
    assert len(link(people[:0])) == 0
