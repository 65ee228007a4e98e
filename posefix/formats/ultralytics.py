"""Ultralytics' pose predictions as JSON: what ``Results.to_json()`` gives for an image.

A list with an object for each detection, its coordinates in pixels with 5 decimals::

    [{"name": "person", "class": 0, "confidence": 0.9, "box": {"x1": 10.0, "y1": 20.0, "x2": 90.0, "y2": 200.0},
      "track_id": 1, "keypoints": {"x": [...], "y": [...], "visible": [...]}}]

``track_id`` is there for tracked people, ``visible``, the keypoints' confidences, for models that have it. A keypoint
at (0, 0) was not found. What is of another class than 0, the person, is handed through. Fractions of the image, as
``to_json(normalize=True)`` gives them, are refused.

Source: Ultralytics 8.0.196 to 8.4.190, ultralytics/engine/results.py (Results.tojson, later summary and to_json; until
8.3 Keypoints puts those of a confidence below 0.5 to (0, 0)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.frames import Frames, read_frames, write_frames
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, keep_equal, numbers
from posefix.formats.per_image import file_names, first_skeleton, from_corners, is_image, looks_inside, to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14")
PERSON = 0  # the class
_CORNERS = ("x1", "y1", "x2", "y2")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the detections of one or several images, in any of the ways of :mod:`posefix.formats.frames`."""
    frames = read_frames(path, is_image)
    people = PeopleBuilder(path, skeleton or first_skeleton(_counts(frames.values), SKELETONS), on_error, SKELETONS)
    for place, detections in enumerate(frames.values):
        for i, detection in enumerate(detections):
            _add(people, f"{frames.where(place)} detection {i}".lstrip(), place, detection)
    store = Frames(frames.store, frames.keys, [], frames.files)
    content = people.parsed(frames.keys, frames.kind, document=store)
    _require_pixels(path, content)
    return content


def write(path: Path, content: ParsedFile) -> None:
    """Write what was read again, or a folder with a new file for each image."""
    values = [[_written(content, person) for person in people] for people in content.people_of()]
    store = content.document
    if store is None or store.keys != list(content.images):
        store = Frames("folder", list(content.images), [], tuple(file_names(path, content.images, ".json")))
    write_frames(path, Frames(store.store, store.keys, values, store.files))


def _counts(values: list[list]) -> Iterator[int]:
    """Number of keypoints of each detection that has any."""
    detections = (one for value in values for one in value if isinstance(one, Mapping))
    keypoints = (one.get("keypoints") for one in detections)
    return (len(one["x"]) for one in keypoints if isinstance(one, Mapping) and isinstance(one.get("x"), list))


def _add(people: PeopleBuilder, where: str, place: int, detection: Any) -> None:
    if not isinstance(detection, Mapping):
        what = f"is {checks.describe(detection)}, expected an object with keypoints"
        people.refuse(where, place, detection, what)
        return
    box = detection.get("box")
    box = from_corners([box.get(corner) for corner in _CORNERS]) if isinstance(box, Mapping) else None
    if detection.get("class", PERSON) != PERSON and people.skeleton is not None:
        people.add(where, place, detection, np.full((len(people.skeleton), 2), np.nan), None, box, 0.0)
        return
    try:
        points, scores = _arrays(detection)
    except ValueError as error:
        people.refuse(where, place, detection, str(error))
        return
    people.add(where, place, detection, points, scores, box, detection.get("confidence"))


def _arrays(detection: Mapping) -> tuple[np.ndarray, np.ndarray | None]:
    """Coordinates (K, 2), NaN where nothing was found, and scores (K,) or None; ValueError if they are none."""
    keypoints = detection.get("keypoints")
    if not isinstance(keypoints, Mapping) or not isinstance(keypoints.get("x"), list):
        raise ValueError("has no keypoints with x and y, which only a pose model gives")
    x, y = numbers(keypoints["x"], "x of keypoints"), numbers(keypoints.get("y"), "y of keypoints")
    visible = keypoints.get("visible")
    scores = None if visible is None else numbers(visible, "visible of keypoints")
    if x.ndim != 1 or y.shape != x.shape or (scores is not None and scores.shape != x.shape):
        raise ValueError(
            f"has {x.size} x, {y.size} y and {(x if scores is None else scores).size} visible of keypoints"
        )
    points = np.stack([x, y], axis=1)
    known = (points != 0).any(1)
    if scores is not None:
        known &= np.isfinite(scores) & (scores != 0)
    return np.where(known[:, None], points, np.nan), scores


def _require_pixels(path: Path, content: ParsedFile) -> None:
    labelled = content.scores > 0
    inside = (content.keypoints >= 0) & (content.keypoints <= 1)
    if labelled.any() and inside.all() and (content.boxes[:, :2] + content.boxes[:, 2:] <= 1).all():
        raise InputError(
            f"{path}: all coordinates are within 0 and 1, as to_json(normalize=True) gives them, expected pixels: "
            "use to_json()"
        )


def _written(content: ParsedFile, person: int) -> Any:
    detection, points, scores = content.records[person], content.keypoints[person], content.scores[person]
    person_score = content.person_scores[person]
    if content.has_no_estimate(person):
        return detection
    if detection is None:
        x, y = np.where(scores[:, None] > 0, points, 0).T
        corners = np.round(to_corners(content, person), 3).tolist()
        return {
            "name": "person",
            "class": PERSON,
            "confidence": round(float(person_score), 6),
            "box": dict(zip(_CORNERS, corners, strict=True)),
            "keypoints": {name: keep_equal(None, new, 4) for name, new in (("x", x), ("y", y), ("visible", scores))},
        }
    keypoints, (old, _) = detection["keypoints"], _arrays(detection)
    keep = (scores == 0) & ~np.isfinite(old).all(1) if old.shape == points.shape else None
    new = {
        "x": keep_equal(keypoints["x"], points[:, 0], 3, keep),
        "y": keep_equal(keypoints["y"], points[:, 1], 3, keep),
    }
    if keypoints.get("visible") is not None:
        new["visible"] = keep_equal(keypoints["visible"], scores, 4, keep)
    written = {**detection, "keypoints": {**keypoints, **new}}
    if detection.get("confidence") is not None or coco.ORIGINAL_SCORE in detection:
        written["confidence"] = keep_equal(detection.get("confidence"), person_score, 6)
    return written


def _looks(probe: FileProbe) -> bool:
    if probe.is_folder:
        return looks_inside(probe, [name for name in probe.names if name.endswith(".json")], _looks)
    value = probe.json
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    first = next((one for one in value if one != []), None)
    return _is_detection(first[0] if isinstance(first, list) else first)


def _is_detection(value: Any) -> bool:
    if not isinstance(value, Mapping) or "class" not in value:
        return False
    box, keypoints = value.get("box"), value.get("keypoints")
    has_box = isinstance(box, Mapping) and set(_CORNERS) <= box.keys()
    return has_box or (isinstance(keypoints, Mapping) and {"x", "y"} <= keypoints.keys())


FORMAT = Format(
    name="ultralytics-json",
    title="Ultralytics' JSON",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks,
    read=read,
    write=write,
    any_file_name=True,
    folder=True,
)
