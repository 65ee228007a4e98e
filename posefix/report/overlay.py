"""Draw poses into images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from posefix.core import geometry
from posefix.core.people import FARTHEST, People
from posefix.core.skeleton import Skeleton
from posefix.media.opencv import cv2

Color = tuple[int, int, int]

OUTLINE: Color = (15, 15, 20)  # keeps lines visible on any ground
WRONG: Color = (240, 20, 47)  # ring around a keypoint that is not right
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates


class Style(NamedTuple):
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
ANNOTATED = Style(_GREEN, _GREEN, _GREEN, scale=0.4)


def keypoint_sides(skeleton: Skeleton) -> np.ndarray:
    """(K,) int64: 1 for keypoints whose names begin with left, 2 for right ones, 0 for the others."""
    return np.array([name.startswith("left") + 2 * name.startswith("right") for name in skeleton.keypoint_names])


def limb_sides(sides: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(L,) side of limbs (L, 2): that of the ends if they are on one side, or one is in the centre; else the centre."""
    ends = sides[limbs]
    return np.where(ends.sum(1) == 3, 0, ends.max(1, initial=0))


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
    points = np.where(shown[..., None], points, 0)
    extents = geometry.pose_boxes(people.keypoints, shown, padding=0.0)[:, 2:].max(1, initial=0)
    widths = (style.scale * np.clip(extents / 70, 1.2, 9.0)).tolist()
    sides, limbs, colors = keypoint_sides(people.skeleton), people.skeleton.limbs, style[:3]
    side_of_limb = limb_sides(sides, limbs)
    for keypoints, drawn, width in zip(points, shown, widths, strict=True):
        whole = drawn[limbs].all(1)
        ends = _fixed(keypoints[limbs[whole]])
        thick, border = max(1, round(width)), max(1, round(0.35 * width))
        for thickness, inks in ((thick + 2 * border, [OUTLINE] * 3), (thick, colors)):
            for (start, end), side in zip(ends, side_of_limb[whole], strict=True):
                cv2.line(canvas, start, end, inks[side], thickness, cv2.LINE_AA, _FRACTION_BITS)
        for centre, side in zip(keypoints[drawn], sides[drawn], strict=True):
            dot(canvas, centre, 0.95 * width, colors[side])
    for person, keypoint in np.argwhere(shown & (False if wrong is None else wrong)):
        for color, thickness in (((255, 255, 255), 4), (WRONG, 2)):
            _circle(canvas, points[person, keypoint], 2.4 * widths[person] + 4, color, thickness)
    return canvas


def dot(canvas: np.ndarray, centre: np.ndarray, radius: float, color: Color) -> None:
    """Draw a disc with an outline around ``centre`` (2,) px into a canvas (H, W, 3)."""
    _circle(canvas, centre, radius + max(1.0, 0.35 * radius), OUTLINE)
    _circle(canvas, centre, radius, color)


def _circle(canvas: np.ndarray, centre: np.ndarray, radius: float, color: Color, thickness: int = -1) -> None:
    cv2.circle(canvas, _fixed(centre), _fixed(radius), color, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _fixed(pixels: np.ndarray | float) -> Any:
    """Pixels as whole numbers of OpenCV's fixed-point unit, in lists."""
    return np.rint(np.multiply(pixels, 1 << _FRACTION_BITS)).astype(int).tolist()
