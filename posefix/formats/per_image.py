"""Read and write any format that says in JSON which people there are in one image.

A :class:`Layout` says where in the value of an image its people are, and its :class:`PersonLayout` where in the record
of a person the numbers are. :func:`read_images`, :func:`write_images` and :func:`looks_like` do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import Frames, Store, file_names, first_values, read_frames, write_frames
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.probe import FileProbe
from posefix.formats.records import (
    ORIGINAL_SCORE,
    describe,
    is_estimate,
    is_image_id,
    keep_equal,
    numbers,
    only,
    require_object,
    track_id_of,
    with_original_score,
)

Triples = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class PersonLayout:
    """How a format lays out one person."""

    # (record, skeleton or None) to K triples of x, y and score as they stand in the record, None where one is missing.
    # Raises ValueError with the rest of a sentence that starts with the person.
    keypoints: Callable[[Any, Skeleton | None], Triples]
    put: Callable[[Any, Triples, Skeleton], Any]  # the record with these numbers
    new: Callable[[ParsedFile, int], Any]  # the record of the person at a place, from elsewhere, without numbers
    is_person: Callable[[Any], bool]  # whether the format can be recognised by a record
    is_other: Callable[[Any], bool] = lambda record: False  # not a person: handed through
    box: Callable[[Any], Any] | None = None  # xywh of a record, or None; if the format has a place for it
    score: str = ""  # the key of the person's score, if there is one
    track: str = ""  # the key of the track id, if the format has a place for it
    first_track: int = 0  # ids below mean none
    decimals: tuple[int, int] = (3, 6)  # of coordinates and of scores that are written anew
    origin_is_nothing: bool = False  # a keypoint at (0, 0) was not found, whatever its score
    zero_is_nothing: bool = True  # a keypoint of score 0 was not found; if not, its coordinates count all the same

    def estimated(self, triples: np.ndarray) -> np.ndarray:
        """(K,) bool: which of the triples (K, 3) are estimates."""
        return is_estimate(triples, self.origin_is_nothing, self.zero_is_nothing)


def is_list_of_people(value: Any) -> bool:
    """Whether a JSON value is a list of what was found in one image; a list of lists is of several images."""
    return isinstance(value, list) and not (value and all(isinstance(one, list) for one in value))


@dataclass(frozen=True)
class Layout:
    """How a format lays out the people of one image, by default as a list, and how files are named."""

    person: PersonLayout
    skeletons: tuple[str, ...]  # those that the number of keypoints tells apart; the first is that of an empty file
    is_image: Callable[[Any], bool] = is_list_of_people
    people_in: Callable[[Any], list[Any]] = lambda value: value  # ValueError with the rest of a sentence
    put_people: Callable[[Any, list[Any]], Any] = lambda value, people: people  # the value with these people
    new_image: Any = field(default_factory=list)  # without people
    noun: str = "person"  # in messages
    suffix: str = ".json"  # of the files in a folder
    keep_extension: bool = False  # of the image, in the name of its file
    store: Store = "folder"  # of new files
    skeleton_of: Callable[[Path, Frames], Skeleton | None] = lambda path, frames: None  # if their number does not tell


def read_images(
    layout: Layout, path: Path, skeleton: Skeleton | None, on_error: OnError, frames: Frames | None = None
) -> ParsedFile:
    """Read the people of images, from ``frames`` if these were read already."""
    if frames is None:
        frames = read_frames(path, layout.is_image, on_error, layout.suffix)
    people = PeopleBuilder(path, skeleton or layout.skeleton_of(path, frames), on_error, layout.skeletons)
    people.problems.extend(frames.problems)
    for place, value in enumerate(frames.values):
        try:
            records = layout.people_in(value)
        except ValueError as error:
            people.refuse(frames.where(place).strip(), place, value, str(error))
            continue
        for i, record in enumerate(records):
            read_person(layout.person, people, f"{frames.where(place)}{layout.noun} {i}", place, record)
    parsed = people.parsed(frames.keys, frames.kind, layout.skeletons[0], document=frames)
    require_other_people(frames.problems, parsed)
    return parsed


def require_other_people(problems: Sequence[str], parsed: ParsedFile) -> None:
    """Raise InputError with the first problem of a folder's files if no person in the others is usable."""
    if problems and not (parsed.scores > 0).any():
        raise InputError(problems[0])


def write_images(layout: Layout, path: Path, parsed: ParsedFile) -> None:
    """Write the files that were read with their people's new numbers, or new ones."""
    lists = [[write_person(layout.person, parsed, person) for person in people] for people in parsed.people_of()]
    old = parsed.document
    if old is not None:
        values = list(old.values)
        for place, (value, people) in enumerate(zip(old.values, lists, strict=True)):
            if people != [value]:  # else it was unusable, and is handed through as a whole
                values[place] = layout.put_people(value, people)
        write_frames(path, replace(old, values=values))
        return
    keys, values = list(parsed.images), [layout.put_people(layout.new_image, people) for people in lists]
    files = file_names(path, keys, layout.suffix, layout.keep_extension) if layout.store == "folder" else ()
    write_frames(path, Frames(layout.store, keys, values, tuple(files)))


def looks_like(layout: Layout, probe: FileProbe) -> bool:
    """Whether the first person in a file or folder is laid out so."""
    for value in first_values(probe):
        try:
            people = layout.people_in(value) if layout.is_image(value) else []
        except ValueError:
            continue
        if people:
            return layout.person.is_person(people[0])
    return False


def read_person(layout: PersonLayout, people: PeopleBuilder, where: str, place: int, record: Any) -> None:
    """Take a person from a record, or the record without estimates if it is of something else."""
    if layout.is_other(record):
        people.hand_through(place, record)
        return
    try:
        raw = layout.keypoints(record, people.skeleton)
        triples = numbers(raw, "keypoints").reshape(-1, 3)
        box = layout.box(record) if layout.box else None
    except ValueError as error:
        people.refuse(where, place, record, str(error))
        return
    if not np.isfinite(triples).all():
        people.not_finite += any(isinstance(value, float) and not isfinite(value) for triple in raw for value in triple)
    triples[~layout.estimated(triples), :2] = np.nan
    score = only(record.get(layout.score)) if layout.score else None
    track_id = track_id_of(record.get(layout.track)) if layout.track else -1
    people.add(where, place, record, triples, box, score, track_id if track_id >= layout.first_track else -1)


def write_person(layout: PersonLayout, parsed: ParsedFile, person: int) -> Any:
    """The record of a person with their keypoints and scores; numbers that say the same stay as they stand there."""
    record, new = parsed.records[person], np.column_stack([parsed.keypoints[person], parsed.scores[person]])
    if parsed.has_no_estimate(person):
        return record
    decimals = (*layout.decimals[:1] * 2, layout.decimals[1])
    if record is None:
        record, triples = layout.new(parsed, person), keep_equal(None, new, decimals)
    else:
        raw = layout.keypoints(record, parsed.skeleton)
        keep = (new[:, 2] == 0) & ~layout.estimated(numbers(raw, "keypoints"))
        triples = keep_equal(raw, new, decimals, keep[:, None])
    if isinstance(record, Mapping):
        record = with_original_score(record, parsed.original_scores[person])
    written = layout.put(record, triples, parsed.skeleton)
    if layout.score and (record.get(layout.score) is not None or ORIGINAL_SCORE in record):
        old = record.get(layout.score)
        written[layout.score] = keep_equal(old, np.full(np.shape(old), parsed.person_scores[person]), 6)
    if layout.track and (track_id := int(parsed.track_ids[person])) >= 0:
        old = record.get(layout.track)
        is_theirs = old not in (None, []) and not is_image_id(only(old))  # a name, say: it stays
        if not is_theirs and track_id_of(old) != track_id:
            written[layout.track] = [track_id] if isinstance(old, list) else track_id
    return written


def flat_person(
    key: str,
    new: Callable[[ParsedFile, int], Any],
    is_person: Callable[[Any], bool],
    box_key: str = "",
    **rest: Any,
) -> PersonLayout:
    """A person who is an object with x, y and score of all keypoints in one list, and a box as xywh.

    The list is under ``key``; all else is as of :class:`PersonLayout`.
    """

    def keypoints(record: Any, skeleton: Skeleton | None) -> Triples:
        require_object(record, key)
        flat = record[key]
        if not isinstance(flat, list) or len(flat) % 3 or not flat:
            found = f"{len(flat)} numbers" if isinstance(flat, list) else describe(flat)
            raise ValueError(f"has {found} as {key}, expected x, y and score of each keypoint, one after the other")
        if any(isinstance(value, list) for value in flat):
            raise ValueError(f"has a list within {key}, expected numbers")
        return [flat[i : i + 3] for i in range(0, len(flat), 3)]

    def put(record: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
        return {**record, key: [value for triple in triples for value in triple]}

    box = (lambda record: record.get(box_key)) if box_key else None
    return PersonLayout(keypoints, put, new, is_person, box=box, **rest)


def new_in_list(parsed: ParsedFile, person: int, box_key: str) -> dict[str, Any]:
    """A new person without numbers in a list of all people, who has the image's key and, if known, a box as xywh."""
    record = {"image_id": parsed.images[parsed.frames[person]], "category_id": 1, "keypoints": [], "score": 0.0}
    box = np.round(parsed.boxes[person].astype(np.float64), 3)
    return {**record, box_key: box.tolist()} if box.any() else record


def pairs_with_scores(pairs: Any, scores: Any, what: str) -> Triples:
    """K triples from K pairs of x and y and K scores, called ``what``; ValueError for anything else."""
    xy, confidences = numbers(pairs, "keypoints"), numbers(scores, what)
    if xy.size and (xy.ndim != 2 or xy.shape[1] != 2):
        raise ValueError(f"has keypoints of shape {xy.shape}, expected pairs of x and y")
    if confidences.shape != xy.shape[:1]:
        raise ValueError(f"has {confidences.size} scores for {len(xy)} keypoints")
    return [[x, y, score] for (x, y), score in zip(pairs, scores, strict=True)]


def point_triple(point: Mapping[str, Any], score: str) -> list[Any]:
    """x, y and score of an object with ``x`` and ``y``, in itself or its ``position``; without a score it is 1."""
    position = point["position"] if isinstance(point.get("position"), Mapping) else point
    return [position.get("x"), position.get("y"), 1.0 if point.get(score) is None else point[score]]


def put_point(point: Mapping[str, Any], triple: Sequence[Any], score: str) -> Mapping[str, Any]:
    """A copy of such an object with other numbers; itself if they are the same."""
    old = point_triple(point, score)
    if list(triple) == old:
        return point
    new = {"x": triple[0], "y": triple[1]}
    new = {**point, "position": {**point["position"], **new}} if "position" in point else {**point, **new}
    return new if triple[2] == old[2] else {**new, score: triple[2]}


def from_corners(corners: Any) -> list[float] | None:
    """xywh of a box that is given as x1, y1, x2, y2, in a list or one within another; None if there is none.

    Raises:
        ValueError: with the rest of a sentence, for anything else.
    """
    if corners is None:
        return None
    found = numbers(corners, "a box").ravel()
    if len(found) != 4:
        raise ValueError(f"has {corners!r:.60} as a box, expected x1, y1, x2 and y2")
    return [*found[:2].tolist(), *(found[2:] - found[:2]).tolist()]


def box_or_extent(parsed: ParsedFile, person: int) -> list[float]:
    """xywh of a person's box; of the extent of the keypoints where none is known, or zeros."""
    box, known = parsed.boxes[person], parsed.scores[person] > 0
    if not box.any() and known.any():
        points = parsed.keypoints[person][known]
        return [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()]
    return [float(length) for length in box]


def to_corners(parsed: ParsedFile, person: int) -> list[float]:
    """x1, y1, x2, y2 of what :func:`box_or_extent` gives."""
    x, y, width, height = box_or_extent(parsed, person)
    return [x, y, x + width, y + height]


def json_format(name: str, title: str, layout: Layout, **rest: Any) -> Format:
    """A format with a layout; ``rest`` are attributes of it that are not as usual."""
    sniff, read, write = partial(looks_like, layout), partial(read_images, layout), partial(write_images, layout)
    places = {"scores": True, "boxes": layout.person.box, "person_scores": layout.person.score}
    usual = Format(name, title, layout.skeletons, "name", sniff, read, write, folder=layout.store == "folder")
    usual = replace(usual, holds=frozenset(filter(places.get, places)), takes_new="in its images")
    return replace(usual, **rest)
