"""COCO results: a list of people, each a record with ``image_id`` and ``keypoints``.

Detectron2's ``COCOEvaluator`` (COCO's pixel convention) and MMPose's ``CocoMetric`` write the same, known by name.

Sources: https://cocodataset.org/#format-results; detectron2/evaluation/coco_evaluation.py;
mmpose/evaluation/metrics/coco_metric.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_json, write_atomically
from posefix.core.people import MAX_COORDINATE
from posefix.core.skeleton import Skeleton
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.per_image import Triples, flat_person, new_in_list, read_person, write_person
from posefix.formats.probe import FileProbe
from posefix.formats.raw_records import read_raw
from posefix.formats.records import describe, is_image_id, is_score, is_usable_box, numbers, require_object, track_id_of

NOWHERE = -(2**63)  # image id of a record without one
BATCH_SIZE = 256  # records converted at a time
NUMBERS = {int, float}  # not bool
NO_BOX, NO_SCORE = (0, 0, 0, 0), 0


def read_results(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read results: a list of records with ``image_id`` and ``keypoints`` (x, y and score of each).

    A record without ``score`` gets the mean score of its keypoints.
    """
    raw = read_raw(path)
    records = _read_list(path) if raw is None else raw
    people = PeopleBuilder(path, skeleton, on_error, records=records)
    frame_of: dict[int, int] = {}
    for start in range(0, len(records), BATCH_SIZE):
        batch = records[start : start + BATCH_SIZE]
        rows = _rows(batch, people.skeleton)
        if rows is not None:
            batch_frames = [frame_of.setdefault(int(record["image_id"]), len(frame_of)) for record in batch]
            people.add_rows(batch_frames, batch, rows, [track_id_of(record.get(PERSON.track)) for record in batch])
        else:
            for i, record in enumerate(batch, start):
                _read_record(people, frame_of, i, record)
    return people.parsed(list(frame_of), "id")


def _rows(records: Sequence[Any], skeleton: Skeleton | None) -> np.ndarray | None:
    """Convert records at once to (R, 3 K + 5) float64 for ``PeopleBuilder.add_rows``; None if any is not valid."""
    if skeleton is None:
        return None
    k, rows = len(skeleton), []
    try:
        for record in records:
            box, score = record.get("bbox"), record.get("score")
            row = [*record["keypoints"], *(NO_BOX if box is None else box), NO_SCORE if score is None else score]
            counts = len(record["keypoints"]), len(row)
            if counts != (3 * k, 3 * k + 5) or not NUMBERS.issuperset(map(type, row)):
                return None
            if not is_image_id(record["image_id"]):
                return None
            rows.append(row)
        values = np.array(rows, np.float64)
    except (AttributeError, KeyError, TypeError, OverflowError):
        return None
    scoreless = np.array([record.get("score") is None for record in records])
    values[scoreless, -1] = values[scoreless, 2 : 3 * k : 3].mean(-1)
    return values if (np.abs(values) <= MAX_COORDINATE).all() and is_usable_box(values[:, -5:-1]).all() else None


def _read_record(people: PeopleBuilder, frame_of: dict[int, int], i: int, record: Any) -> None:
    problems = len(people.problems)
    try:
        frame = frame_of.setdefault(image_id_of(record), len(frame_of))
    except ValueError as error:
        people.refuse(f"record {i}", 0, record, str(error))
    else:
        read_person(PERSON, people, f"record {i}", frame, record)
    if len(people.problems) > problems:  # without an image, it is not a person to complete
        people.frames[-1] = frame_of.setdefault(NOWHERE, len(frame_of))


def write_results(path: Path, content: ParsedFile) -> None:
    """Write results: coordinates with 3 decimals, keypoint scores with 4 and person scores with 6.

    Unchanged numbers keep their text. Records of rescored people keep the old score as ``original_score``.
    """

    def pieces() -> Iterator[str]:
        for person in range(len(content)):
            yield (", " if person else "[") + json.dumps(write_person(PERSON, content, person))
        yield "]\n" if len(content) else "[]\n"

    write_atomically(path, pieces())


def image_id_of(record: Any) -> int:
    """Return the ``image_id`` of a record; ValueError with the end of a sentence if it has none."""
    require_object(record, "image_id")
    image_id = record["image_id"]
    if not is_image_id(image_id):
        hint = "; --format alphapose reads file names" if isinstance(image_id, str) and not image_id.isdecimal() else ""
        raise ValueError(f"has the image_id {describe(image_id)}, expected an integer{hint}")
    return int(image_id)


def _read_list(path: Path) -> list[Any]:
    content = read_json(path)
    if isinstance(content, list):
        return content
    annotations = isinstance(content, Mapping) and "annotations" in content
    problem = "is an annotations file" if annotations else f"holds {describe(content)}"
    expected = "results: a list" if annotations else "a list"
    raise InputError(f"{path}: {problem}, expected {expected} of records with image_id and keypoints")


def _keypoints(record: Any, skeleton: Skeleton | None) -> Triples:
    triples = _FLAT.keypoints(record, skeleton)
    if not np.isfinite(numbers(triples, "keypoints")).all():
        raise ValueError("has null, NaN or Infinity in keypoints, expected numbers")
    return triples


def _is_result(record: Any) -> bool:
    if not isinstance(record, Mapping) or not is_image_id(record.get("image_id")):
        return False
    keypoints = record.get("keypoints")
    return isinstance(keypoints, list) and len(keypoints) % 3 == 0 and all(map(is_score, keypoints))


_new = partial(new_in_list, box_key="bbox")
_FLAT = flat_person("keypoints", _new, _is_result, "bbox", score="score", track="track_id", decimals=(3, 4))
PERSON = replace(_FLAT, keypoints=_keypoints, zero_is_nothing=False)


def _looks_like_results(probe: FileProbe) -> bool:
    return isinstance(probe.json, list) and (not probe.json or _is_result(probe.json[0]))


def _named(*names: str) -> Callable[[FileProbe], bool]:
    return lambda probe: probe.name.endswith(names) and _looks_like_results(probe)


_DETECTRON2 = ("coco_instances_results.json",)
_MMPOSE = (".keypoints.json", "results_keypoints.json", "result_keypoints.json")

_RESULTS = Format(
    name="coco",
    title="COCO results",
    skeletons=("coco17",),
    kind="id",
    sniff=lambda probe: _looks_like_results(probe) and not probe.name.endswith(_DETECTRON2 + _MMPOSE),
    read=read_results,
    write=write_results,
    tells_skeleton=False,
    completed=True,
    takes_new="anywhere",
)
FORMATS = (
    _RESULTS,
    replace(
        _RESULTS, name="detectron2", title="Detectron2's COCO results", sniff=_named(*_DETECTRON2), estimator_ap=65.0
    ),
    replace(_RESULTS, name="mmpose-results", title="MMPose's COCO results", sniff=_named(*_MMPOSE), estimator_ap=72.0),
)
