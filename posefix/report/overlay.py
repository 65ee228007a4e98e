"""Draw poses into images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core import geometry
from posefix.core.people import FARTHEST, People
from posefix.core.skeleton import Skeleton
from posefix.media.opencv import cv2

Color = tuple[int, int, int]

OUTLINE: Color = (15, 15, 20)  # keeps lines visible on any ground
WRONG: Color = (240, 20, 47)  # ring around a keypoint that is not right
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates
_CENTRE, _LEFT, _RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Style:
    """Colours and widths of a drawn pose.

    Left is orange and right is blue: told apart by every kind of colour vision (after Okabe and Ito, 2008).

    Attributes:
        centre: RGB of what is on neither side.
        left: RGB of the person's left.
        right: RGB of the person's right.
        scale: factor on the line width.
    """

    centre: Color = (250, 250, 250)
    left: Color = (255, 145, 0)
    right: Color = (40, 170, 255)
    scale: float = 1.0


POSE = Style()
_GREEN: Color = (110, 255, 90)
ANNOTATED = Style(centre=_GREEN, left=_GREEN, right=_GREEN, scale=0.4)


def keypoint_sides(skeleton: Skeleton) -> np.ndarray:
    """(K,) int64: 0 for keypoints on neither side, 1 for left ones, 2 for right ones.

    Of a pair whose names do not begin with left and right, the first counts as left.
    """
    places = np.arange(len(skeleton))
    named_right = np.array([name.startswith("right") for name in skeleton.keypoint_names])
    named = named_right | named_right[skeleton.flip]
    right = np.where(named, named_right, skeleton.flip < places)
    return np.where(skeleton.flip != places, np.where(right, _RIGHT, _LEFT), _CENTRE)


def limb_sides(sides: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(L,) side of limbs (L, 2): that of the ends if they are on one side, or one is in the centre; else the centre."""
    first, second = sides[limbs[:, 0]], sides[limbs[:, 1]]
    one_side = (first == second) | (first == _CENTRE) | (second == _CENTRE)
    return np.where(one_side, np.maximum(first, second), _CENTRE)


def draw_people(image: np.ndarray, people: People, style: Style = POSE, wrong: np.ndarray | None = None) -> np.ndarray:
    """Draw poses into a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: N people in pixels of this image. Keypoints anywhere outside it, or not finite, are allowed; those of
            score 0 are not drawn, nor the limbs to them.
        style: colours and widths. Lines grow with the size of the person.
        wrong: (N, K) bool, keypoints to put a red ring around.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = np.array(image, order="C")
    points = np.nan_to_num(people.keypoints.astype(np.float64), nan=np.inf)
    shown = people.labelled & (np.abs(points) < FARTHEST).all(-1)  # OpenCV's coordinates end at 1e8
    extents = geometry.pose_boxes(people.keypoints, shown, padding=0.0)[:, 2:].max(1, initial=0)
    widths = (style.scale * np.clip(extents / 70, 1.2, 9.0)).tolist()
    for keypoints, drawn, width in zip(points, shown, widths, strict=True):
        _draw_pose(canvas, keypoints, drawn, people.skeleton, width, style)
    if wrong is not None:
        for person, keypoint in np.argwhere(wrong & shown):
            _ring(canvas, points[person, keypoint], 2.4 * widths[person] + 4)
    return canvas


def dot(canvas: np.ndarray, centre: np.ndarray, radius: float, color: Color) -> None:
    """Draw a disc with an outline around ``centre`` (2,) px into a canvas (H, W, 3)."""
    for r, c in ((radius + max(1.0, 0.35 * radius), OUTLINE), (radius, color)):
        cv2.circle(canvas, _fixed(centre), round(r * (1 << _FRACTION_BITS)), c, -1, cv2.LINE_AA, _FRACTION_BITS)


def _draw_pose(
    canvas: np.ndarray, keypoints: np.ndarray, drawn: np.ndarray, skeleton: Skeleton, width: float, style: Style
) -> None:
    sides, colors = keypoint_sides(skeleton), (style.centre, style.left, style.right)
    limbs = skeleton.limbs[drawn[skeleton.limbs].all(1)]
    ends = [(_fixed(keypoints[i]), _fixed(keypoints[j])) for i, j in limbs]
    thick, border = max(1, round(width)), max(1, round(0.35 * width))
    for start, end in ends:
        cv2.line(canvas, start, end, OUTLINE, thick + 2 * border, cv2.LINE_AA, _FRACTION_BITS)
    for (start, end), side in zip(ends, limb_sides(sides, limbs), strict=True):
        cv2.line(canvas, start, end, colors[side], thick, cv2.LINE_AA, _FRACTION_BITS)
    for centre, side in zip(keypoints[drawn], sides[drawn], strict=True):
        dot(canvas, centre, 0.95 * width, colors[side])


def _ring(canvas: np.ndarray, centre: np.ndarray, radius: float) -> None:
    size = round(radius * (1 << _FRACTION_BITS))
    for color, width in (((255, 255, 255), 4), (WRONG, 2)):
        cv2.circle(canvas, _fixed(centre), size, color, width, cv2.LINE_AA, _FRACTION_BITS)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * (1 << _FRACTION_BITS)).astype(int).tolist()
    return x, y
