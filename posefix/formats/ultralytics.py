"""Ultralytics' pose predictions as JSON: the result of ``Results.to_json()`` for an image.

A list with an object per detection, coordinates in pixels with 5 decimals::

    [{"name": "person", "class": 0, "confidence": 0.9, "box": {"x1": 10.0, "y1": 20.0, "x2": 90.0, "y2": 200.0},
      "track_id": 1, "keypoints": {"x": [...], "y": [...], "visible": [...]}}]

``visible``, the keypoints' confidences, exists for models that predict it. Keypoints at (0, 0) were not found. Classes
other than 0, the person, are passed through. Fractions of the image, of ``to_json(normalize=True)``, are refused.

Source: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.tojson, later summary and to_json).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import Layout, PersonLayout, Triples, from_corners, json_format, read_images, to_corners
from posefix.formats.records import numbers, require_object

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14")
PERSON = 0  # class
_CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("x", "y", "visible")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the detections of one or several images, stored in any way of :mod:`posefix.formats.frames`."""
    parsed = read_images(LAYOUT, path, skeleton, on_error)
    usable = (record for record, scores in zip(parsed.records, parsed.scores, strict=True) if scores.any())
    if any(record["keypoints"].get("visible") is None for record in usable):
        return replace(parsed, holds=FORMAT.holds - {"scores"})
    return parsed


def _keypoints(detection: Any, skeleton: Skeleton | None) -> Triples:
    require_object(detection)
    keypoints = detection.get("keypoints")
    if not isinstance(keypoints, Mapping) or not isinstance(keypoints.get("x"), list):
        raise ValueError("has no keypoints with x and y, which only a pose model gives")
    ones = [1.0] * len(keypoints["x"])  # models without visibility
    columns = [keypoints["x"], keypoints.get("y"), ones if keypoints.get("visible") is None else keypoints["visible"]]
    sizes = [numbers(column, f"{name} of keypoints").shape for name, column in zip(_COLUMNS, columns, strict=True)]
    if len(set(sizes)) > 1 or len(sizes[0]) != 1:
        raise ValueError("has {} x, {} y and {} visible of keypoints".format(*(int(np.prod(size)) for size in sizes)))
    return list(zip(*columns, strict=True))


def _put(detection: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    columns = dict(zip(_COLUMNS, map(list, zip(*triples, strict=True)), strict=True))
    if detection["keypoints"].get("visible") is None:
        del columns["visible"]
    return {**detection, "keypoints": {**detection["keypoints"], **columns}}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    box = dict(zip(_CORNERS, np.round(to_corners(parsed, person), 3).tolist(), strict=True))
    keypoints: dict[str, Any] = {name: [] for name in _COLUMNS}
    return {"name": "person", "class": PERSON, "confidence": 0.0, "box": box, "keypoints": keypoints}


def _box(detection: Mapping[str, Any]) -> list[float] | None:
    box = detection.get("box")
    return from_corners([box.get(corner) for corner in _CORNERS]) if isinstance(box, Mapping) else None


def _is_detection(value: Any) -> bool:
    if not isinstance(value, Mapping) or "class" not in value:
        return False
    box, keypoints = value.get("box"), value.get("keypoints")
    has_box = isinstance(box, Mapping) and set(_CORNERS) <= box.keys()
    return has_box or (isinstance(keypoints, Mapping) and {"x", "y"} <= keypoints.keys())


LAYOUT = Layout(
    PersonLayout(
        _keypoints,
        _put,
        _new,
        _is_detection,
        is_other=lambda record: isinstance(record, Mapping) and record.get("class", PERSON) != PERSON,
        box=_box,
        score="confidence",
        track="track_id",
        decimals=(3, 4),
        origin_is_nothing=True,
    ),
    SKELETONS,
    noun="detection",
)
FORMAT = json_format(
    "ultralytics-json",
    "Ultralytics' JSON",
    LAYOUT,
    read=read,
    any_file_name=True,
    pixels_by="to_json()",
    estimator_ap=59.0,
)
