"""What all libraries have in common: arrays and tensors to people, and moved keypoints back into them."""

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

    expected: str  # what the object has to be, for messages
    read: Callable[[Any], People]  # by :func:`people_from`; whatever it raises means that the object is another
    # (object, keypoints (N, K, 2) float32, moved (N, K, 2) bool) to a new object with the keypoints that moved
    put: Callable[[Any, np.ndarray, np.ndarray], Any]

    def people(self, given: Any) -> People:
        """The people of an object; InputError if it is not what is expected."""
        try:
            return self.read(given)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise InputError(f"expected {self.expected}, got {type(given).__name__}: {why}") from None

    def put_back(self, people: People, like: Any) -> Any:
        """A new object like ``like`` with the keypoints of its people in any skeleton that shares some with theirs.

        Raises:
            InputError: other people, of a skeleton without any common keypoint, or with keypoints that are not finite.
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
    """An array, nested list, or tensor of any device, as a numpy array."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    try:
        return np.asarray(values.numpy())
    except TypeError:  # numpy has no bfloat16
        return np.asarray(values.float().numpy())


def people_from(keypoints: Any, scores: Any = None, corners: Any = None, person_scores: Any = None) -> People:
    """People of one image.

    Args:
        keypoints: (N, K, 2 or more) x, y in pixels, then whatever else.
        scores: (N, K), or None: ``UNKNOWN_CONFIDENCE`` for each keypoint that has coordinates.
        corners: (N, 4) x1, y1, x2, y2 of boxes in pixels, or None.
        person_scores: (N,), or None: the means of the keypoints' scores.

    Raises:
        TypeError, ValueError: no numbers, numbers of another shape, or of no skeleton.
    """
    points = as_array(keypoints).astype(np.float64)
    if points.ndim != 3 or points.shape[2] < 2:
        raise ValueError(f"keypoints of shape {points.shape}, not (N, K, 2)")
    n, k = points.shape[:2]
    if n == 0:
        return People.empty(load(SKELETONS.get(k, "coco17")))
    if k not in SKELETONS:
        known = ", ".join(f"{count} ({name})" for count, name in SKELETONS.items())
        raise ValueError(f"{k} keypoints for each person, not one of {known}")

    def column(values: Any, shape: tuple[int, ...], default: float) -> np.ndarray:
        found = np.full(shape, default) if values is None else as_array(values).astype(np.float64)
        if found.shape != shape:
            raise ValueError(f"scores or boxes of shape {found.shape}, not {shape} as the keypoints")
        return found

    points, scores = points[..., :2], column(scores, (n, k), UNKNOWN_CONFIDENCE)
    known = np.isfinite(points).all(-1) & np.isfinite(scores) & (scores > 0) & (points != 0).any(-1)
    points, scores = np.where(known[..., None], points, 0.0), np.where(known, scores, 0.0)
    if (np.abs(points) > MAX_COORDINATE).any():
        raise ValueError(f"a keypoint beyond +-{MAX_COORDINATE:,.0f} px")
    corners = column(corners, (n, 4), 0.0)
    usable = np.isfinite(corners).all(1) & (corners[:, 2:] > corners[:, :2]).all(1)
    boxes = np.where(usable[:, None], np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), 0.0)
    means = np.nan_to_num(scores.mean(1) if person_scores is None else column(person_scores, (n,), 0.0))
    areas = geometry.areas_of(boxes)
    return People(load(SKELETONS[k]), points, scores, np.zeros(n), boxes=boxes, person_scores=means, areas=areas)


def with_moved(original: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    """A copy of an array or tensor (..., 2 or more) in which the ``moved`` of its first two numbers are new.

    Its kind, device and type are kept; whole numbers become float32. ``keypoints`` and ``moved`` are (..., 2).
    """
    array = as_array(original)
    whole = array.dtype.kind != "f"
    new = array.astype(np.float32 if whole else array.dtype)
    if moved.any():  # without people the array may be of any shape
        new[..., :2][moved] = keypoints[moved]
    if not hasattr(original, "new_tensor"):
        return new
    return (original.float() if whole else original).new_tensor(new)
