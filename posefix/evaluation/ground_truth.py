"""Reading a COCO keypoint annotation file into what pycocotools' evaluation needs."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import read_json

_REQUIRED = {"images": ("id",), "annotations": ("id", "image_id"), "categories": ("id",)}


def quietly() -> contextlib.AbstractContextManager:
    """Context in which pycocotools' progress lines go nowhere."""
    return contextlib.redirect_stdout(io.StringIO())


def load_ground_truth(source: str | Path | COCO, keypoint_count: int = 17) -> COCO:
    """Annotations of people as a COCO object of its own, with every field that COCOeval reads.

    COCOeval writes into the annotations that it evaluates, so a COCO object that is handed in is copied, not changed.
    Only the category ``person`` is kept where there is one. Fields that data sets other than COCO leave out get their
    plain meaning: ``iscrowd`` 0, ``num_keypoints`` counted, ``bbox`` around the keypoints, ``area`` 0.515 of the box's,
    no keypoints for a person without any.

    Args:
        source: a COCO keypoint annotation file, or a COCO object.
        keypoint_count: K, the number of keypoints that each annotated person must have.

    Raises:
        InputError: when the file cannot be read or is not such an annotation file, has no categories, calls some
            images or categories by numbers and others by strings, or two people by the same id; names the file and the
            annotation.
    """
    if isinstance(source, COCO):
        dataset, name = source.dataset, "ground truth"
    else:
        dataset, name = read_json(source), str(source)
    images, annotations, categories = (_list_of_objects(dataset, key, name) for key in _REQUIRED)
    if not categories:
        raise InputError(f"{name}: 'categories' is empty; it must say which category_id people have")
    _require_ids(images, annotations, categories, name)
    person = [c for c in categories if c.get("name") == "person"] or categories
    kept = {c["id"] for c in person}
    people = [a for a in annotations if a.get("category_id") in kept]
    counted = Counter(a["id"] for a in people)
    if repeated := [i for i, count in counted.items() if count > 1]:
        raise InputError(f"{name}: {counted[repeated[0]]} annotations have the id {repeated[0]}; ids must be unique")
    if people and not any("keypoints" in a for a in people):
        raise InputError(f"{name}: no annotation has keypoints; give a file like person_keypoints_val2017.json")
    ground_truth = COCO()
    ground_truth.dataset = {
        "info": dataset.get("info", {}),
        "images": images,
        "categories": person,
        "annotations": [_completed(a, keypoint_count, f"{name}: annotation {a['id']!r}") for a in people],
    }
    with quietly():
        ground_truth.createIndex()
    return ground_truth


def _list_of_objects(dataset: Any, key: str, name: str) -> list[dict]:
    if not isinstance(dataset, Mapping):
        found = type(dataset).__name__
        raise InputError(f"{name}: a COCO annotation file holds an object with images and annotations, not a {found}")
    entries = dataset.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{name}: a COCO annotation file needs a list '{key}'")
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise InputError(f"{name}: entry {index} of '{key}' is not an object")
        for required in _REQUIRED[key]:
            value = entry.get(required)
            if not isinstance(value, int | str) or isinstance(value, bool):
                raise InputError(f"{name}: entry {index} of '{key}' has no usable '{required}'")
    return entries


def _require_ids(images: list[dict], annotations: list[dict], categories: list[dict], name: str) -> None:
    """COCOeval sorts images and categories by id and finds annotations by theirs: refuse ids with which it cannot."""
    image_ids = [("an image", image["id"]) for image in images]
    image_ids += [(f"annotation {a['id']!r}", a["image_id"]) for a in annotations]
    category_ids = [("a category", category["id"]) for category in categories]
    for key, ids in (("image", image_ids), ("category", category_ids)):
        first = next((isinstance(value, str) for _, value in ids), False)
        if odd := [(owner, value) for owner, value in ids if isinstance(value, str) != first]:
            owner, value = odd[0]
            kinds = "a number, others are strings" if first else "a string, others are numbers"
            raise InputError(f"{name}: {owner} has the {key} id {value!r}, {kinds}; use one kind")
    for annotation in annotations:
        label = f"{name}: annotation {annotation['id']!r}"
        if not isinstance(annotation["id"], int):
            raise InputError(f"{label}: the 'id' must be an integer")
        category = annotation.get("category_id")
        if category is not None and not isinstance(category, int | float | str):
            raise InputError(f"{label}: 'category_id' is {category!r}, expected the id of a category")


def _numbers(values: Any, label: str, expected: str = "a flat list of finite numbers") -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"{label} must be {expected}")
    return array.astype(np.float64)


def _completed(annotation: Mapping, keypoint_count: int, label: str) -> dict:
    """A copy of an annotation with keypoints, num_keypoints, bbox, area and iscrowd."""
    complete = dict(annotation)
    keypoints = _numbers(annotation.get("keypoints", ()), f"{label}: 'keypoints'")
    if not len(keypoints):
        keypoints = np.zeros(3 * keypoint_count)
    if len(keypoints) != 3 * keypoint_count:
        raise InputError(
            f"{label}: {len(keypoints)} numbers in 'keypoints', expected {3 * keypoint_count} "
            f"(x, y, visibility of {keypoint_count} keypoints)"
        )
    points = keypoints.reshape(-1, 3)
    labelled = points[points[:, 2] > 0, :2]
    if annotation.get("num_keypoints") is None:
        complete["num_keypoints"] = len(labelled)
    _numbers([complete["num_keypoints"]], f"{label}: 'num_keypoints'", "a number")
    if annotation.get("iscrowd") is None:
        complete["iscrowd"] = 0
    if complete["iscrowd"] not in (0, 1):
        raise InputError(f"{label}: 'iscrowd' is {complete['iscrowd']!r}, expected 0 or 1")
    if annotation.get("bbox") is None:
        low, high = (labelled.min(0), labelled.max(0)) if len(labelled) else (np.zeros(2), np.zeros(2))
        complete["bbox"] = [*low.tolist(), *(high - low).tolist()]
    box = _numbers(complete["bbox"], f"{label}: 'bbox'")
    if len(box) != 4:
        raise InputError(f"{label}: 'bbox' has {len(box)} numbers, expected x, y, width, height")
    if annotation.get("area") is None:
        complete["area"] = geometry.BOX_AREA_TO_AREA * float(box[2] * box[3])
    _numbers([complete["area"]], f"{label}: 'area'", "a finite number")
    complete["keypoints"] = keypoints
    return complete
