"""Reading a COCO keypoint annotation file into what pycocotools' evaluation needs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from posefix import geometry
from posefix.errors import InputError
from posefix.files import read_json

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
        InputError: when the file cannot be read or is not such an annotation file; names the file and the annotation.
    """
    if isinstance(source, COCO):
        dataset, name = source.dataset, "ground truth"
    else:
        dataset, name = read_json(source), str(source)
    images, annotations, categories = (_list_of_objects(dataset, key, name) for key in _REQUIRED)
    person = [c for c in categories if c.get("name") == "person"] or categories
    kept = {c["id"] for c in person}
    people = [a for a in annotations if a.get("category_id") in kept]
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
            if not isinstance(entry.get(required), int | str):
                raise InputError(f"{name}: entry {index} of '{key}' has no usable '{required}'")
    return entries


def _numbers(values: Any, label: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"{label} must be a flat list of finite numbers")
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
    complete.setdefault("num_keypoints", len(labelled))
    complete.setdefault("iscrowd", 0)
    if annotation.get("bbox") is None:
        low, high = (labelled.min(0), labelled.max(0)) if len(labelled) else (np.zeros(2), np.zeros(2))
        complete["bbox"] = [*low.tolist(), *(high - low).tolist()]
    box = _numbers(complete["bbox"], f"{label}: 'bbox'")
    if len(box) != 4:
        raise InputError(f"{label}: 'bbox' has {len(box)} numbers, expected x, y, width, height")
    if annotation.get("area") is None:
        complete["area"] = geometry.BOX_AREA_TO_AREA * float(box[2] * box[3])
    _numbers([complete["area"]], f"{label}: 'area'")
    complete["keypoints"] = keypoints
    return complete
