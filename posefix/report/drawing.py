"""Draw poses into images, and show before and after side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from posefix.core import geometry
from posefix.core.errors import require
from posefix.core.people import MAX_COORDINATE, People
from posefix.core.skeleton import Skeleton
from posefix.media.crops import crop_image
from posefix.media.opencv import cv2

Color = tuple[int, int, int]
PANEL_HEIGHT = 480  # px
MARGIN = 1.2  # size of a view, times the box of its people
ASPECTS = 1 / 1.5, 2.5  # width by height of a panel: least, most
WIDE = 0.6  # views show part of an image if people fill less than this share of its width and height
BLOCK = 10_000  # people whose boxes are computed at a time, to save memory
_GAP = 6  # px between the panels
_LINE = 34  # px, height of a line of text
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.52
_GROUND: Color = (0, 0, 0)  # as outside the image
_TEXT: Color = (235, 235, 235)
_DIM: Color = (165, 170, 180)
OUTLINE: Color = (15, 15, 20)  # keeps lines visible on any background
WRONG: Color = (240, 20, 47)  # ring around a wrong keypoint
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates


class Style(NamedTuple):
    """Colours and widths of a drawn pose.

    Left is orange and right is blue, which people with any colour vision can tell apart (after Okabe and Ito, 2008).

    Attributes:
        centre: RGB of parts on neither side.
        left: RGB of the person's left.
        right: RGB of the person's right.
        scale: factor on the line width.
    """

    centre: Color = (250, 250, 250)
    left: Color = (255, 145, 0)
    right: Color = (40, 170, 255)
    scale: float = 1.0


POSE = Style()
ANNOTATED = Style(*[(110, 255, 90)] * 3, scale=0.4)  # green


def keypoint_sides(skeleton: Skeleton) -> np.ndarray:
    """Return (K,) int64: 1 for keypoints whose names begin with left, 2 for right, 0 for others."""
    return np.array([name.startswith("left") + 2 * name.startswith("right") for name in skeleton.keypoint_names])


def limb_sides(sides: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """Return the side (L,) of limbs (L, 2): that of the end that has one; 0 if the ends are on different sides."""
    ends = sides[limbs]
    return np.where(ends.sum(1) == 3, 0, ends.max(1, initial=0))


def draw_people(image: np.ndarray, people: People, style: Style = POSE, wrong: np.ndarray | None = None) -> np.ndarray:
    """Draw poses into a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: N people in pixels of this image. Keypoints with score 0 or not finite, and their limbs, are not drawn.
        style: colours and widths; lines grow with the size of the person.
        wrong: (N, K) bool, keypoints to ring in red.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = np.array(image, order="C")
    points = np.nan_to_num(people.keypoints.astype(np.float64), nan=np.inf)
    visible = people.labelled & (np.abs(points) < MAX_COORDINATE).all(-1)  # OpenCV's coordinates end at 1e8
    points = np.where(visible[..., None], points, 0)
    extents = geometry.pose_boxes(people.keypoints, visible, padding=0.0)[:, 2:].max(1, initial=0)
    widths = (style.scale * np.clip(extents / 70, 1.2, 9.0)).tolist()
    sides, limbs, colors = keypoint_sides(people.skeleton), people.skeleton.limbs, style[:3]
    side_of_limb = limb_sides(sides, limbs)
    for keypoints, mask, width in zip(points, visible, widths, strict=True):
        limb_drawn = mask[limbs].all(1)
        ends = _fixed(keypoints[limbs[limb_drawn]])
        inner, border = max(1, round(width)), max(1, round(0.35 * width))
        for thickness, palette in ((inner + 2 * border, [OUTLINE] * 3), (inner, colors)):
            for (start, end), side in zip(ends, side_of_limb[limb_drawn], strict=True):
                cv2.line(canvas, start, end, palette[side], thickness, cv2.LINE_AA, _FRACTION_BITS)
        for centre, side in zip(keypoints[mask], sides[mask], strict=True):
            dot(canvas, centre, 0.95 * width, colors[side])
    for person, keypoint in np.argwhere(visible & (False if wrong is None else wrong)):
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
    """Convert pixels to lists of integers in OpenCV's fixed-point unit."""
    return np.rint(np.multiply(pixels, 1 << _FRACTION_BITS)).astype(int).tolist()


def side_by_side(
    image: np.ndarray,
    before: People,
    after: People,
    truth: People | None = None,
    title: str = "",
    labels: tuple[str, str] = ("before", "after"),
    box: np.ndarray | None = None,
    height: int = PANEL_HEIGHT,
    wrong: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Show the same part of an image twice, with the poses before on the left and after on the right.

    Args:
        image: (H, W, 3) uint8 RGB.
        before: N people to draw on the left, in pixels of the image.
        after: M people to draw on the right.
        truth: annotated people, drawn thin and green over the others on both sides.
        title: written below, above a legend of the colours; both are left out if empty.
        labels: written above the two panels.
        box: (4,) xywh pixels, the part of the image to show, with some margin; all of it if None.
        height: of the panels in pixels; small people are enlarged to it.
        wrong: (N, K) and (M, K) bool, keypoints to ring in red.

    Returns:
        (height + lines of text, W', 3) uint8 RGB; the width follows from the box's aspect ratio.
    """
    matrix, size = _view(image, box, height)
    view = crop_image(image, matrix, size)
    columns = []
    for people, rings, label in zip((before, after), wrong or (None, None), labels, strict=True):
        panel = draw_people(view, _in_panel(people, matrix), wrong=rings)
        if truth is not None:
            panel = draw_people(panel, _in_panel(truth, matrix), style=ANNOTATED)
        columns.append(np.concatenate([_line(size[1], label, _TEXT), panel]))
    picture = np.concatenate([columns[0], np.full((len(columns[0]), _GAP, 3), _GROUND, np.uint8), columns[1]], axis=1)
    if not title:
        return picture
    colors = {"left": POSE.left, "right": POSE.right}
    colors |= {} if truth is None else {"annotated": ANNOTATED.left}
    return np.concatenate([picture, caption(title, picture.shape[1], colors)])


def add_column(picture: np.ndarray, panel: np.ndarray, label: str) -> np.ndarray:
    """Add a labelled panel (H, W, 3) at the right of a picture of :func:`side_by_side`, at least as tall."""
    column = np.concatenate([_line(panel.shape[1], label, _TEXT), panel])
    below = np.full((len(picture) - len(column), panel.shape[1], 3), _GROUND, np.uint8)
    gap = np.full((len(picture), _GAP, 3), _GROUND, np.uint8)
    return np.concatenate([picture, gap, np.concatenate([column, below])], axis=1)


def people_view(image: np.ndarray, *groups: People) -> np.ndarray | None:
    """Return the box (4,) xywh around people without stray keypoints; None if nobody is left or they fill the image."""
    boxes = np.concatenate([geometry.pose_boxes(people.keypoints, people.labelled) for people in groups])
    boxes = boxes[geometry.known_boxes(boxes)]
    if not len(boxes):
        return None
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    share = (high - low) / (image.shape[1], image.shape[0])
    return np.concatenate([low, high - low]) if share.max() < WIDE else None


def following_views(image: np.ndarray, *groups: People, reach: int) -> np.ndarray | None:
    """Return boxes of one size that follow the people of a video smoothly.

    A box covers everybody within ``reach`` frames, so averaging centres over as many frames keeps everybody inside.

    Args:
        image: (H, W, 3), a frame.
        groups: people without stray keypoints, clipped to the frame; ``image_ids`` are frame numbers.
        reach: frames.

    Returns:
        (F, 4) float64 xywh pixels for frames 0 to the last with people; None without people, or if they fill the frame.
    """
    ndimage = require("scipy.ndimage", "video", "a video")
    frames = np.concatenate([people.image_ids for people in groups])
    blocks = [(people, slice(r, r + BLOCK)) for people in groups for r in range(0, max(len(people), 1), BLOCK)]
    boxes = np.concatenate([geometry.pose_boxes(people.keypoints[r], people.scores[r] > 0) for people, r in blocks])
    valid = geometry.known_boxes(boxes)
    frames, boxes = frames[valid], boxes[valid]
    if not len(frames):
        return None
    size = np.array([image.shape[1], image.shape[0]])
    low, high = np.full((frames.max() + 1, 2), np.inf), np.full((frames.max() + 1, 2), -np.inf)
    np.minimum.at(low, frames, np.clip(boxes[:, :2], 0, size - 1))
    np.maximum.at(high, frames, np.clip(boxes[:, :2] + boxes[:, 2:], 0, size - 1))
    low = ndimage.minimum_filter1d(low, 2 * reach + 1, axis=0, mode="nearest")
    high = ndimage.maximum_filter1d(high, 2 * reach + 1, axis=0, mode="nearest")
    busy = np.flatnonzero(np.isfinite(low[:, 0]))  # frames with people within reach
    extent = (high[busy] - low[busy]).max(0)
    if (extent / size).max() >= WIDE or (_widened(extent)[0] >= size).any():
        return None
    centres = [np.interp(np.arange(len(low)), busy, (low[busy, axis] + high[busy, axis]) / 2) for axis in (0, 1)]
    weights = np.hanning(2 * reach + 3)[1:-1]
    smooth = ndimage.convolve1d(np.stack(centres, axis=1), weights / weights.sum(), axis=0, mode="nearest")
    corners = np.clip(smooth - extent / 2, 0, size - 1 - extent)
    return np.concatenate([corners, np.broadcast_to(extent, corners.shape)], axis=1)


def caption(title: str, width: int, colors: dict[str, Color]) -> np.ndarray:
    """Draw a title and, below it, a legend of the colours: two lines (68, width, 3)."""
    lines = _line(width, title, _DIM), _line(width, "", _DIM)
    x = 10
    for name, color in colors.items():
        dot(lines[1], np.array([x + 7.0, _LINE / 2]), 5.0, color)
        _write(lines[1], name, x + 18, _DIM)
        x += 34 + _text_width(name)
    return np.concatenate(lines)


def _view(image: np.ndarray, box: np.ndarray | None, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the affine map (2, 3) from the image to a panel, and the panel's (height, width)."""
    limit = np.array([image.shape[1], image.shape[0]]) - 1.0
    corner, box_size, margin = (np.zeros(2), limit, 1.0) if box is None else (box[:2], box[2:], MARGIN)
    extent, aspect = _widened(box_size, margin)
    # Shift the view into the image as far as the box stays in view.
    room = limit - extent
    view_corner = corner + (box_size - extent) / 2
    view_corner = np.where(room >= 0, np.clip(view_corner, 0, np.maximum(room, 0)), view_corner)
    view = np.concatenate([np.clip(view_corner, corner + box_size - extent, corner), extent])
    size = height, round(height * aspect)
    return geometry.crop_matrices(view[None], size, padding=1.0)[0], size


def _widened(size: np.ndarray, margin: float = MARGIN) -> tuple[np.ndarray, float]:
    """Return the size (2,) of a view around a box of ``size`` (2,) pixels, and its aspect ratio, which panels allow."""
    aspect = float(np.clip((size[0] + 1) / (size[1] + 1), *ASPECTS))
    return margin * np.maximum(size, size[::-1] * [aspect, 1 / aspect]), aspect


def _in_panel(people: People, matrix: np.ndarray) -> People:
    matrices = np.broadcast_to(matrix, (len(people), 2, 3))
    return people.with_keypoints(geometry.transform(people.keypoints.astype(np.float64), matrices))


def _line(width: int, text: str, color: Color) -> np.ndarray:
    line = np.full((_LINE, width, 3), _GROUND, np.uint8)
    _write(line, text, 10, color)
    return line


def _write(line: np.ndarray, text: str, left: int, color: Color) -> None:
    """Write a text into a line from ``left`` px on, truncated to fit."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's font is ASCII only
    while len(text) > 1 and _text_width(text) > line.shape[1] - left - 10:
        text = text[:-2] + "~"
    cv2.putText(line, text, (left, round(0.67 * _LINE)), _FONT, _SIZE, color, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _SIZE, 1)[0][0])
