"""Ultralytics: ``Results`` of a pose model for one image.

``keypoints.data`` is (N, K, 3) x, y, confidence, or (N, K, 2), in pixels of the original image. ``Keypoints`` is built
anew rather than changed, since it remembers its ``xy`` and ``xyn``; older versions then put keypoints of a confidence
below 0.5 at (0, 0). Source: ultralytics 8.4.190 and 8.0.200, engine/results.py.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.formats.memory.arrays import Converter, as_array, people_from, with_moved


def _read(result: Any) -> People:
    triples, boxes = as_array(result.keypoints.data), getattr(result, "boxes", None)
    scores = triples[..., 2] if triples.shape[2:] == (3,) else None
    return people_from(triples, scores, getattr(boxes, "xyxy", None), getattr(boxes, "conf", None))


def _put(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    new, old = copy.copy(like), like.keypoints
    new.keypoints = type(old)(with_moved(old.data, keypoints, moved), old.orig_shape)
    return new


_CONVERTER = Converter("the Results of a pose model for one image", _read, _put)


def from_ultralytics(result: Any) -> People:
    """People of the ``Results`` of one image; InputError if it has no keypoints, or those of no known skeleton."""
    return _CONVERTER.people(result)


def to_ultralytics(people: People, like: Any) -> Any:
    """New ``Results`` with the people's keypoints, and all else as in ``like``, that they came from."""
    return _CONVERTER.put_back(people, like)
