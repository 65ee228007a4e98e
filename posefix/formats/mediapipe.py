"""MediaPipe Pose: JSON of what its ``PoseLandmarker`` task and ``Pose`` solution return for an image.

Each person is a list of 33 landmarks ``{"x", "y", "z", "visibility", "presence"}``, x and y as fractions of the image's
width and height. MediaPipe itself writes no files; the forms that its results take when they are dumped are read:

- the task's in Python, ``{"pose_landmarks": [[33 landmarks], ...], "pose_world_landmarks": ...}``, and on the web,
  ``{"landmarks": [[33 landmarks], ...], "worldLandmarks": ...}``;
- the solution's for its one person, ``{"pose_landmarks": [33 landmarks]}``, on the web ``poseLandmarks``, or, by
  ``MessageToDict``, ``{"landmark": [33 landmarks]}``, also inside of the first; null if no person was found.

Visibility is the score of a landmark, and 1 where it is not given. z, presence and world landmarks are handed through.
New files are as the task in Python has it, z as 0.

Sources: mediapipe, tasks/python/vision/pose_landmarker.py, tasks/python/components/containers/landmark.py,
tasks/web/vision/pose_landmarker/pose_landmarker_result.d.ts and python/solutions/pose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import first_values
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import (
    Layout,
    PersonLayout,
    Triples,
    json_format,
    looks_like,
    point_triple,
    put_point,
    read_images,
)
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe

_PEOPLE = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")  # keys that lead to landmarks
_TELLING = {"pose_landmarks", "poseLandmarks", "pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks"}
_PIXELS = 10  # no landmark that means something lies so many widths of the image away


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the landmarks of images or frames."""
    parsed = read_images(LAYOUT, path, skeleton, on_error)
    known = np.abs(parsed.keypoints[parsed.scores > 0])
    if known.size and np.median(known) > _PIXELS:
        raise InputError(
            f"{path}: half of all coordinates are beyond {np.median(known):.0f}, so they are pixels; MediaPipe's are "
            "fractions of the image's width and height"
        )
    return replace(parsed, relative=True)


def _key_of(image: Any) -> str | None:
    return next((key for key in _PEOPLE if key in image), None) if isinstance(image, Mapping) else None


def _holds_several(found: Any) -> bool:
    """Whether what lies under the key of an image is a list of people, rather than one person."""
    return isinstance(found, list) and all(isinstance(one, list) or _key_of(one) == "landmark" for one in found[:1])


def _people_in(image: Mapping[str, Any]) -> list[Any]:
    found = image[_key_of(image) or ""]
    if found is not None and not isinstance(found, (list, Mapping)):
        raise ValueError(f"has {describe(found)}, expected a list of landmarks")
    if found is None or _holds_several(found):
        return found or []
    return [found]


def _put_people(image: Mapping[str, Any], people: list[Any]) -> dict[str, Any]:
    key = _key_of(image) or ""
    several = len(people) > 1 or _holds_several(image[key])
    return {**image, key: people if several else next(iter(people), None)}


def _landmarks_of(record: Any) -> list[Any] | None:
    landmarks = record.get("landmark") if isinstance(record, Mapping) else record
    usable = isinstance(landmarks, list) and all(isinstance(landmark, Mapping) for landmark in landmarks)
    return landmarks if usable else None


def _keypoints(record: Any, skeleton: Skeleton | None) -> Triples:
    landmarks = _landmarks_of(record)
    if landmarks is None:
        raise ValueError(f"is {describe(record)}, expected a list of 33 landmarks")
    return [point_triple(landmark, "visibility") for landmark in landmarks]


def _put(record: Any, triples: Triples, skeleton: Skeleton) -> Any:
    pairs = zip(_landmarks_of(record) or (), triples, strict=True)
    landmarks = [put_point(landmark, triple, "visibility") for landmark, triple in pairs]
    return {**record, "landmark": landmarks} if isinstance(record, Mapping) else landmarks


def _new(parsed: ParsedFile, person: int) -> list[Any]:
    return [{"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.0} for _ in parsed.skeleton.keypoint_names]


def _is_person(record: Any) -> bool:
    landmarks = _landmarks_of(record)
    return landmarks is not None and len(landmarks) == 33 and all({"x", "y"} <= one.keys() for one in landmarks)


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_person, decimals=(6, 6)),
    ("blazepose33",),
    is_image=lambda value: _key_of(value) is not None,
    people_in=_people_in,
    put_people=_put_people,
    new_image={"pose_landmarks": []},
    store="names",
)


def _looks_like_mediapipe(probe: FileProbe) -> bool:
    values = (value for value in first_values(probe) if _key_of(value) and "keypoints" not in value)
    return any(_TELLING & value.keys() for value in values) or looks_like(LAYOUT, probe)


FORMAT = json_format(
    "mediapipe",
    "MediaPipe Pose",
    LAYOUT,
    sniff=_looks_like_mediapipe,
    read=read,
    any_file_name=True,
    relative=True,
    holds=frozenset({"scores", "empty"}),
)
