"""Drawing poses into images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core import geometry
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.media.opencv import cv2

Color = tuple[int, int, int]

_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates
_CENTRE, _LEFT, _RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Style:
    """Colours and widths of a drawn pose.

    Left is orange and right is blue: told apart by every kind of colour vision (after Okabe and Ito, 2008).

    Attributes:
        centre: RGB of what is on neither side.
        left: RGB of the person's own left.
        right: RGB of the person's own right.
        outline: RGB of the thin border that keeps lines visible on any ground.
        scale: factor on the line width.
    """

    centre: Color = (250, 250, 250)
    left: Color = (255, 145, 0)
    right: Color = (40, 170, 255)
    outline: Color = (15, 15, 20)
    scale: float = 1.0

    @property
    def sides(self) -> tuple[Color, Color, Color]:
        return self.centre, self.left, self.right


POSE = Style()
_GREEN: Color = (110, 255, 90)
ANNOTATED = Style(centre=_GREEN, left=_GREEN, right=_GREEN, scale=0.4)


def keypoint_sides(skeleton: Skeleton) -> np.ndarray:
    """(K,) int64: 0 for keypoints on neither side, 1 for left ones, 2 for right ones.

    Of a pair whose names do not begin with left and right, the first counts as left.
    """
    own = np.arange(len(skeleton))
    paired = skeleton.flip != own
    named_right = np.array([name.startswith("right") for name in skeleton.keypoint_names])
    named = named_right | named_right[skeleton.flip]
    right = np.where(named, named_right, skeleton.flip < own)
    return np.where(paired, np.where(right, _RIGHT, _LEFT), _CENTRE)


def draw_people(image: np.ndarray, people: People, threshold: float = 0.0, style: Style = POSE) -> np.ndarray:
    """Draw poses into a copy of an image; whose image it is, the caller knows.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: in pixels of this image. Keypoints anywhere outside it, or not finite, are allowed.
        threshold: keypoints whose score is not above it are not drawn, nor the limbs to them.
        style: colours and widths. Lines grow with the size of the person.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    sides = keypoint_sides(people.skeleton)
    shown = (people.scores > threshold) & np.isfinite(people.keypoints).all(-1)
    for keypoints, drawn, width in zip(people.keypoints, shown, line_widths(people, shown), strict=True):
        _draw_pose(canvas, keypoints.astype(np.float64), drawn, people.skeleton, sides, width * style.scale, style)
    return canvas


def line_widths(people: People, shown: np.ndarray) -> np.ndarray:
    """(N,) float64 width of the limbs in pixels, from the extent of the keypoints (N, K) that are shown."""
    boxes = geometry.pose_boxes(people.keypoints, shown, padding=0.0)
    return np.clip(boxes[:, 2:].max(1) / 70, 1.2, 9.0)


def _draw_pose(
    canvas: np.ndarray,
    keypoints: np.ndarray,
    drawn: np.ndarray,
    skeleton: Skeleton,
    sides: np.ndarray,
    width: float,
    style: Style,
) -> None:
    border = max(1.0, 0.35 * width)
    limbs = skeleton.limbs[drawn[skeleton.limbs].all(1)]
    low, high = np.full(2, -4 * width), np.array(canvas.shape[1::-1]) - 1 + 4 * width
    starts, ends, visible = clip_segments(keypoints[limbs[:, 0]], keypoints[limbs[:, 1]], low, high)
    colors = [style.sides[side] for side in limb_sides(sides, limbs)[visible]]
    starts, ends = starts[visible], ends[visible]
    for bar in _bars(starts, ends, width + 2 * border):
        _fill(canvas, bar, style.outline)
    for bar, color in zip(_bars(starts, ends, width), colors, strict=True):
        _fill(canvas, bar, color)
    dots = drawn & ((keypoints > low) & (keypoints < high)).all(1)
    for centre, side in zip(_fixed(keypoints[dots]), sides[dots], strict=True):
        _dot(canvas, centre, style.outline, 0.95 * width + border)
        _dot(canvas, centre, style.sides[side], 0.95 * width)


def limb_sides(sides: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(L,) side of limbs (L, 2): that of the ends if they are on one side, or one is in the centre; else the centre."""
    first, second = sides[limbs[:, 0]], sides[limbs[:, 1]]
    one_side = (first == second) | (first == _CENTRE) | (second == _CENTRE)
    return np.where(one_side, np.maximum(first, second), _CENTRE)


def clip_segments(
    starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut segments to a rectangle (Liang and Barsky, 1984).

    Args:
        starts: (L, 2) pixels, finite.
        ends: (L, 2) pixels, finite.
        low: (2,) least x and y of the rectangle.
        high: (2,) greatest x and y.

    Returns:
        (L, 2) starts and (L, 2) ends of what is inside; (L,) bool, whether anything is.
    """
    starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
    delta = ends - starts
    still = delta == 0
    step = np.where(still, 1.0, delta)
    with np.errstate(over="ignore"):  # infinitely many steps to the border: the segment is as good as parallel to it
        to_low, to_high = (low - starts) / step, (high - starts) / step
    enter = np.where(still, 0.0, np.minimum(to_low, to_high)).max(1, initial=0.0)
    leave = np.where(still, 1.0, np.maximum(to_low, to_high)).min(1, initial=1.0)
    within = (~still | ((starts >= low) & (starts <= high))).all(1)
    visible = within & (enter <= leave)
    return starts + enter[:, None] * delta, starts + leave[:, None] * delta, visible


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _FRACTION_BITS)).astype(np.int32)


def _bars(starts: np.ndarray, ends: np.ndarray, width: float) -> np.ndarray:
    """(L, 4, 2) fixed-point corners of bars along segments; unlike OpenCV's lines, of any width."""
    along = ends - starts
    length = np.linalg.norm(along, axis=1, keepdims=True)
    unit = np.divide(along, length, out=np.zeros_like(along), where=length > 0)
    # The anti-aliased rim of OpenCV's polygons reaches half a pixel beyond them.
    half = max(width / 2 - 0.5, 0.1) * np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    return _fixed(np.stack([starts + half, ends + half, ends - half, starts - half], axis=1))


def _fill(canvas: np.ndarray, corners: np.ndarray, color: Color) -> None:
    cv2.fillConvexPoly(canvas, corners, color, cv2.LINE_AA, _FRACTION_BITS)


def _dot(canvas: np.ndarray, centre: np.ndarray, color: Color, radius: float) -> None:
    cv2.circle(
        canvas, centre.tolist(), round(radius * (1 << _FRACTION_BITS)), color, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS
    )
