"""MediaPipe Pose: JSON of the results of its ``PoseLandmarker`` task and ``Pose`` solution for an image.

Each person is a list of 33 landmarks ``{"x", "y", "z", "visibility", "presence"}``, x and y as fractions of the image's
width and height. MediaPipe itself writes no files; these dumps of its results are read:

- of the task, ``{"pose_landmarks": [[33 landmarks], ...]}``, on the web ``{"landmarks": [[33 landmarks], ...]}``;
- of the solution, for its only person, ``{"pose_landmarks": [33 landmarks]}``, on the web ``poseLandmarks``, by
  ``MessageToDict`` ``landmark``; null if no person was found.

Scores are the visibility, by default 1. Everything else is passed through. New files are those of the Python task, z 0.

Sources: mediapipe, tasks/python/vision/pose_landmarker.py, tasks/python/components/containers/landmark.py,
tasks/web/vision/pose_landmarker/pose_landmarker_result.d.ts and python/solutions/pose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posefix.core.skeleton import Skeleton
from posefix.formats.frames import first_values
from posefix.formats.parsed_file import ParsedFile
from posefix.formats.per_image import Layout, PersonLayout, Triples, json_format, looks_like, point_triple, put_point
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe

_PEOPLE_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")  # keys of landmarks
_DISTINCTIVE = {"pose_landmarks", "poseLandmarks", "pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks"}


def _people_key(image: Any) -> str:
    """Return the key of an image's people; empty if it has none."""
    return next((key for key in _PEOPLE_KEYS if key in image), "") if isinstance(image, Mapping) else ""


def _is_one_person(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _people_in(image: Mapping[str, Any]) -> list[Any]:
    landmarks = image[_people_key(image)]
    if landmarks is not None and not isinstance(landmarks, list):
        raise ValueError(f"has {describe(landmarks)}, expected a list of landmarks")
    return [landmarks] if _is_one_person(landmarks) else landmarks or []


def _put_people(image: Mapping[str, Any], people: list[Any]) -> dict[str, Any]:
    key = _people_key(image)
    if _is_one_person(image[key]) or image[key] is None:
        return {**image, key: next(iter(people), None)}
    return {**image, key: people}


def _keypoints(landmarks: Any, skeleton: Skeleton | None) -> Triples:
    if not isinstance(landmarks, list) or not all(isinstance(landmark, Mapping) for landmark in landmarks):
        raise ValueError(f"is {describe(landmarks)}, expected a list of 33 landmarks")
    return [point_triple(landmark, "visibility") for landmark in landmarks]


def _put(landmarks: list[Any], triples: Triples, skeleton: Skeleton) -> list[Any]:
    pairs = zip(landmarks, triples, strict=True)
    return [put_point(landmark, triple, "visibility") for landmark, triple in pairs]


def _new(parsed: ParsedFile, person: int) -> list[Any]:
    return [{"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.0} for _ in parsed.skeleton.keypoint_names]


def _is_person(record: Any) -> bool:
    return _is_one_person(record) and len(record) == 33 and {"x", "y"} <= record[0].keys()


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_person, decimals=(6, 6)),
    ("blazepose33",),
    is_image=lambda value: bool(_people_key(value)),
    people_in=_people_in,
    put_people=_put_people,
    new_image={"pose_landmarks": []},
    store="names",
)


def _looks_like_mediapipe(probe: FileProbe) -> bool:
    values = (value for value in first_values(probe) if _people_key(value) and "keypoints" not in value)
    return any(_DISTINCTIVE & value.keys() for value in values) or looks_like(LAYOUT, probe)


FORMAT = json_format(
    "mediapipe", "MediaPipe Pose", LAYOUT, sniff=_looks_like_mediapipe, any_file_name=True, relative=True
)
