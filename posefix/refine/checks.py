"""Validate the input of the refiner."""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import People, require_pixels
from posefix.core.skeleton import Skeleton

MAX_CHECKED = 1000  # people whose boxes are compared with their poses
MIN_CORNERS, IOU_MARGIN = 10, 0.1  # people with corners as boxes, and the IoU by which these must fit better


def people_of_arrays(keypoints: np.ndarray, boxes: np.ndarray | None, skeleton: Skeleton) -> People:
    """Build the People of one image from arrays.

    Args:
        keypoints: (N, K, 3) x, y in pixels and score.
        boxes: (N, 4) xywh in pixels, or None.
        skeleton: of the K keypoints.

    Raises:
        InputError: for other shapes or types.
    """
    array = _floats("keypoints", keypoints, (len(skeleton), 3), skeleton)
    n = len(array)
    boxes = np.zeros((n, 4), np.float32) if boxes is None else _floats("boxes", boxes, (4,), skeleton)
    if len(boxes) != n:
        raise InputError(f"boxes must be one for each person: there are {len(boxes)} boxes and {n} people")
    return People(skeleton, array[..., :2], array[..., 2], np.zeros(n), boxes=boxes)


def check_types(people: object, images: object) -> None:
    """Raise InputError unless the arguments are people and images (they may be in the wrong order)."""
    if not isinstance(people, People):
        raise InputError(f"people must be posefix.People, as posefix.read gives them, found {type(people).__name__}")
    if isinstance(images, str | np.ndarray) or not hasattr(images, "__getitem__"):
        raise InputError(
            "images must give an image by its id, as a dict or posefix.ImageFolder.of_people(folder, people) does, "
            f"found {type(images).__name__}"
        )


def check_people(people: People, skeleton: Skeleton) -> None:
    """Check that people can be refined.

    Raises:
        InputError: when the skeleton differs, or coordinates are not finite, normalised, or too large.
    """
    if people.skeleton.keypoint_names != skeleton.keypoint_names:
        raise InputError(
            f"the checkpoint refines {skeleton.name} poses ({len(skeleton)} keypoints), "
            f"not {people.skeleton.name} ({len(people.skeleton)})"
        )
    require_pixels(people)
    if _boxes_are_corners(people[:MAX_CHECKED]):
        raise InputError(
            "the boxes fit the poses as x0, y0, x1, y1, but must be x, y, width, height: subtract x0 and y0 from the "
            "last two numbers, or leave the boxes out"
        )


def _boxes_are_corners(people: People) -> bool:
    """Return whether boxes were given as x0, y0, x1, y1 in place of x, y, width, height.

    True if at least ``MIN_CORNERS`` people's poses fit the box better in that way, and hardly any the other way.
    """
    extents = geometry.pose_boxes(people.keypoints, people.labelled, padding=0.0)
    corners = np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], axis=1)
    overlaps = [
        np.where(geometry.known_boxes(boxes), geometry.iou(boxes, extents), 0) for boxes in (people.boxes, corners)
    ]
    gain = overlaps[1] - overlaps[0]
    return bool((gain > IOU_MARGIN).sum() >= max(MIN_CORNERS, 10 * (gain < -IOU_MARGIN).sum()))


def _floats(name: str, values: np.ndarray, shape: tuple[int, ...], skeleton: Skeleton) -> np.ndarray:
    expected = ", ".join(map(str, ("N", *shape)))
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        found = error if hasattr(values, "detach") else f"found {type(values).__name__}"  # torch says what to do
        raise InputError(f"{name} must be an array of numbers ({expected}) for {skeleton.name}: {found}") from None
    if array.shape == (0,):
        return np.zeros((0, *shape), np.float32)
    if array.shape[1:] != shape or array.ndim == 0:
        one = f"; for one person, give {name}[None]" if array.shape == shape else ""
        raise InputError(f"{name} must be ({expected}) for {skeleton.name}, got {array.shape}{one}")
    return array
