"""Ultralytics: ``Results`` of a pose model for one image.

``keypoints.data`` is (N, K, 3) x, y, confidence, or (N, K, 2), in pixels of the original image. ``Keypoints`` is built
anew rather than changed, since it remembers its ``xy`` and ``xyn``; older versions then put keypoints of a confidence
below 0.5 at (0, 0). Source: ultralytics 8.4.190 and 8.0.200, engine/results.py.
"""

from __future__ import annotations

import copy
from typing import Any

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.memory.arrays import as_floats, moved_from, people_from, with_moved

_WHAT = "ultralytics Results"


def from_ultralytics(result: Any) -> People:
    """People of the ``Results`` of one image.

    Raises:
        InputError: it is something else, without keypoints, or of a number of keypoints that no known skeleton has.
    """
    if isinstance(result, (list, tuple)):
        raise InputError(
            f"from_ultralytics takes the Results of one image, got a list of {len(result)}: give one of them"
        )
    keypoints: Any = getattr(result, "keypoints", None)
    if not (hasattr(keypoints, "data") and hasattr(keypoints, "orig_shape")):
        raise InputError(
            f"from_ultralytics takes the Results of a pose model, got {type(result).__name__} without keypoints"
        )
    triples = as_floats(keypoints.data, "Results.keypoints")
    scores = triples[..., 2] if triples.shape[2:] == (3,) else None
    boxes = getattr(result, "boxes", None)
    return people_from(_WHAT, triples, scores, getattr(boxes, "xyxy", None), getattr(boxes, "conf", None))


def to_ultralytics(people: People, like: Any) -> Any:
    """New ``Results`` with the people's keypoints, and all else as in ``like``, that they came from."""
    new_xy, moved = moved_from(from_ultralytics(like), people, _WHAT)
    new = copy.copy(like)
    new.keypoints = type(like.keypoints)(with_moved(like.keypoints.data, new_xy, moved), like.keypoints.orig_shape)
    return new
