"""Read and write any JSON format that lists the people of each image.

A :class:`Layout` describes where the people are in the value of an image, and its :class:`PersonLayout` where the
numbers are in the record of a person. :func:`read_images`, :func:`write_images` and :func:`looks_like` do the rest.
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

    # Maps record, skeleton or None, to K triples of x, y and score as in the record, None where one is missing. Raises
    # ValueError with the end of a sentence that starts with the person.
    keypoints: Callable[[Any, Skeleton | None], Triples]
    put: Callable[[Any, Triples, Skeleton], Any]  # the record with these numbers
    new: Callable[[ParsedFile, int], Any]  # a new record, without numbers, for the person with this index
    is_person: Callable[[Any], bool]  # whether a record has this format
    is_other: Callable[[Any], bool] = lambda record: False  # whether a record is not a person, but passed through
    box: Callable[[Any], Any] | None = None  # xywh of a record, or None; if the format has boxes
    score: str = ""  # key of the person's score, if there is one
    track: str = ""  # key of the track id, if there is one
    first_track: int = 0  # smaller ids mean none
    decimals: tuple[int, int] = (3, 6)  # of new coordinates and scores
    origin_is_nothing: bool = False  # whether keypoints at (0, 0) are missing, whatever their score
    zero_is_nothing: bool = True  # whether keypoints of score 0 are missing

    def estimated(self, triples: np.ndarray) -> np.ndarray:
        """Return (K,) bool: which of the triples (K, 3) are estimates."""
        return is_estimate(triples, self.origin_is_nothing, self.zero_is_nothing)


def is_list_of_people(value: Any) -> bool:
    """Whether a JSON value lists the people of one image; a list of lists is of several images."""
    return isinstance(value, list) and not (value and all(isinstance(record, list) for record in value))


@dataclass(frozen=True)
class Layout:
    """How a format lays out the people of one image, by default as a list, and names its files."""

    person: PersonLayout
    skeletons: tuple[str, ...]  # inferred from the number of keypoints; the first is that of empty files
    is_image: Callable[[Any], bool] = is_list_of_people
    people_in: Callable[[Any], list[Any]] = lambda value: value  # raises ValueError with the end of a sentence
    put_people: Callable[[Any, list[Any]], Any] = lambda value, people: people  # the value with these people
    new_image: Any = field(default_factory=list)  # without people
    noun: str = "person"  # in messages
    suffix: str = ".json"  # of the files in a folder
    keep_extension: bool = False  # of the image, in the name of its file
    store: Store = "folder"  # of new files
    skeleton_of: Callable[[Path, Frames], Skeleton | None] = lambda path, frames: None  # else by number


def read_images(
    layout: Layout, path: Path, skeleton: Skeleton | None, on_error: OnError, frames: Frames | None = None
) -> ParsedFile:
    """Read the people of images, from ``frames`` if these were read already."""
    if frames is None:
        frames = read_frames(path, layout.is_image, on_error, layout.suffix)
    people = PeopleBuilder(path, skeleton or layout.skeleton_of(path, frames), on_error, layout.skeletons)
    people.problems.extend(frames.problems)
    for frame, value in enumerate(frames.values):
        try:
            records = layout.people_in(value)
        except ValueError as error:
            people.refuse(frames.where(frame).strip(), frame, value, str(error))
            continue
        for i, record in enumerate(records):
            read_person(layout.person, people, f"{frames.where(frame)}{layout.noun} {i}", frame, record)
    parsed = people.parsed(frames.keys, frames.kind, layout.skeletons[0], document=frames)
    require_other_people(frames.problems, parsed)
    return parsed


def require_other_people(problems: Sequence[str], parsed: ParsedFile) -> None:
    """Raise InputError with the first problem of a folder's files if the others have no usable person."""
    if problems and not (parsed.scores > 0).any():
        raise InputError(problems[0])


def write_images(layout: Layout, path: Path, parsed: ParsedFile) -> None:
    """Write the files that were read with new numbers, or new files."""
    records = [[write_person(layout.person, parsed, person) for person in people] for people in parsed.people_of()]
    original = parsed.document
    if original is not None:
        values = list(original.values)
        for frame, (value, people) in enumerate(zip(original.values, records, strict=True)):
            if people != [value]:  # else the image was unusable and is passed through
                values[frame] = layout.put_people(value, people)
        write_frames(path, replace(original, values=values))
        return
    keys, values = list(parsed.images), [layout.put_people(layout.new_image, people) for people in records]
    files = file_names(path, keys, layout.suffix, layout.keep_extension) if layout.store == "folder" else ()
    write_frames(path, Frames(layout.store, keys, values, tuple(files)))


def looks_like(layout: Layout, probe: FileProbe) -> bool:
    """Whether the first person in a file or folder has this layout."""
    for value in first_values(probe):
        try:
            people = layout.people_in(value) if layout.is_image(value) else []
        except ValueError:
            continue
        if people:
            return layout.person.is_person(people[0])
    return False


def read_person(layout: PersonLayout, people: PeopleBuilder, where: str, frame: int, record: Any) -> None:
    """Add the person of a record, or the record without estimates if it is not a person."""
    if layout.is_other(record):
        people.hand_through(frame, record)
        return
    try:
        raw = layout.keypoints(record, people.skeleton)
        triples = numbers(raw, "keypoints").reshape(-1, 3)
        box = layout.box(record) if layout.box else None
    except ValueError as error:
        people.refuse(where, frame, record, str(error))
        return
    if not np.isfinite(triples).all():
        people.not_finite += any(isinstance(value, float) and not isfinite(value) for triple in raw for value in triple)
    triples[~layout.estimated(triples), :2] = np.nan
    score = only(record.get(layout.score)) if layout.score else None
    track_id = track_id_of(record.get(layout.track)) if layout.track else -1
    people.add(where, frame, record, triples, box, score, track_id if track_id >= layout.first_track else -1)


def write_person(layout: PersonLayout, parsed: ParsedFile, person: int) -> Any:
    """Return the record of a person with new keypoints and scores; unchanged numbers keep their text."""
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
        is_foreign = old not in (None, []) and not is_image_id(only(old))  # such as a name, which is kept
        if not is_foreign and track_id_of(old) != track_id:
            written[layout.track] = [track_id] if isinstance(old, list) else track_id
    return written


def flat_person(
    key: str,
    new: Callable[[ParsedFile, int], Any],
    is_person: Callable[[Any], bool],
    box_key: str = "",
    **rest: Any,
) -> PersonLayout:
    """Describe a person as an object with a flat list of x, y and score, under ``key``, and a box as xywh.

    ``rest`` are attributes of :class:`PersonLayout`.
    """

    def keypoints(record: Any, skeleton: Skeleton | None) -> Triples:
        require_object(record, key)
        flat = record[key]
        if not isinstance(flat, list) or len(flat) % 3 or not flat:
            content = f"{len(flat)} numbers" if isinstance(flat, list) else describe(flat)
            raise ValueError(f"has {content} as {key}, expected x, y and score of each keypoint, one after the other")
        if any(isinstance(value, list) for value in flat):
            raise ValueError(f"has a list within {key}, expected numbers")
        return [flat[i : i + 3] for i in range(0, len(flat), 3)]

    def put(record: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
        return {**record, key: [value for triple in triples for value in triple]}

    box = (lambda record: record.get(box_key)) if box_key else None
    return PersonLayout(keypoints, put, new, is_person, box=box, **rest)


def new_in_list(parsed: ParsedFile, person: int, box_key: str) -> dict[str, Any]:
    """Return a new person without numbers for a list of all people, with image key and, if known, a box as xywh."""
    record = {"image_id": parsed.images[parsed.frames[person]], "category_id": 1, "keypoints": [], "score": 0.0}
    box = np.round(parsed.boxes[person].astype(np.float64), 3)
    return {**record, box_key: box.tolist()} if box.any() else record


def pairs_with_scores(pairs: Any, scores: Any, what: str) -> Triples:
    """Combine K pairs of x, y and K scores, called ``what``, to K triples; ValueError for anything else."""
    xy, confidences = numbers(pairs, "keypoints"), numbers(scores, what)
    if xy.size and (xy.ndim != 2 or xy.shape[1] != 2):
        raise ValueError(f"has keypoints of shape {xy.shape}, expected pairs of x and y")
    if confidences.shape != xy.shape[:1]:
        raise ValueError(f"has {confidences.size} scores for {len(xy)} keypoints")
    return [[x, y, score] for (x, y), score in zip(pairs, scores, strict=True)]


def point_triple(point: Mapping[str, Any], score: str) -> list[Any]:
    """Return x, y and score of an object with ``x`` and ``y``, in itself or its ``position``; by default score 1."""
    position = point["position"] if isinstance(point.get("position"), Mapping) else point
    return [position.get("x"), position.get("y"), 1.0 if point.get(score) is None else point[score]]


def put_point(point: Mapping[str, Any], triple: Sequence[Any], score: str) -> Mapping[str, Any]:
    """Return a copy of such an object with other numbers; the object itself if they are equal."""
    old = point_triple(point, score)
    if list(triple) == old:
        return point
    new = {"x": triple[0], "y": triple[1]}
    new = {**point, "position": {**point["position"], **new}} if "position" in point else {**point, **new}
    return new if triple[2] == old[2] else {**new, score: triple[2]}


def from_corners(corners: Any) -> list[float] | None:
    """Convert a box x1, y1, x2, y2, in a list or a nested one, to xywh; None if there is none.

    Raises:
        ValueError: with the end of a sentence, for anything else.
    """
    if corners is None:
        return None
    values = numbers(corners, "a box").ravel()
    if len(values) != 4:
        raise ValueError(f"has {corners!r:.60} as a box, expected x1, y1, x2 and y2")
    return [*values[:2].tolist(), *(values[2:] - values[:2]).tolist()]


def box_or_extent(parsed: ParsedFile, person: int) -> list[float]:
    """Return xywh of a person's box, else of the extent of the keypoints, else zeros."""
    box, valid = parsed.boxes[person], parsed.scores[person] > 0
    if not box.any() and valid.any():
        points = parsed.keypoints[person][valid]
        return [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()]
    return [float(length) for length in box]


def to_corners(parsed: ParsedFile, person: int) -> list[float]:
    """Return x1, y1, x2, y2 of :func:`box_or_extent`."""
    x, y, width, height = box_or_extent(parsed, person)
    return [x, y, x + width, y + height]


def json_format(name: str, title: str, layout: Layout, **rest: Any) -> Format:
    """Return a format with a layout; ``rest`` overrides attributes of :class:`Format`."""
    sniff, read, write = partial(looks_like, layout), partial(read_images, layout), partial(write_images, layout)
    keys = {"scores": True, "boxes": layout.person.box, "person_scores": layout.person.score}
    base = Format(name, title, layout.skeletons, "name", sniff, read, write, folder=layout.store == "folder")
    base = replace(base, holds=frozenset(filter(keys.get, keys)), takes_new="in its images")
    return replace(base, **rest)
