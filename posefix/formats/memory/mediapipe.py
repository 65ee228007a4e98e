"""MediaPipe's poses: of ``mp.solutions.pose``, of the Tasks' ``PoseLandmarker``, and the poses of both Holistics.

33 landmarks of a person, x and y as fractions of the image's width and height, ``visibility`` or None. In Tasks' data
class ``pose_landmarks`` is a list with a list of landmarks for each person, or Holistic's of its only one. Of
``mp.solutions`` (until 0.10.21) ``pose_landmarks.landmark`` is a protobuf list, or ``pose_landmarks`` is None; it is an
attribute of a class, not of an object. Source: mediapipe 1.2.2, tasks/python/vision/pose_landmarker.py and
holistic_landmarker.py; 0.10.21, python/solution_base.py.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.memory.arrays import UNKNOWN_CONFIDENCE, as_floats, moved_from, people_from

_WHAT = "MediaPipe's result"
_LANDMARKS = 33


def from_mediapipe(result: Any, size: tuple[int, int]) -> People:
    """People of a result with ``pose_landmarks``; ``size`` is the (width, height) of the image in pixels.

    Raises:
        InputError: it is something else, or the size is none.
    """
    if not hasattr(result, "pose_landmarks"):
        raise InputError(f"from_mediapipe takes a result with pose_landmarks, got {type(result).__name__}")
    poses, scale = _poses(result.pose_landmarks), _size(size)
    if counts := ", ".join(str(len(pose)) for pose in poses if len(pose) != _LANDMARKS):
        raise InputError(f"MediaPipe's poses have {_LANDMARKS} landmarks, got {counts}")
    try:
        rows = [[(landmark.x, landmark.y, _visibility(landmark)) for landmark in pose] for pose in poses]
        triples = np.array(rows, np.float64).reshape(-1, _LANDMARKS, 3)  # None becomes NaN
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError):
        raise InputError("MediaPipe's landmarks must have numbers for x, y and visibility") from None
    return people_from(_WHAT, triples[..., :2] * scale, triples[..., 2])


def to_mediapipe(people: People, like: Any, size: tuple[int, int]) -> Any:
    """A new result of the same form with the people's keypoints, and all else as in ``like``, that they came from.

    ``size`` is the (width, height) of the image in pixels.
    """
    new_xy, moved = moved_from(from_mediapipe(like, size), people, _WHAT)
    fractions = new_xy / _size(size)
    landmarks = copy.deepcopy(like.pose_landmarks)
    poses = _poses(landmarks)
    for person, keypoint, axis in np.argwhere(moved).tolist():
        setattr(poses[person][keypoint], "xy"[axis], float(fractions[person, keypoint, axis]))
    return _with_landmarks(like, landmarks)


def _poses(landmarks: Any) -> Sequence[Sequence[Any]]:
    """The landmarks of each person, whatever form they come in."""
    if landmarks is None:
        return []
    if hasattr(landmarks, "landmark"):
        return [landmarks.landmark]
    poses = [landmarks] if isinstance(landmarks, list) and landmarks and hasattr(landmarks[0], "x") else landmarks
    if not isinstance(poses, (list, tuple)) or not all(isinstance(pose, (list, tuple)) for pose in poses):
        raise InputError("MediaPipe's pose_landmarks must be a list of landmarks for each person")
    return poses


def _visibility(landmark: Any) -> Any:
    """Confidence of a landmark. In protobuf's landmarks, 0 may also say that there is none."""
    value = getattr(landmark, "visibility", None)
    if value is None or (not value and hasattr(landmark, "HasField") and not landmark.HasField("visibility")):
        return UNKNOWN_CONFIDENCE
    return value


def _size(size: Any) -> np.ndarray:
    values = as_floats(size, "size")
    if values.shape != (2,) or not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"size must be the image's (width, height) in pixels, got {size!r}")
    return values


def _with_landmarks(like: Any, landmarks: Any) -> Any:
    if hasattr(like, "_replace") and not isinstance(like, type):
        return like._replace(pose_landmarks=landmarks)
    new: Any = copy.copy(like)
    if isinstance(like, type):  # as mp.solutions makes them: a copy of a class is the class itself
        new = type(like.__name__, like.__bases__, dict(like.__dict__))
    new.pose_landmarks = landmarks
    return new
