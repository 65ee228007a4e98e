"""COCO annotations as estimates: an object with images and people. Source: https://cocodataset.org/#format-data"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.files import read_json, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats import coco
from posefix.formats.coco_files import NOWHERE, image_id_of
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.per_image import Triples, box_or_extent, flat_person, read_person, write_person
from posefix.formats.probe import FileProbe
from posefix.formats.records import numbers


def read_annotations(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read annotations as estimates: keypoints marked visible get score 1, those marked hidden 0.5.

    Crowds and people without keypoints are included, without any estimate.
    """
    content = read_json(path)
    records = coco.read_images(path, content)
    frames = {image_id: frame for frame, image_id in enumerate(records)}
    people = PeopleBuilder(path, skeleton, on_error)
    for i, annotation in enumerate(content["annotations"]):
        try:
            frame = frames[image_id_of(annotation)]
        except (ValueError, KeyError):
            frame = frames.setdefault(NOWHERE, len(frames))
            people.refuse(f"annotation {i}", frame, annotation, "is of no image that the file lists")
        else:
            read_person(PERSON, people, f"annotation {i}", frame, annotation)
    return people.parsed(
        list(frames),
        "id",
        listed=[records.get(image_id, coco.ImageRecord("")) for image_id in frames],
        document={key: value for key, value in content.items() if key != "annotations"},
    )


def write_annotations(path: Path, content: ParsedFile) -> None:
    """Write annotations. New ones get a category and ids, and keypoints with an estimate are marked visible (2)."""
    skeleton = content.skeleton
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(skeleton.keypoint_names)}
    category["skeleton"] = (skeleton.limbs + 1).tolist()
    images = [
        {"id": i, "file_name": image.file_name or f"{i:012d}.jpg", "width": image.width, "height": image.height}
        for i, image in zip(content.images, content.listed, strict=True)
    ]
    document = content.document or {"images": images, "categories": [category]}
    annotations = [write_person(PERSON, content, person) for person in range(len(content))]
    write_atomically(path, json.dumps({**document, "annotations": annotations}) + "\n")


def _keypoints(annotation: Any, skeleton: Skeleton | None) -> Triples:
    triples = numbers(_FLAT.keypoints(annotation, skeleton), "keypoints").reshape(-1, 3)
    triples[:, 2] = np.clip(triples[:, 2], 0, 2) / 2
    return triples.tolist()


def _put(annotation: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    """Return an annotation with new coordinates; its visibility flags are kept."""
    flags: Sequence[Any] = annotation["keypoints"][2::3]
    points = [value for (x, y, _), flag in zip(triples, flags, strict=True) for value in (x, y, flag)]
    return {**annotation, "keypoints": points}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    flags = np.where(parsed.scores[person] > 0, 2, 0)
    box = np.array(box_or_extent(parsed, person))
    return {
        "id": person + 1,
        "image_id": parsed.images[parsed.frames[person]],
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": [value for flag in flags.tolist() for value in (0.0, 0.0, flag)],
        "bbox": np.round(box, 3).tolist(),
        "area": round(float(geometry.areas_of(box[None])[0]), 3),
    }


def _is_annotation(value: Any) -> bool:
    """Whether it is a person with annotated keypoints."""
    if not isinstance(value, Mapping) or value.get("iscrowd"):
        return False
    return bool(value.get("keypoints")) and value.get("num_keypoints", 1) != 0


_FLAT = flat_person(
    "keypoints", _new, _is_annotation, "bbox", is_other=lambda value: not _is_annotation(value), track="track_id"
)
PERSON = replace(_FLAT, keypoints=_keypoints, put=_put)


def _looks_like_annotations(probe: FileProbe) -> bool:
    """Whether it looks like annotations; in the head of a long file, images may come without annotations."""
    value = probe.json if isinstance(probe.json, Mapping) else {}
    lists = [value[key] for key in ("images", "annotations") if key in value]
    return bool(lists) and all(isinstance(entries, list) for entries in lists)


FORMAT = Format(
    name="coco-annotations",
    title="COCO annotations",
    skeletons=("coco17",),
    kind="id",
    sniff=_looks_like_annotations,
    read=read_annotations,
    write=write_annotations,
    holds=frozenset({"boxes"}),
)
