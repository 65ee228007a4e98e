"""COCO's keypoint JSON: annotations as people, and people as records of its results format.

Formats: https://cocodataset.org/#format-data and #format-results. The files of either are read and written, as those of
any estimator, by :mod:`posefix.formats.coco_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import read_json
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.formats import records as checks


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
class CocoAnnotations:
    """The people and images of an annotations file.

    Attributes:
        people: those with annotated keypoints who are not crowds; ``scores`` are visibility flags, ``areas`` the
            annotated ones, or 0.515 of the box's where there are none; ``extra`` holds the raw annotations.
        images: every image by its id.
    """

    people: People
    images: dict[int, ImageRecord]


def people_records(people: People) -> list[dict]:
    """People as new records in COCO's result format, with their boxes where they are known.

    They are of category 1, or of the one in the raw records of ``people.extra``.
    """
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    triples = triples.reshape(len(people), 3 * len(people.skeleton))
    columns = (
        people.image_ids,
        [r.get("category_id", 1) if isinstance(r, Mapping) else 1 for r in people.extra],
        triples,
        people.person_scores,
    )
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
    keypoints, visibilities = checks.keypoint_arrays(annotations, skeleton)
    image_ids = np.array([int(a["image_id"]) + image_id_offset for a in annotations], np.int64)
    boxes = checks.box_array(annotations)
    given = np.array([a["area"] if a.get("area") is not None else np.nan for a in annotations], np.float32)
    areas = np.where(np.isnan(given), geometry.areas_of(boxes), given)
    people = People(skeleton, keypoints, visibilities, image_ids, boxes=boxes, areas=areas, extra=annotations)
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
