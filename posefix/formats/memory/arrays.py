"""What all libraries have in common: arrays and tensors to people, and moved keypoints back into arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import FARTHEST, People, with_refined
from posefix.core.skeleton import load

SKELETONS = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco_wholebody133"}  # by number of keypoints


def as_array(values: Any) -> np.ndarray:
    """An array, nested list, or tensor of any device, as a numpy array."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    values = values.detach().cpu()
    try:
        return values.numpy()
    except TypeError:  # numpy has no bfloat16
        return values.float().numpy()


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
    keypoints: np.ndarray,
    scores: np.ndarray | None,
    boxes: np.ndarray | None = None,
    person_scores: np.ndarray | None = None,
) -> People:
    """People of one image.

    Args:
        what: names the object in messages.
        keypoints: (N, K, 2 or more) float64, x and y in pixels, then whatever else.
        scores: (N, K) float64, or None: 1 for each keypoint that has coordinates.
        boxes: (N, 4) float64 x1, y1, x2, y2 in pixels, or None.
        person_scores: (N,) float64, or None: the means of the keypoints' scores.

    Raises:
        InputError: numbers of another shape, or of no skeleton.
    """
    if keypoints.ndim != 3 or keypoints.shape[2] < 2:
        raise InputError(f"{what} must have keypoints of shape (N, K, 2), got {_shape(keypoints)}")
    n, k = keypoints.shape[:2]
    if n and k not in SKELETONS:
        known = ", ".join(f"{count} ({name})" for count, name in SKELETONS.items())
        raise InputError(f"{what} has {k} keypoints for each person, expected one of {known}")
    skeleton = load(SKELETONS.get(k, "coco17"))
    if n == 0:
        return People.empty(skeleton)
    for name, values, shape in (
        ("scores of keypoints", scores, (n, k)),
        ("boxes", boxes, (n, 4)),
        ("scores of people", person_scores, (n,)),
    ):
        if values is not None and values.shape != shape:
            raise InputError(f"{what} has {name} of shape {_shape(values)}, expected {shape} for its keypoints")
    points = keypoints[..., :2]
    if scores is None:
        scores = np.ones((n, k))
    known = np.isfinite(points).all(-1) & np.isfinite(scores) & (scores > 0) & (points != 0).any(-1)
    points, scores = np.where(known[..., None], points, 0.0), np.where(known, scores, 0.0)
    if (np.abs(points) > FARTHEST).any():
        raise InputError(f"{what} has a keypoint beyond +-{FARTHEST:,.0f} px")
    xywh = np.zeros((n, 4))
    if boxes is not None:
        usable = np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        xywh[usable] = np.concatenate([boxes[usable, :2], boxes[usable, 2:] - boxes[usable, :2]], axis=1)
    return People(
        skeleton,
        points,
        scores,
        np.zeros(n),
        boxes=xywh,
        person_scores=scores.mean(1) if person_scores is None else np.nan_to_num(person_scores),
        areas=geometry.areas_of(xywh),
    )


def moved_from(own: People, people: People, what: str) -> tuple[np.ndarray, np.ndarray]:
    """What people say beyond an object that they came from.

    Args:
        own: the people as the object has them.
        people: the same people in the same order, of any skeleton that shares keypoints with theirs.
        what: names the object in messages.

    Returns:
        (N, K, 2) float32 keypoints, and of the same shape, bool: which of the numbers are not the object's.

    Raises:
        InputError: other people, or of a skeleton without any common keypoint.
    """
    if len(people) != len(own):
        raise InputError(f"{what} holds {len(own)} people and cannot take the keypoints of {len(people)}")
    if len(own) and (own.skeleton.indices_from(people.skeleton) < 0).all():
        raise InputError(f"{what} holds {own.skeleton.name} poses, which have no keypoint of {people.skeleton.name}")
    keypoints = with_refined(own, people).keypoints if len(own) else own.keypoints
    if not np.isfinite(keypoints).all():
        raise InputError(f"keypoints must be finite to be put into {what}")
    return keypoints, keypoints != own.keypoints


def with_moved(original: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    """A copy of an array or tensor (..., 2 or more) in which some of the first two numbers are new.

    Args:
        original: its kind, device and type are kept; whole numbers become float32.
        keypoints: (..., 2) the new numbers.
        moved: (..., 2) bool, which of them to take.
    """
    array = as_array(original)
    whole = array.dtype.kind != "f"
    new = array.astype(np.float32 if whole else array.dtype)
    if moved.any():  # nobody's array may be of any shape
        new[..., :2][moved] = keypoints[moved]
    if not hasattr(original, "new_tensor"):
        return new
    return (original.float() if whole else original).new_tensor(new)


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(map(str, array.shape))})"
