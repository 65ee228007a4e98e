"""MediaPipe's poses: of ``mp.solutions.pose``, of the Tasks' ``PoseLandmarker``, and the poses of both Holistics.

33 landmarks of a person, x and y as fractions of the image's width and height, ``visibility`` or None. In Tasks' data
class ``pose_landmarks`` is a list with a list of landmarks for each person, or Holistic's of its only one. Of
``mp.solutions`` (until 0.10.21) ``pose_landmarks.landmark`` is a protobuf list, or ``pose_landmarks`` is None; it is an
attribute of a class, not of an object. Source: mediapipe 1.2.2, tasks/python/vision/pose_landmarker.py and
holistic_landmarker.py; 0.10.21, python/solution_base.py.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np

from posefix.core.people import UNKNOWN_CONFIDENCE, People
from posefix.formats.memory.arrays import Converter, people_from


def _poses(landmarks: Any) -> Any:
    """The landmarks of each person, whatever form they come in."""
    if landmarks is None:
        return []
    if hasattr(landmarks, "landmark"):
        return [landmarks.landmark]
    return [landmarks] if landmarks and hasattr(landmarks[0], "x") else landmarks


def _visibility(landmark: Any) -> Any:
    """Confidence of a landmark. In protobuf's landmarks, 0 may also say that there is none."""
    value = getattr(landmark, "visibility", None)
    if value is None or (not value and hasattr(landmark, "HasField") and not landmark.HasField("visibility")):
        return UNKNOWN_CONFIDENCE
    return value


def _read(size: Any, result: Any) -> People:
    scale = np.array(size, np.float64)
    if scale.shape != (2,) or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"size must be the image's (width, height) in pixels, got {size!r}")
    poses = _poses(result.pose_landmarks)
    rows = [[(landmark.x, landmark.y, _visibility(landmark)) for landmark in pose] for pose in poses]
    triples = np.array(rows, np.float64).reshape(-1, 33, 3)  # None becomes NaN
    return people_from(triples[..., :2] * scale, triples[..., 2])


def _put(size: Any, like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    fractions, landmarks = keypoints / np.array(size, np.float64), copy.deepcopy(like.pose_landmarks)
    poses = _poses(landmarks)
    for person, keypoint, axis in np.argwhere(moved).tolist():
        setattr(poses[person][keypoint], "xy"[axis], float(fractions[person, keypoint, axis]))
    new: Any = copy.copy(like)
    if isinstance(like, type):  # as mp.solutions makes them: a copy of a class is the class itself
        new = type(like.__name__, like.__bases__, dict(like.__dict__))
    new.pose_landmarks = landmarks
    return new


def _converter(size: Any) -> Converter:
    expected = "MediaPipe's result with pose_landmarks, 33 for each person"
    return Converter(expected, partial(_read, size), partial(_put, size))


def from_mediapipe(result: Any, size: tuple[int, int]) -> People:
    """People of a result with ``pose_landmarks``; ``size`` is the (width, height) of the image in pixels.

    Raises:
        InputError: it is something else, or the size is none.
    """
    return _converter(size).people(result)


def to_mediapipe(people: People, like: Any, size: tuple[int, int]) -> Any:
    """A new result of the same form with the people's keypoints, and all else as in ``like``, that they came from.

    ``size`` is the (width, height) of the image in pixels.
    """
    return _converter(size).put_back(people, like)
