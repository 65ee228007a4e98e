"""Draw before and after side by side, around some people or over a whole image."""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.core.people import People
from posefix.media.crops import shrink
from posefix.media.opencv import cv2
from posefix.report.overlay import ANNOTATED, POSE, WRONG, Color, dot, draw_people

PANEL_HEIGHT = 480  # px
MARGIN = 1.2  # a panel around people shows this many times their box
MAX_ASPECT = 1.5  # of a panel around people, either way
WIDE = 0.6  # people who fill less than this share of an image's height or width are cut out of it
_GAP = 6  # px between the panels
_BAR = 34  # px of a line of text
_TITLE_ROOM = 150  # px; where the legend leaves less, it gets a line of its own
_GROUND: Color = (24, 26, 30)
_TEXT: Color = (235, 235, 235)
_DIM: Color = (165, 170, 180)


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
        title: written below, with the legend of the colours; without one there is neither.
        labels: what is written above the two panels.
        box: (4,) xywh pixels, the part of the image to show, widened to show the surroundings; all of it if None.
        height: of the panels in pixels; small people are enlarged to it.
        wrong: (N, K) and (M, K) bool, keypoints to ring in red.

    Returns:
        (height + lines of text, W', 3) uint8 RGB; the width follows from the box's aspect ratio.
    """
    matrix, size = _view(image, box, height)
    panel = _warp(image, matrix, size)
    rings = wrong or (None, None)
    panels = [
        draw_people(panel, _moved(people, matrix), wrong=ring)
        for people, ring in zip((before, after), rings, strict=True)
    ]
    if truth is not None:
        panels = [draw_people(drawn, _moved(truth, matrix), style=ANNOTATED) for drawn in panels]
    gap = np.full((panel.shape[0], _GAP, 3), _GROUND, np.uint8)
    picture = np.concatenate([panels[0], gap, panels[1]], axis=1)
    headings = _bar(picture.shape[1])
    for label, left in zip(labels, (0, panel.shape[1] + _GAP), strict=True):
        _write(headings, label, left + 10, panel.shape[1] - 20, _TEXT)
    rows = [headings, picture]
    if title:
        colors = [("left", POSE.left), ("right", POSE.right)]
        colors += [("annotated", ANNOTATED.left)] if truth is not None else []
        colors += [("wrong", WRONG)] if wrong is not None else []
        rows += caption(title, picture.shape[1], colors)
    return np.concatenate(rows)


def people_view(*groups: People) -> np.ndarray:
    """(4,) float64 xywh box around all keypoints of the people, zeros where there are none; strays are left out."""
    boxes = np.concatenate([geometry.pose_boxes(people.keypoints, people.labelled) for people in groups])
    boxes = boxes[geometry.known_boxes(boxes)]
    if not len(boxes):
        return np.zeros(4)
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return np.concatenate([low, high - low])


def scene_view(image: np.ndarray, *groups: People) -> np.ndarray | None:
    """(4,) box to show of an image: :func:`people_view` in a wide shot, else None for all of it."""
    box = people_view(*groups)
    share = box[2:] / (image.shape[1], image.shape[0])
    return box if share.max() < WIDE else None


def _view(image: np.ndarray, box: np.ndarray | None, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the map (2, 3) from the image to a panel, and the panel's (height, width)."""
    rows, columns = image.shape[:2]
    if box is None or box[2] <= 0 or box[3] <= 0:
        whole = np.array([[0, 0, columns - 1, rows - 1]], np.float64)
        size = (height, int(np.clip(round(height * columns / rows), height // 4, 4 * height)))
        return geometry.crop_matrices(whole, size, padding=1.0)[0], size
    aspect = float(np.clip(box[2] / box[3], 1 / MAX_ASPECT, MAX_ASPECT))
    size = (height, round(height * aspect))
    extent = MARGIN * np.array([max(box[2], box[3] * aspect), max(box[3], box[2] / aspect)])
    corner = box[:2] + (box[2:] - extent) / 2
    # Move the part into the image, so that no ground is shown, as far as the box stays in view.
    room = np.array([columns, rows]) - 1 - extent
    inside = np.where(room >= 0, np.clip(corner, 0, np.maximum(room, 0)), corner)
    corner = np.clip(inside, box[:2] + box[2:] - extent, box[:2])
    return geometry.crop_matrices(np.concatenate([corner, extent])[None], size, padding=1.0)[0], size


def _warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp an image to a panel (height, width, 3) by a map (2, 3); the ground's colour is where the image ends."""
    zoom = float(geometry.map_scale(matrix[None])[0])
    if zoom < 0.5:  # a warp looks at 16 pixels at most: shrink first, against aliasing
        image, enlarge = shrink(image, min(int(1 / zoom), max(image.shape[:2])))
        matrix = geometry.compose(matrix[None], enlarge[None])[0]
    interpolation = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(
        image, matrix, (size[1], size[0]), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=_GROUND
    )


def _moved(people: People, matrix: np.ndarray) -> People:
    matrices = np.broadcast_to(matrix, (len(people), 2, 3))
    return people.with_keypoints(geometry.transform(people.keypoints.astype(np.float64), matrices))


def _bar(width: int) -> np.ndarray:
    return np.full((_BAR, width, 3), _GROUND, np.uint8)


def caption(title: str, width: int, colors: list[tuple[str, Color]]) -> list[np.ndarray]:
    """Write the title and what the colours mean, in one line (34, width, 3) or, of a narrow picture, in two.

    How many lines there are does not depend on the title: all frames of a video are of one size.
    """
    legend = sum(18 + _text_width(name) + 16 for name, _ in colors)
    one_line = width - legend - 20 >= _TITLE_ROOM
    bars = [_bar(width) for _ in range(1 if one_line else 2)]
    _write(bars[0], title, 10, width - 20 - one_line * legend, _DIM)
    left = width - legend if one_line else 10
    for name, color in colors:
        dot(bars[-1], np.array([left + 7.0, _BAR / 2]), 5.0, color)
        _write(bars[-1], name, left + 18, max(width - left - 18, 1), _DIM)
        left += 18 + _text_width(name) + 16
    return bars


_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.52


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _SIZE, 1)[0][0])


def _write(bar: np.ndarray, text: str, left: int, width: int, color: Color) -> None:
    """Write as much of a text into a bar as fits into ``width`` pixels."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    while len(text) > 1 and _text_width(text) > width:
        text = text[:-2] + "~"
    cv2.putText(bar, text, (left, round(0.67 * _BAR)), _FONT, _SIZE, color, 1, cv2.LINE_AA)
