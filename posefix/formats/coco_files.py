"""COCO's results: a list of people, each a record with ``image_id`` and ``keypoints``.

What Detectron2's ``COCOEvaluator`` (in COCO's convention: it has taken half a pixel off) and MMPose's ``CocoMetric``
write are the same, known by the names of the files.

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

NOWHERE = -(2**63)  # image id of a record that has none
AT_ONCE = 256  # records that are converted together
NUMBERS = {int, float}  # not bool
NO_BOX, NO_SCORE = (0, 0, 0, 0), 0


def read_results(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read results: a list of records with ``image_id`` and ``keypoints`` (x, y and score of each).

    A record without ``score`` gets the mean of its keypoints' scores.
    """
    raw = read_raw(path)
    records = _list_of(path) if raw is None else raw
    people = PeopleBuilder(path, skeleton, on_error, records=records)
    places: dict[int, int] = {}
    for first in range(0, len(records), AT_ONCE):
        some = records[first : first + AT_ONCE]
        rows = _rows(some, people.skeleton)
        if rows is not None:
            frames = [places.setdefault(int(record["image_id"]), len(places)) for record in some]
            people.add_rows(frames, some, rows, [track_id_of(record.get(PERSON.track)) for record in some])
        else:
            for i, record in enumerate(some, first):
                _read_record(people, places, i, record)
    return people.parsed(list(places), "id")


def _rows(records: Sequence[Any], skeleton: Skeleton | None) -> np.ndarray | None:
    """Convert records in one go, to (R, 3 K + 5) float64 as of ``PeopleBuilder.add_rows``.

    None if they are not all as they should be: then each of them is looked at.
    """
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
        found = np.array(rows, np.float64)
    except (AttributeError, KeyError, TypeError, OverflowError):
        return None
    scoreless = np.array([record.get("score") is None for record in records])
    found[scoreless, -1] = found[scoreless, 2 : 3 * k : 3].mean(-1)
    return found if (np.abs(found) <= MAX_COORDINATE).all() and is_usable_box(found[:, -5:-1]).all() else None


def _read_record(people: PeopleBuilder, places: dict[int, int], i: int, record: Any) -> None:
    problems = len(people.problems)
    try:
        place = places.setdefault(image_id_of(record), len(places))
    except ValueError as error:
        people.refuse(f"record {i}", 0, record, str(error))
    else:
        read_person(PERSON, people, f"record {i}", place, record)
    if len(people.problems) > problems:  # of no image: else it would be a person whose keypoints are to be found
        people.frames[-1] = places.setdefault(NOWHERE, len(places))


def write_results(path: Path, content: ParsedFile) -> None:
    """Write results: coordinates with 3 decimals, keypoints' scores with 4 and people's with 6.

    Numbers that say what was read stay as they were. Of a person whose score is new the record keeps the old one as
    ``original_score``.
    """

    def pieces() -> Iterator[str]:
        for person in range(len(content)):
            yield (", " if person else "[") + json.dumps(write_person(PERSON, content, person))
        yield "]\n" if len(content) else "[]\n"

    write_atomically(path, pieces())


def image_id_of(record: Any) -> int:
    """The ``image_id`` of a record; ValueError, with the rest of a sentence, if it has none."""
    require_object(record, "image_id")
    if not is_image_id(record["image_id"]):
        raise ValueError(f"has the image_id {describe(record['image_id'])}, expected an integer")
    return int(record["image_id"])


def _list_of(path: Path) -> list[Any]:
    content = read_json(path)
    if isinstance(content, list):
        return content
    annotations = isinstance(content, Mapping) and "annotations" in content
    found = "is an annotations file" if annotations else f"holds {describe(content)}"
    expected = "results: a list" if annotations else "a list"
    raise InputError(f"{path}: {found}, expected {expected} of records with image_id and keypoints")


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
