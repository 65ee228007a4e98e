"""Roboflow's supervision: ``sv.KeyPoints``, with ``xy`` (n, m, 2 or 3) in pixels.

Confidences (n, m) are called ``keypoint_confidence`` since 0.29, before that ``confidence``, and may be None;
``detection_confidence`` (n,) exists since 0.29. Source: supervision 0.31.2 and 0.25.1, key_points/core.py.
"""

from __future__ import annotations

import copy
from typing import Any

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.memory.arrays import moved_from, people_from, with_moved

_WHAT = "sv.KeyPoints"


def from_supervision(keypoints: Any) -> People:
    """People of a ``supervision.KeyPoints``.

    Raises:
        InputError: it is something else, or of a number of keypoints that no known skeleton has.
    """
    if not hasattr(keypoints, "xy"):
        raise InputError(f"from_supervision takes supervision.KeyPoints, got {type(keypoints).__name__}")
    names = ("keypoint_confidence", "confidence")  # in this order: asked for the old one, new versions warn
    scores = next((getattr(keypoints, name) for name in names if hasattr(keypoints, name)), None)
    return people_from(_WHAT, keypoints.xy, scores, person_scores=getattr(keypoints, "detection_confidence", None))


def to_supervision(people: People, like: Any) -> Any:
    """A new ``supervision.KeyPoints`` with the people's keypoints, and all else as in ``like``, that they came from."""
    new_xy, moved = moved_from(from_supervision(like), people, _WHAT)
    new = copy.copy(like)
    new.xy = with_moved(like.xy, new_xy, moved)
    if isinstance(getattr(like, "data", None), dict):
        new.data = dict(like.data)
    return new
