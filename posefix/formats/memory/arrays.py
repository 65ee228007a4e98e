"""Arrays and tensors to people, and moved keypoints back into arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import FARTHEST, People, require_shared, with_refined
from posefix.core.skeleton import load

SKELETONS = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco_wholebody133"}  # by number of keypoints
UNKNOWN_CONFIDENCE = 0.5  # of keypoints without scores; 1 throughout would say that all of them are certain


def as_array(values: Any) -> np.ndarray:
    """An array, nested list, or tensor of any device, as a numpy array."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    try:
        return np.asarray(values.numpy())
    except TypeError:  # numpy has no bfloat16
        return np.asarray(values.float().numpy())


def as_floats(values: Any, what: str) -> np.ndarray:
    """Numbers of any kind as float64; InputError that names ``what`` if they are none."""
    try:
        found = as_array(values)
    except (TypeError, ValueError, RuntimeError):
        found = np.array(None)
    if found.dtype.kind not in "iuf" and found.size:
        raise InputError(f"{what} must be an array of numbers, got {type(values).__name__}")
    return found.astype(np.float64)


def people_from(
    what: str,
    keypoints: Any,
    scores: Any = None,
    corners: Any = None,
    person_scores: Any = None,
) -> People:
    """People of one image.

    Args:
        what: names the object in messages.
        keypoints: (N, K, 2 or more) x, y in pixels, then whatever else.
        scores: (N, K), or None: ``UNKNOWN_CONFIDENCE`` for each keypoint that has coordinates.
        corners: (N, 4) x1, y1, x2, y2 of boxes in pixels, or None.
        person_scores: (N,), or None: the means of the keypoints' scores.

    Raises:
        InputError: no numbers, numbers of another shape, or of no skeleton.
    """
    keypoints = as_floats(keypoints, f"keypoints of {what}")
    if keypoints.ndim != 3 or keypoints.shape[2] < 2:
        raise InputError(f"{what} must have keypoints of shape (N, K, 2), got {keypoints.shape}")
    n, k = keypoints.shape[:2]
    if n and k not in SKELETONS:
        known = ", ".join(f"{count} ({name})" for count, name in SKELETONS.items())
        raise InputError(f"{what} has {k} keypoints for each person, expected one of {known}")
    skeleton = load(SKELETONS.get(k, "coco17"))
    if n == 0:
        return People.empty(skeleton)

    def checked(values: Any, name: str, shape: tuple[int, ...], default: float) -> np.ndarray:
        found = np.full(shape, default) if values is None else as_floats(values, f"{name} of {what}")
        if found.shape != shape:
            raise InputError(f"{what} has {name} of shape {found.shape}, expected {shape} for its keypoints")
        return found

    points = keypoints[..., :2]
    scores = checked(scores, "scores of keypoints", (n, k), UNKNOWN_CONFIDENCE)
    known = np.isfinite(points).all(-1) & np.isfinite(scores) & (scores > 0) & (points != 0).any(-1)
    points, scores = np.where(known[..., None], points, 0.0), np.where(known, scores, 0.0)
    if (np.abs(points) > FARTHEST).any():
        raise InputError(f"{what} has a keypoint beyond +-{FARTHEST:,.0f} px")
    corners = checked(corners, "boxes", (n, 4), 0.0)
    usable = np.isfinite(corners).all(1) & (corners[:, 2:] > corners[:, :2]).all(1)
    boxes = np.where(usable[:, None], np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), 0.0)
    person_scores = scores.mean(1) if person_scores is None else checked(person_scores, "scores of people", (n,), 0.0)
    return People(
        skeleton,
        points,
        scores,
        np.zeros(n),
        boxes=boxes,
        person_scores=np.nan_to_num(person_scores),
        areas=geometry.areas_of(boxes),
    )


def moved_from(before: People, people: People, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) float32 of people in the skeleton of an object, and which numbers (N, K, 2) bool moved.

    Args:
        before: the people as the object has them.
        people: the same people in the same order, of any skeleton that shares keypoints with theirs.
        what: names the object in messages.

    Raises:
        InputError: other people, or of a skeleton without any common keypoint.
    """
    if len(people) != len(before):
        raise InputError(f"{what} holds {len(before)} people and cannot take the keypoints of {len(people)}")
    require_shared(people, before.skeleton, f"{what} holds")
    keypoints = with_refined(before, people).keypoints if len(before) else before.keypoints
    if not np.isfinite(keypoints).all():
        raise InputError(f"keypoints must be finite to be put into {what}")
    return keypoints, keypoints != before.keypoints


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
