"""COCO's keypoint JSON: results in and out, annotations in.

Results are a list of ``{"image_id": 139, "keypoints": [x, y, score, ...], "score": 0.9, ...}``; what else a record
holds is kept and written again. Format: https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import read_json, write_pieces
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.formats import records as checks
from posefix.formats.long_json import Records, elements, is_long, open_unzipped

ORIGINAL_SCORE = checks.ORIGINAL_SCORE
BLOCK = 8192  # records that are gone through at a time
OnError = Literal["stop", "skip"]


@dataclass(frozen=True)
class ImageRecord:
    """What an annotations file says of one image.

    Attributes:
        file_name: its file, relative to the folder of images.
        width: in pixels; 0 where it is not said.
        height: likewise.
    """

    file_name: str
    width: int = 0
    height: int = 0


@dataclass(eq=False)
class CocoResults:
    """The content of a results file.

    Attributes:
        people: the N people of the usable records, in file order; ``extra`` holds their raw records.
        records: every record as it came, M >= N of them.
        rows: (N,) int64, for each of the people its place in ``records``.
        problems: one sentence for each record that is not among the people.
    """

    people: People
    records: Sequence
    rows: np.ndarray
    problems: list[str]


@dataclass(eq=False)
class CocoAnnotations:
    """The people and images of an annotations file.

    Attributes:
        people: those with annotated keypoints who are not crowds; ``scores`` are visibility flags, ``areas`` the
            annotated ones, or 0.515 of the box's where there are none; ``extra`` holds the raw annotations.
        images: every image by its id.
    """

    people: People
    images: dict[int, ImageRecord]


def read_results(path: str | Path, skeleton: Skeleton | None = None, on_error: OnError = "stop") -> CocoResults:
    """Read a file of COCO keypoint results.

    Args:
        path: a JSON list of records with ``image_id`` and ``keypoints`` (3K numbers, in pixels of the original image);
            ``bbox`` (xywh) and ``score`` are used where they are there; without ``score`` a person gets the mean
            of the keypoints' scores.
        skeleton: what the keypoints are; COCO-17 if not given.
        on_error: whether an unusable record ends the reading or is skipped and told of in ``problems``.

    Raises:
        InputError: the file is not a list of records; or, with ``"stop"``, the first unusable record and why.
    """
    skeleton = skeleton or load("coco17")
    if is_long(path):
        return _read_long(path, skeleton, on_error)
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: {_not_results(records)}")
    rows, problems = _usable(path, records, 0, skeleton, on_error)
    return CocoResults(_scored_people([records[i] for i in rows], skeleton), records, rows, problems)


def _read_long(path: str | Path, skeleton: Skeleton, on_error: OnError) -> CocoResults:
    """:func:`read_results` in memory for the arrays and one block of the file: records are left in the file."""
    file = open_unzipped(path)
    spans: list[np.ndarray] = []
    parts, found, problems, count = [People.empty(skeleton)], [], [], 0
    stream = elements(file, path)
    while block := list(islice(stream, BLOCK)):
        records = [record for record, _, _ in block]
        spans.append(np.array([(first, end) for _, first, end in block], np.int64))
        rows, wrong = _usable(path, records, count, skeleton, on_error)
        usable = [records[i - count] for i in rows]
        parts.append(replace(_scored_people(usable, skeleton), extra=()))
        found.append(rows)
        problems.extend(wrong)
        count += len(block)
    columns = ("keypoints", "scores", "image_ids", "boxes", "person_scores", "areas", "original_scores")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    everything = Records(file, np.concatenate(spans).reshape(-1, 2) if spans else np.zeros((0, 2), np.int64))
    rows = np.concatenate([np.zeros(0, np.int64), *found])
    return CocoResults(People(skeleton, **arrays, extra=everything.take(rows)), everything, rows, problems)


def _usable(
    path: str | Path, records: list, first: int, skeleton: Skeleton, on_error: OnError
) -> tuple[np.ndarray, list[str]]:
    """Places of the usable ones among some records, which begin at place ``first``; and what is wrong with the rest."""
    if checks.flawless(records, skeleton):
        return np.arange(first, first + len(records), dtype=np.int64), []
    found = [checks.problem(record, skeleton) for record in records]
    problems = [f"{path}: record {i} {what}" for i, what in enumerate(found, first) if what]
    if problems and on_error == "stop":
        raise InputError(problems[0])
    return np.array([i for i, what in enumerate(found, first) if what is None], dtype=np.int64), problems


def _scored_people(records: list[Mapping], skeleton: Skeleton) -> People:
    """People of usable records; those without a score have the mean of their keypoints'."""
    people = _people(records, skeleton)
    unscored = np.array([record.get("score") is None for record in records], bool)
    people.person_scores[unscored] = people.scores[unscored].mean(1)
    return people


def write_results(path: str | Path, results: CocoResults, refined: People) -> None:
    """Write results again with other keypoints: same records, same order, only ``keypoints`` of the people replaced.

    Coordinates are rounded to 3 decimals and scores to 4. What equals, as float32, what was read keeps its original
    numbers, so unchanged people give the JSON that was read. A person with another score gets it as ``score``, with 6
    decimals, and keeps the one that it came with as ``original_score``. The file appears whole or not at all.

    Args:
        path: file to write.
        results: what was read.
        refined: ``results.people`` with other keypoints and scores, in the same order.

    Raises:
        InputError: ``path`` cannot be written.
        ValueError: ``refined`` are not the people of ``results``, or have keypoints that are not finite.
    """

    def pieces() -> Iterator[str | bytes]:
        for row, record in enumerate(_written(results, refined)):
            yield ", " if row else "["
            unchanged = record is None and isinstance(results.records, Records)
            record = results.records[row] if record is None and not unchanged else record
            yield results.records.text(row) if unchanged else json.dumps(record)
        yield "]\n" if len(results.records) else "[]\n"

    _require_same_people(results, refined)
    write_pieces(path, pieces())


def refined_records(results: CocoResults, refined: People) -> list:
    """The records that :func:`write_results` writes; those of ``results`` are not changed."""
    _require_same_people(results, refined)
    new = _written(results, refined)
    return [old if record is None else record for old, record in zip(results.records, new, strict=True)]


def _require_same_people(results: CocoResults, refined: People) -> None:
    people = results.people
    if len(refined) != len(people) or refined.skeleton != people.skeleton:
        expected, got = (f"{len(p)} people of {p.skeleton.name}" for p in (people, refined))
        raise ValueError(f"refined must be the {expected} that were read, got {got}")
    if not all(np.isfinite(v).all() for v in (refined.keypoints, refined.scores, refined.person_scores)):
        raise ValueError("refined keypoints and scores must be finite")


def _written(results: CocoResults, refined: People) -> Iterator[dict | None]:
    """For each record the one to write in its place; None where it stays."""
    at = 0
    for start in range(0, len(results.rows), BLOCK):
        for row, record in _changed(results, refined, slice(start, start + BLOCK)):
            yield from repeat(None, row - at)
            yield record
            at = row + 1
    yield from repeat(None, len(results.records) - at)


def _changed(results: CocoResults, refined: People, part: slice) -> Iterator[tuple[int, dict]]:
    """Place and new record of those among some people in whom anything changed."""
    people, refined, rows = results.people[part], refined[part], results.rows[part]
    moved = (refined.keypoints != people.keypoints).any(-1)
    flat = (len(people), 3 * len(people.skeleton))
    changed = np.stack([moved, moved, refined.scores != people.scores], axis=-1).reshape(flat)
    rescored = refined.person_scores != people.person_scores
    xy = np.round(refined.keypoints.astype(np.float64), 3) + 0.0  # no -0.0
    score = np.round(refined.scores.astype(np.float64), 4)
    rounded = np.concatenate([xy, score[..., None]], axis=-1).reshape(flat)
    for person in np.flatnonzero(changed.any(1) | rescored).tolist():
        record = results.records[rows[person]]
        if changed[person].any():
            original = np.array(record["keypoints"], dtype=object)
            keypoints = np.where(changed[person], rounded[person].astype(object), original).tolist()
            record = {**record, "keypoints": keypoints}
        if rescored[person]:
            scores = {"score": round(float(refined.person_scores[person]), 6)}
            if not checks.is_score(record.get(ORIGINAL_SCORE)):
                own = record.get("score")
                scores[ORIGINAL_SCORE] = round(float(people.person_scores[person]), 6) if own is None else own
            record = {**record, **scores}
        yield int(rows[person]), record


def people_records(people: People) -> list[dict]:
    """People as new records in COCO's result format, with their boxes where they are known.

    They are of category 1, or of the one in the raw records of ``people.extra``.
    """
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    triples = triples.reshape(len(people), 3 * len(people.skeleton))
    columns = (people.image_ids, [r.get("category_id", 1) for r in people.extra], triples, people.person_scores)
    names = ("image_id", "category_id", "keypoints", "score")
    values = (column if isinstance(column, list) else column.tolist() for column in columns)
    records = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    for row in np.flatnonzero(geometry.known_boxes(people.boxes)):
        records[row]["bbox"] = people.boxes[row].tolist()
    return records


def read_annotations(path: str | Path, skeleton: Skeleton | None = None, image_id_offset: int = 0) -> CocoAnnotations:
    """Read a file of COCO keypoint annotations.

    Annotations without keypoints, with none of them annotated, and crowds are left out.

    Args:
        path: a JSON object with ``images`` and ``annotations``.
        skeleton: what the keypoints are; COCO-17 if not given.
        image_id_offset: added to every image id, so that data sets whose ids collide can be put together.

    Raises:
        InputError: the file is no such object, or the first image or annotation that is malformed.
    """
    skeleton = skeleton or load("coco17")
    content = read_json(path)
    images = read_images(path, content, image_id_offset)
    kept = {i: a for i, a in enumerate(content["annotations"]) if not isinstance(a, Mapping) or has_keypoints(a)}
    annotations = list(kept.values())
    if not checks.flawless(annotations, skeleton):
        _raise_first(path, kept, lambda annotation: checks.problem(annotation, skeleton))
    _raise_first(path, kept, lambda annotation: _annotation_problem(annotation, images, image_id_offset))
    people = _people(annotations, skeleton, image_id_offset)
    given = np.array([a["area"] if a.get("area") is not None else np.nan for a in annotations], np.float32)
    people.areas = np.where(np.isnan(given), people.areas, given)
    return CocoAnnotations(people[people.labelled.any(1)], images)


def read_images(path: str | Path, content: Any, image_id_offset: int = 0) -> dict[int, ImageRecord]:
    """The images that the content of an annotations file lists, by id; ``path`` is for messages.

    Raises:
        InputError: the content is no object with images and annotations, or an image is malformed.
    """
    if not isinstance(content, Mapping):
        found = "holds a list, as results do" if isinstance(content, list) else f"holds {checks.describe(content)}"
        raise InputError(f"{path}: {found}, expected an object with images and annotations")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise InputError(f"{path}: has no list of {key}, expected an object with images and annotations")
    return _images(path, content["images"], image_id_offset)


def has_keypoints(annotation: Mapping) -> bool:
    """Whether an annotation is of one person with annotated keypoints."""
    crowd, count = annotation.get("iscrowd"), annotation.get("num_keypoints", 1)
    return bool(annotation.get("keypoints")) and not crowd and count != 0


def _people(records: list[Mapping], skeleton: Skeleton, image_id_offset: int = 0) -> People:
    keypoints, scores = checks.keypoint_arrays(records, skeleton)
    boxes = checks.box_array(records)
    return People(
        skeleton,
        keypoints,
        scores,
        np.array([int(r["image_id"]) + image_id_offset for r in records], np.int64),
        boxes=boxes,
        person_scores=np.array([r.get("score") or 0 for r in records], np.float32),
        original_scores=checks.original_scores(records),
        areas=geometry.areas_of(boxes),
        extra=records,
    )


def _images(path: str | Path, images: list, image_id_offset: int) -> dict[int, ImageRecord]:
    found: dict[int, ImageRecord] = {}
    for i, image in enumerate(images):
        if not isinstance(image, Mapping) or not checks.is_image_id(image.get("id")):
            raise InputError(f"{path}: image {i} has no integer id")
        name, size = image.get("file_name"), [image.get(key, 0) for key in ("width", "height")]
        if not isinstance(name, str) or not name:
            raise InputError(f"{path}: image {i} (id {image['id']}) has no file_name")
        if not all(checks.is_number(length) and 0 <= length <= checks.LARGEST for length in size):
            raise InputError(f"{path}: image {i} (id {image['id']}) has a width or height that is no number of pixels")
        record = ImageRecord(name, int(size[0]), int(size[1]))
        if found.setdefault(int(image["id"]) + image_id_offset, record) != record:
            raise InputError(f"{path}: image {i} has the id {image['id']} of another image")
    return found


def _annotation_problem(annotation: Mapping, images: Mapping[int, ImageRecord], image_id_offset: int) -> str | None:
    if int(annotation["image_id"]) + image_id_offset not in images:
        return f"is of image_id {annotation['image_id']}, which is not among the images"
    for key, usable in (("bbox", checks.is_box), ("area", _is_area)):
        value = annotation.get(key)
        if value is not None and not usable(value):
            return f"has {checks.describe(value)} as {key}, which is no {key}"
    return None


def _raise_first(path: str | Path, annotations: Mapping[int, Any], problem: Callable[[Any], str | None]) -> None:
    for i, annotation in annotations.items():
        if what := problem(annotation):
            raise InputError(f"{path}: annotation {i} {what}")


def _is_area(value: Any) -> bool:
    return checks.is_number(value) and 0 <= value <= checks.LARGEST**2


def _not_results(content: Any) -> str:
    if isinstance(content, Mapping) and "annotations" in content:
        return "is an annotations file, expected results: a list of records with image_id and keypoints"
    return f"holds {checks.describe(content)}, expected a list of records with image_id and keypoints"
