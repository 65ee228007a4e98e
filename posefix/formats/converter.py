"""Convert between libraries' objects and people: arrays and tensors to people, moved keypoints back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import MAX_COORDINATE, UNKNOWN_CONFIDENCE, People, require_shared, with_refined
from posefix.core.skeleton import load

SKELETONS = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco_wholebody133"}  # by number of keypoints


@dataclass(frozen=True)
class Converter:
    """How the objects of one library become people and back."""

    expected: str  # kind of object, for messages
    read: Callable[[Any], People]  # by :func:`people_from`; any exception means that the object is of another kind
    # Maps object, keypoints (N, K, 2) float32 and moved (N, K, 2) bool to a new object with the moved keypoints.
    put: Callable[[Any, np.ndarray, np.ndarray], Any]

    def people(self, value: Any) -> People:
        """Convert an object to people; raise InputError if it is of another kind."""
        try:
            return self.read(value)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise InputError(f"expected {self.expected}, got {type(value).__name__}: {why}") from None

    def put_back(self, people: People, like: Any) -> Any:
        """Return a copy of ``like`` with the keypoints of its people, in any skeleton that shares some with theirs.

        Raises:
            InputError: another number of people, no common keypoint, or keypoints that are not finite.
        """
        before, name = self.people(like), type(like).__name__
        if len(people) != len(before):
            raise InputError(f"{name} of {len(before)} people cannot take the keypoints of {len(people)}")
        require_shared(people, before.skeleton, f"{name} holds")
        keypoints = with_refined(before, people).keypoints if len(before) else before.keypoints
        if not np.isfinite(keypoints).all():
            raise InputError(f"keypoints must be finite to be put into {name}")
        return self.put(like, keypoints, keypoints != before.keypoints)


def as_array(values: Any) -> np.ndarray:
    """Convert an array, nested list, or tensor on any device to a NumPy array."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    try:
        return np.asarray(values.numpy())
    except TypeError:  # numpy has no bfloat16
        return np.asarray(values.float().numpy())


def people_from(keypoints: Any, scores: Any = None, corners: Any = None, person_scores: Any = None) -> People:
    """Build the people of one image.

    Args:
        keypoints: (N, K, 2 or more) x, y in pixels; further columns are ignored.
        scores: (N, K); None gives keypoints with coordinates ``UNKNOWN_CONFIDENCE``.
        corners: (N, 4) x1, y1, x2, y2 of boxes in pixels, or None.
        person_scores: (N,); None takes the mean of the keypoint scores.

    Raises:
        TypeError, ValueError: values are not numbers, of the wrong shape, or of no known skeleton.
    """
    points = as_array(keypoints).astype(np.float64)
    if points.ndim != 3 or points.shape[2] < 2:
        raise ValueError(f"keypoints of shape {points.shape}, not (N, K, 2)")
    n, k = points.shape[:2]
    if n == 0:
        return People.empty(load(SKELETONS.get(k, "coco17")))
    if k not in SKELETONS:
        choices = ", ".join(f"{count} ({name})" for count, name in SKELETONS.items())
        raise ValueError(f"{k} keypoints for each person, not one of {choices}")

    def column(values: Any, shape: tuple[int, ...], default: float) -> np.ndarray:
        array = np.full(shape, default) if values is None else as_array(values).astype(np.float64)
        if array.shape != shape:
            raise ValueError(f"scores or boxes of shape {array.shape}, not {shape} as the keypoints")
        return array

    points, scores = points[..., :2], column(scores, (n, k), UNKNOWN_CONFIDENCE)
    valid = np.isfinite(points).all(-1) & np.isfinite(scores) & (scores > 0) & (points != 0).any(-1)
    points, scores = np.where(valid[..., None], points, 0.0), np.where(valid, scores, 0.0)
    if (np.abs(points) > MAX_COORDINATE).any():
        raise ValueError(f"a keypoint beyond +-{MAX_COORDINATE:,.0f} px")
    corners = column(corners, (n, 4), 0.0)
    usable = np.isfinite(corners).all(1) & (corners[:, 2:] > corners[:, :2]).all(1)
    boxes = np.where(usable[:, None], np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), 0.0)
    means = np.nan_to_num(scores.mean(1) if person_scores is None else column(person_scores, (n,), 0.0))
    areas = geometry.areas_of(boxes)
    return People(load(SKELETONS[k]), points, scores, np.zeros(n), boxes=boxes, person_scores=means, areas=areas)


def with_moved(original: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    """Return a copy of an array or tensor (..., 2 or more) with new x, y where ``moved``.

    Library, device and dtype are kept; integers become float32. ``keypoints`` and ``moved`` are (..., 2).
    """
    array = as_array(original)
    is_integer = array.dtype.kind != "f"
    new = array.astype(np.float32 if is_integer else array.dtype)
    if moved.any():  # without people the array can have any shape
        new[..., :2][moved] = keypoints[moved]
    if not hasattr(original, "new_tensor"):
        return new
    return (original.float() if is_integer else original).new_tensor(new)
