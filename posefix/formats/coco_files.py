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
from posefix.core.files import read_json, write_atomically, write_pieces
from posefix.core.skeleton import Skeleton, load, with_keypoint_count
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.probe import FileProbe

NOWHERE = -1  # image id of a record that has none


def read_results(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read results; unless given, the skeleton is one with as many keypoints as the first record has."""
    results = coco.read_results(path, skeleton or _skeleton_of(path), on_error)
    count, k = len(results.records), len(results.people.skeleton)
    arrays = [np.zeros((count, *shape)) for shape in ((k, 2), (k,), (4,), ())]
    people = results.people
    for array, own in zip(arrays, (people.keypoints, people.scores, people.boxes, people.person_scores), strict=True):
        array[results.rows] = own
    ids = np.full(count, NOWHERE, np.int64)
    ids[results.rows] = people.image_ids
    images, frames = _in_order(ids)
    keypoints, scores, boxes, person_scores = arrays
    return ParsedFile(
        people.skeleton,
        keypoints,
        scores,
        frames,
        images,
        "id",
        boxes,
        person_scores,
        results.records,
        problems=results.problems,
    )


def write_results(path: Path, content: ParsedFile) -> None:
    """Write results: coordinates with 3 decimals, keypoints' scores with 4 and people's with 6."""

    def pieces() -> Iterator[str]:
        for person in range(len(content)):
            yield ("[" if person == 0 else ", ") + json.dumps(_result(content, person))
        yield "]\n" if len(content) else "[]\n"

    write_pieces(path, pieces())


def _result(content: ParsedFile, person: int) -> Any:
    record = content.records[person]
    if content.has_no_estimate(person):
        return record
    known = record or {"image_id": content.images[content.frames[person]], "category_id": 1}
    score = float(content.person_scores[person])
    entry = {**known, "keypoints": _triples(known.get("keypoints"), content, person)}
    if record is None or known.get("score") is not None or coco.ORIGINAL_SCORE in known:
        entry["score"] = keep_equal(known.get("score"), np.array(score), 6)
    if record is None and content.boxes[person].any():
        entry["bbox"] = np.round(content.boxes[person], 3).tolist()
    return entry


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


def _triples(raw: Any, content: ParsedFile, person: int) -> list:
    k = len(content.skeleton)
    if not isinstance(raw, list) or len(raw) != 3 * k:
        raw = [None] * (3 * k)
    xy = [[raw[3 * j], raw[3 * j + 1]] for j in range(k)]
    points = keep_equal(xy, content.keypoints[person], 3)
    scores = keep_equal(raw[2::3], content.scores[person], 4)
    return [value for (x, y), score in zip(points, scores, strict=True) for value in (x, y, score)]


def _in_order(ids: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The different ids in order of appearance, and for each of all its place there."""
    different, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return different[order].tolist(), place[inverse.reshape(-1)]


def _skeleton_of(path: Path) -> Skeleton:
    first = FileProbe(path).first
    return _skeleton_with(first.get("keypoints") if isinstance(first, Mapping) else None)


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
