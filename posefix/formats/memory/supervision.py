"""Roboflow's supervision: ``sv.KeyPoints``, with ``xy`` (n, m, 2 or 3) in pixels.

Confidences (n, m) are called ``keypoint_confidence`` since 0.29, before that ``confidence``, and may be None;
``detection_confidence`` (n,) exists since 0.29. Source: supervision 0.31.2 and 0.25.1, key_points/core.py.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.formats.memory.arrays import Converter, people_from, with_moved


def _read(keypoints: Any) -> People:
    names = ("keypoint_confidence", "confidence")  # in this order: asked for the old one, new versions warn
    scores = next((getattr(keypoints, name) for name in names if hasattr(keypoints, name)), None)
    return people_from(keypoints.xy, scores, person_scores=getattr(keypoints, "detection_confidence", None))


def _put(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    new = copy.copy(like)
    new.xy = with_moved(like.xy, keypoints, moved)
    if isinstance(getattr(like, "data", None), dict):
        new.data = dict(like.data)
    return new


_CONVERTER = Converter("supervision.KeyPoints", _read, _put)


def from_supervision(keypoints: Any) -> People:
    """People of a ``supervision.KeyPoints``; InputError if it is something else, or of no known skeleton."""
    return _CONVERTER.people(keypoints)


def to_supervision(people: People, like: Any) -> Any:
    """A new ``supervision.KeyPoints`` with the people's keypoints, and all else as in ``like``, that they came from."""
    return _CONVERTER.put_back(people, like)
