"""COCO's two files as formats: results, a list of people; and annotations, an object with images and people.

Also under their own names: what Detectron2's ``COCOEvaluator`` (``coco_instances_results.json``; it has taken half a
pixel off already, to be in COCO's convention) and MMPose's ``CocoMetric`` (``*.keypoints.json``, once
``result_keypoints.json``) write, which is COCO's results format.

Sources: https://cocodataset.org/#format-data and #format-results; detectron2/evaluation/coco_evaluation.py;
mmpose/evaluation/metrics/coco_metric.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import read_json, write_atomically, write_pieces
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
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
    skeleton = skeleton or _skeleton_of(records[0] if len(records) else None)
    count, k = len(records), len(skeleton)
    ids = np.full(count, NOWHERE, np.int64)
    keypoints, scores, boxes, person_scores = (
        np.zeros((count, *shape), np.float32) for shape in ((k, 2), (k,), (4,), ())
    )
    original_scores = np.full(count, np.nan, np.float32)
    problems: list[str] = []
    for start in range(0, count, BLOCK):
        block = records[start : start + BLOCK]
        usable, found = _usable(path, block, start, skeleton, on_error)
        problems += found
        rows, block = start + usable, [block[i] for i in usable.tolist()]
        ids[rows] = np.array([int(record["image_id"]) for record in block], np.int64)
        keypoints[rows], scores[rows] = checks.keypoint_arrays(block, skeleton)
        boxes[rows] = checks.box_array(block)
        original_scores[rows] = checks.original_scores(block)
        given = np.array([np.nan if record.get("score") is None else record["score"] for record in block], np.float32)
        person_scores[rows] = np.where(np.isnan(given), scores[rows].mean(1), given)
    images, frames = _in_order(ids)
    columns = (keypoints, scores, frames, images, "id", boxes, person_scores, records)
    return ParsedFile(skeleton, *columns, problems=problems, original_scores=original_scores)


def _list_of(path: Path) -> list:
    content = read_json(path)
    if isinstance(content, Mapping) and "annotations" in content:
        raise InputError(
            f"{path}: is an annotations file, expected results: a list of records with image_id and keypoints"
        )
    if not isinstance(content, list):
        raise InputError(
            f"{path}: holds {checks.describe(content)}, expected a list of records with image_id and keypoints"
        )
    return content


def _usable(
    path: Path, records: list, first: int, skeleton: Skeleton, on_error: OnError
) -> tuple[np.ndarray, list[str]]:
    """Places (int64) of the usable among some records, and what is wrong with the others; they count from ``first``."""
    if checks.flawless(records, skeleton):
        return np.arange(len(records)), []
    found = [checks.problem(record, skeleton) for record in records]
    problems = [f"{path}: record {first + i} {what}" for i, what in enumerate(found) if what]
    if problems and on_error == "stop":
        raise InputError(problems[0])
    return np.array([i for i, what in enumerate(found) if what is None], np.int64), problems


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

    write_pieces(path, pieces())


def _block(content: ParsedFile, start: int) -> list:
    """The records to be written of the people from ``start`` on, one block of them."""
    people = slice(start, start + BLOCK)
    records = list(content.records[people])
    k, scores = len(content.skeleton), content.scores[people]
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


def read_annotations(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read annotations as estimates: what is marked visible has score 1, what is marked hidden 0.5.

    Crowds and people without keypoints are among the people, without any estimate.
    """
    content = read_json(path)
    listed = coco.read_images(path, content)
    places = {image_id: place for place, image_id in enumerate(listed)}
    found = skeleton or _skeleton_with(next((a.get("keypoints") for a in content["annotations"] if _posed(a)), None))
    people = PeopleBuilder(path, found, on_error)
    nothing, nowhere = [[None, None]] * len(found), []
    for i, annotation in enumerate(content["annotations"]):
        image_id = annotation.get("image_id") if isinstance(annotation, Mapping) else None
        if not checks.is_image_id(image_id) or int(image_id) not in places:
            people.refuse(f"annotation {i}", len(listed), annotation, "is of no image that the file lists")
            nowhere = [NOWHERE]
        elif not _posed(annotation):
            people.add(f"annotation {i}", places[int(image_id)], annotation, nothing)
        elif problem := checks.problem(annotation, found):
            people.refuse(f"annotation {i}", places[int(image_id)], annotation, problem)
        else:
            triples = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
            points, flags = triples[:, :2], np.clip(triples[:, 2], 0, 2) / 2
            box = annotation.get("bbox") if checks.is_box(annotation.get("bbox")) else None
            person_score = annotation.get("score", 1.0)
            people.add(f"annotation {i}", places[int(image_id)], annotation, points, flags, box, person_score)
    sizes = [(r.width, r.height) for r in listed.values()] + [(0, 0) for _ in nowhere]
    rest = {key: value for key, value in content.items() if key != "annotations"}
    return people.parsed(
        [*listed, *nowhere],
        "id",
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        names=[*(record.file_name for record in listed.values()), *("" for _ in nowhere)],
        document=rest,
    )


def write_annotations(path: Path, content: ParsedFile) -> None:
    """Write annotations; in new ones, which get a category and ids, what has an estimate is marked visible (2)."""
    skeleton = content.skeleton
    document = content.document or {
        "images": _new_images(content),
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(skeleton.keypoint_names),
                "skeleton": (skeleton.limbs + 1).tolist(),
            }
        ],
    }
    annotations = []
    for person in range(len(content)):
        record = content.records[person]
        if content.has_no_estimate(person):
            annotations.append(record)
        elif record is not None:
            old = np.array(record["keypoints"], object).reshape(-1, 3)
            points = keep_equal(old[:, :2].tolist(), content.keypoints[person], 3, keep=(old[:, 2:] == 0))
            flags = old[:, 2].tolist()
            annotations.append(
                {**record, "keypoints": [v for xy, f in zip(points, flags, strict=True) for v in (*xy, f)]}
            )
        else:
            annotations.append(_new_annotation(content, person))
    write_atomically(path, json.dumps({**document, "annotations": annotations}) + "\n")


def _new_images(content: ParsedFile) -> list[dict]:
    sizes = content.sizes if content.sizes is not None else np.zeros((len(content.images), 2), np.int64)
    names = content.names or [""] * len(content.images)
    return [
        {"id": image_id, "file_name": name or f"{image_id:012d}.jpg", "width": width, "height": height}
        for image_id, name, (width, height) in zip(content.images, names, sizes.tolist(), strict=True)
    ]


def _new_annotation(content: ParsedFile, person: int) -> dict:
    flags = np.where(content.scores[person] > 0, 2, 0)
    points = np.where(flags[:, None] > 0, np.round(content.keypoints[person], 3), 0.0)
    triples = np.concatenate([points, flags[:, None]], axis=1)
    box = content.boxes[person]
    if not box.any() and flags.any():
        low, high = points[flags > 0].min(0), points[flags > 0].max(0)
        box = np.concatenate([low, high - low])
    return {
        "id": person + 1,
        "image_id": content.images[content.frames[person]],
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": [int(v) if i % 3 == 2 else v for i, v in enumerate(triples.ravel().tolist())],
        "bbox": np.round(box, 3).tolist(),
        "area": round(float(geometry.areas_of(box[None])[0]), 3),
    }


def _in_order(ids: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The different ids in order of appearance, and for each of all its place there."""
    different, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return different[order].tolist(), place[inverse.reshape(-1)]


def _skeleton_of(record: Any) -> Skeleton:
    return _skeleton_with(record.get("keypoints") if isinstance(record, Mapping) else None)


def _skeleton_with(keypoints: Any) -> Skeleton:
    names = with_keypoint_count(len(keypoints) // 3) if isinstance(keypoints, list) else []
    return load("coco17" if "coco17" in names or not names else names[0])


def _posed(annotation: Any) -> bool:
    return isinstance(annotation, Mapping) and coco.has_keypoints(annotation)


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


def _looks_like_annotations(probe: FileProbe) -> bool:
    value = probe.json
    if not probe.is_partial:
        lists = [value.get(key) for key in ("images", "annotations")] if isinstance(value, Mapping) else [None]
        return all(isinstance(listed, list) for listed in lists)
    # Annotations mostly come after the images.
    return probe.text.lstrip().startswith("{") and '"images"' in probe.text and '"file_name"' in probe.text


def _named(*names: str) -> Callable[[FileProbe], bool]:
    return lambda probe: probe.name.endswith(names) and _looks_like_results(probe)


_DETECTRON2 = ("coco_instances_results.json",)
_MMPOSE = (".keypoints.json", "results_keypoints.json", "result_keypoints.json")

RESULTS = Format(
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
DETECTRON2 = replace(RESULTS, name="detectron2", title="Detectron2's COCO results", sniff=_named(*_DETECTRON2))
MMPOSE_RESULTS = replace(RESULTS, name="mmpose-results", title="MMPose's COCO results", sniff=_named(*_MMPOSE))
ANNOTATIONS = Format(
    name="coco-annotations",
    title="COCO annotations",
    skeletons=("coco17",),
    kind="id",
    sniff=_looks_like_annotations,
    read=read_annotations,
    write=write_annotations,
    holds=frozenset({"boxes", "empty"}),
)
