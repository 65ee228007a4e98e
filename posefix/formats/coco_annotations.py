"""COCO's annotations as estimates: an object with images and people. Source: https://cocodataset.org/#format-data"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.files import read_json, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.coco_files import NOWHERE, skeleton_of
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal
from posefix.formats.probe import FileProbe


def read_annotations(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read annotations as estimates: what is marked visible has score 1, what is marked hidden 0.5.

    Crowds and people without keypoints are among the people, without any estimate.
    """
    content = read_json(path)
    listed = coco.read_images(path, content)
    places = {image_id: place for place, image_id in enumerate(listed)}
    skeleton = skeleton or skeleton_of(next(filter(_posed, content["annotations"]), None))
    people = PeopleBuilder(path, skeleton, on_error)
    nowhere: list[int] = []
    for i, annotation in enumerate(content["annotations"]):
        where, image_id = f"annotation {i}", annotation.get("image_id") if isinstance(annotation, Mapping) else None
        place = places.get(int(image_id)) if checks.is_image_id(image_id) else None
        if place is None:
            people.refuse(where, len(listed), annotation, "is of no image that the file lists")
            nowhere = [NOWHERE]
        elif not _posed(annotation):
            people.hand_through(place, annotation)
        elif problem := checks.problem(annotation, skeleton):
            people.refuse(where, place, annotation, problem)
        else:
            triples = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
            flags = np.clip(triples[:, 2], 0, 2) / 2
            box = annotation["bbox"] if checks.is_box(annotation.get("bbox")) else None
            people.add(where, place, annotation, triples[:, :2], flags, box, annotation.get("score", 1.0))
    return people.parsed(
        [*listed, *nowhere],
        "id",
        listed=[*listed.values(), *(coco.ImageRecord("") for _ in nowhere)],
        document={key: value for key, value in content.items() if key != "annotations"},
    )


def write_annotations(path: Path, content: ParsedFile) -> None:
    """Write annotations; in new ones, which get a category and ids, what has an estimate is marked visible (2)."""
    skeleton = content.skeleton
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(skeleton.keypoint_names)}
    category["skeleton"] = (skeleton.limbs + 1).tolist()
    images = [
        {"id": i, "file_name": image.file_name or f"{i:012d}.jpg", "width": image.width, "height": image.height}
        for i, image in zip(content.images, content.listed, strict=True)
    ]
    document = content.document or {"images": images, "categories": [category]}
    annotations = []
    for person in range(len(content)):
        record = content.records[person]
        if content.has_no_estimate(person):
            annotations.append(record)
        elif record is not None:
            old = np.array(record["keypoints"], object).reshape(-1, 3)
            points = keep_equal(old[:, :2].tolist(), content.keypoints[person], 3, keep=(old[:, 2:] == 0))
            flags = old[:, 2].tolist()
            keypoints = [v for xy, flag in zip(points, flags, strict=True) for v in (*xy, flag)]
            record = checks.with_original_score(record, content.original_scores[person])
            annotations.append({**record, "keypoints": keypoints})
        else:
            annotations.append(_new_annotation(content, person))
    write_atomically(path, json.dumps({**document, "annotations": annotations}) + "\n")


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


def _posed(annotation: Any) -> bool:
    return isinstance(annotation, Mapping) and coco.has_keypoints(annotation)


def _looks_like_annotations(probe: FileProbe) -> bool:
    value = probe.json
    if not probe.is_partial:
        lists = [value.get(key) for key in ("images", "annotations")] if isinstance(value, Mapping) else [None]
        return all(isinstance(listed, list) for listed in lists)
    # Annotations mostly come after the images.
    return probe.text.lstrip().startswith("{") and '"images"' in probe.text and '"file_name"' in probe.text


FORMAT = Format(
    name="coco-annotations",
    title="COCO annotations",
    skeletons=("coco17",),
    kind="id",
    sniff=_looks_like_annotations,
    read=read_annotations,
    write=write_annotations,
    holds=frozenset({"boxes", "empty"}),
)
