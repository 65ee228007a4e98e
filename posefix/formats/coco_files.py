"""COCO's results: a list of people, each a record with ``image_id`` and ``keypoints``.

What Detectron2's ``COCOEvaluator`` (in COCO's convention: it has taken half a pixel off) and MMPose's ``CocoMetric``
write are the same, known by the names of the files.

Sources: https://cocodataset.org/#format-results; detectron2/evaluation/coco_evaluation.py;
mmpose/evaluation/metrics/coco_metric.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_json, write_atomically
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats import records as checks
from posefix.formats.parsed_file import Format, OnError, ParsedFile, keep_equal
from posefix.formats.probe import FileProbe
from posefix.formats.raw_records import is_long, read_raw

NOWHERE = -(2**63)  # image id of a record that has none
BLOCK = 8192  # records that are gone through at a time: those of a long file are parsed as they are needed


def read_results(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read results: a list of records with ``image_id`` and ``keypoints`` (x, y and score of each).

    A record without ``score`` gets the mean of its keypoints' scores. Those of a file of more than 64 MB stay text.

    Args:
        path: of the file.
        skeleton: what the keypoints are; if not given, a shipped one with as many as the first record has.
        on_error: whether the first unusable record is raised, or kept without estimates and told of in ``problems``.
    """
    records = read_raw(path) if is_long(path) else _list_of(path)
    skeleton = skeleton or skeleton_of(records[0] if len(records) else None)
    count, k = len(records), len(skeleton)
    ids = np.full(count, NOWHERE, np.int64)
    triples = np.zeros((count, k, 3), np.float32)
    boxes = np.zeros((count, 4), np.float32)
    person_scores, original_scores = np.zeros(count, np.float32), np.full(count, np.nan, np.float32)
    problems: list[str] = []
    for start in range(0, count, BLOCK):
        block = dict(enumerate(records[start : start + BLOCK], start))
        for i, record in list(block.items()):
            if what := checks.problem(record, skeleton):
                problems.append(f"{path}: record {i} {what}")
                if on_error == "stop":
                    raise InputError(problems[0])
                del block[i]
        rows, usable = list(block), list(block.values())
        ids[rows] = [int(record["image_id"]) for record in usable]
        triples[rows] = np.array([record["keypoints"] for record in usable], np.float32).reshape(-1, k, 3)
        known = [record["bbox"] if checks.is_box(record.get("bbox")) else (0, 0, 0, 0) for record in usable]
        boxes[rows] = np.array(known, np.float32).reshape(-1, 4)
        original_scores[rows] = checks.original_scores(usable)
        given = np.array([np.nan if record.get("score") is None else record["score"] for record in usable], np.float32)
        person_scores[rows] = np.where(np.isnan(given), triples[rows, :, 2].mean(1), given)
    images, frames = _in_order(ids)
    return ParsedFile(
        skeleton,
        triples[..., :2],
        triples[..., 2],
        frames,
        images,
        "id",
        boxes,
        person_scores,
        records,
        original_scores,
        problems=problems,
    )


def _list_of(path: Path) -> list:
    content = read_json(path)
    if isinstance(content, list):
        return content
    annotations = isinstance(content, Mapping) and "annotations" in content
    found = "is an annotations file" if annotations else f"holds {checks.describe(content)}"
    expected = "results: a list" if annotations else "a list"
    raise InputError(f"{path}: {found}, expected {expected} of records with image_id and keypoints")


def write_results(path: Path, content: ParsedFile) -> None:
    """Write results: coordinates with 3 decimals, keypoints' scores with 4 and people's with 6.

    Numbers that say what was read stay as they were. Of a person whose score is new the record keeps the old one as
    ``original_score``.
    """

    def pieces() -> Iterator[str]:
        for start in range(0, len(content), BLOCK):
            for i, record in enumerate(_block(content, start), start):
                yield (", " if i else "[") + json.dumps(record)
        yield "]\n" if len(content) else "[]\n"

    write_atomically(path, pieces())


def _block(content: ParsedFile, start: int) -> list:
    """The records to be written of the people from ``start`` on, one block of them."""
    people = slice(start, start + BLOCK)
    k, scores, originals = len(content.skeleton), content.scores[people], content.original_scores[people]
    pairs = zip(content.records[people], originals, strict=True)
    records = [r if r is None else checks.with_original_score(r, original) for r, original in pairs]
    written = np.flatnonzero((scores > 0).any(1) | content.new)
    if not len(written):
        return records
    old = [records[i] for i in written.tolist()]
    raw = np.array([[None] * (3 * k) if r is None else r["keypoints"] for r in old], object).reshape(-1, k, 3)
    triples = np.empty_like(raw)
    triples[..., :2] = keep_equal(raw[..., :2].tolist(), content.keypoints[people][written], 3)
    triples[..., 2] = keep_equal(raw[..., 2].tolist(), scores[written], 4)
    for i, keypoints in zip(written.tolist(), triples.reshape(-1, 3 * k).tolist(), strict=True):
        records[i] = _record(content, start + i, records[i], keypoints)
    return records


def _record(content: ParsedFile, person: int, record: dict | None, keypoints: list) -> dict:
    """A person's record: the one that was read with other numbers, or a new one."""
    score = content.person_scores[person]
    if record is not None:
        entry = {**record, "keypoints": keypoints}
        if record.get("score") is not None or checks.ORIGINAL_SCORE in record:
            entry["score"] = keep_equal(record.get("score"), score, 6)
        return entry
    entry = {"image_id": content.images[content.frames[person]], "category_id": 1, "keypoints": keypoints}
    entry["score"] = round(float(score), 6)
    if content.boxes[person].any():
        entry["bbox"] = np.round(content.boxes[person].astype(np.float64), 3).tolist()
    return checks.with_original_score(entry, content.original_scores[person])


def _in_order(ids: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The different ids in order of appearance, and for each of all its place there."""
    different, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return different[order].tolist(), place[inverse.reshape(-1)]


def skeleton_of(record: Any) -> Skeleton:
    """The shipped skeleton with as many keypoints as a record has; COCO's if it has none, or there is none."""
    keypoints = record.get("keypoints") if isinstance(record, Mapping) else None
    names = with_keypoint_count(len(keypoints) // 3) if isinstance(keypoints, list) else []
    return load("coco17" if "coco17" in names or not names else names[0])


def _looks_like_results(probe: FileProbe) -> bool:
    value, first = probe.json, probe.first
    if not isinstance(value, list):
        return False
    if not value:
        return True
    if not isinstance(first, Mapping) or not checks.is_image_id(first.get("image_id")):
        return False
    keypoints = first.get("keypoints")
    return isinstance(keypoints, list) and len(keypoints) % 3 == 0 and all(map(checks.is_number, keypoints))


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
    holds=frozenset({"scores", "boxes", "person_scores"}),
    tells_skeleton=False,
    completed=True,
)
FORMATS = (
    _RESULTS,
    replace(_RESULTS, name="detectron2", title="Detectron2's COCO results", sniff=_named(*_DETECTRON2)),
    replace(_RESULTS, name="mmpose-results", title="MMPose's COCO results", sniff=_named(*_MMPOSE)),
)
