"""Ultralytics: ``Results`` of a pose model (YOLOv8-pose, YOLO11-pose and later) for one image.

``keypoints.data`` is (N, K, 3) x, y, confidence, or (N, K, 2), a tensor of any device or a numpy array, in pixels of
the original image. ``boxes.xyxy`` (N, 4) and ``boxes.conf`` (N,) are of the same people in the same order. A
``Keypoints`` is built anew rather than changed, since it remembers its ``xy`` and ``xyn``; as it is built, older
versions put keypoints of a confidence below 0.5 at (0, 0). (ultralytics 8.4.190 and 8.0.200, engine/results.py
and models/yolo/pose/predict.py.)
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
    """New ``Results`` with the people's keypoints, and all else as in ``like``, that they came from.

    Raises:
        InputError: ``like`` is something else, or holds other people.
    """
    new_xy, moved = moved_from(from_ultralytics(like), people, _WHAT)
    new = copy.copy(like)
    new.keypoints = type(like.keypoints)(with_moved(like.keypoints.data, new_xy, moved), like.keypoints.orig_shape)
    return new
