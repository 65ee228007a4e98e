"""Before and after side by side, around one person or over a whole image."""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.core.people import People
from posefix.media.opencv import cv2
from posefix.report.overlay import ANNOTATED, Color, draw_people

PANEL_HEIGHT = 480  # px
PERSON_MARGIN = 1.2  # a panel around a person shows this many times the person's box
MAX_ASPECT = 1.5  # of a panel around a person, either way
_GAP = 6  # px between the panels
_BAR = 34  # px of the caption
_GROUND: Color = (24, 26, 30)
_TEXT: Color = (235, 235, 235)
_DIM: Color = (150, 155, 165)


def side_by_side(
    image: np.ndarray,
    before: People,
    after: People,
    truth: People | None = None,
    title: str = "",
    labels: tuple[str, str] = ("before", "after"),
    box: np.ndarray | None = None,
    threshold: float = 0.0,
    height: int = PANEL_HEIGHT,
) -> np.ndarray:
    """The same part of an image twice, with the poses before on the left and after on the right, under a caption.

    Args:
        image: (H, W, 3) uint8 RGB.
        before: people to draw on the left, in pixels of the image.
        after: people to draw on the right.
        truth: annotated people, drawn thin and green over the others on both sides.
        title: the caption.
        labels: what is written above the two panels.
        box: (4,) xywh pixels, the part of the image to show, widened to show the surroundings; all of it if None.
        threshold: keypoints whose score is not above it are not drawn.
        height: of the panels in pixels; small people are enlarged to it.

    Returns:
        (height + captions, W', 3) uint8 RGB; the width follows from the box's aspect ratio.
    """
    matrix, size = _view(image, box, height)
    panel = _warp(image, matrix, size)
    panels = [draw_people(panel, _moved(people, matrix), threshold) for people in (before, after)]
    if truth is not None:
        panels = [draw_people(drawn, _moved(truth, matrix), style=ANNOTATED) for drawn in panels]
    gap = np.full((panel.shape[0], _GAP, 3), _GROUND, np.uint8)
    picture = np.concatenate([panels[0], gap, panels[1]], axis=1)
    width = picture.shape[1]
    headings = np.full((_BAR, width, 3), _GROUND, np.uint8)
    for label, left in zip(labels, (0, panel.shape[1] + _GAP), strict=True):
        _write(headings, label, left + 10, panel.shape[1] - 20, _TEXT)
    rows = [headings, picture]
    if title:
        caption = np.full((_BAR, width, 3), _GROUND, np.uint8)
        _write(caption, title, 10, width - 20, _DIM)
        rows.append(caption)
    return np.concatenate(rows)


def person_view(before: People, after: People, truth: People | None = None) -> np.ndarray:
    """(4,) float64 xywh box around everything that is drawn of one person; strays are left out of it."""
    groups = [before, after] + ([truth] if truth is not None else [])
    boxes = np.concatenate([geometry.pose_boxes(people.keypoints, people.labelled) for people in groups])
    boxes = boxes[geometry.known_boxes(boxes)]
    if not len(boxes):
        return np.zeros(4)
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return np.concatenate([low, high - low])


def _view(image: np.ndarray, box: np.ndarray | None, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Map (2, 3) from the image to a panel, and the panel's (height, width)."""
    rows, columns = image.shape[:2]
    if box is None or box[2] <= 0 or box[3] <= 0:
        whole = np.array([[0, 0, columns - 1, rows - 1]], np.float64)
        size = (height, int(np.clip(round(height * columns / rows), height // 4, 4 * height)))
        return geometry.crop_matrices(whole, size, padding=1.0)[0], size
    aspect = float(np.clip(box[2] / box[3], 1 / MAX_ASPECT, MAX_ASPECT))
    size = (height, round(height * aspect))
    extent = PERSON_MARGIN * np.array([max(box[2], box[3] * aspect), max(box[3], box[2] / aspect)])
    corner = box[:2] + (box[2:] - extent) / 2
    # Rather the surroundings on the other side than nothing beyond the image's border, as long as the box is in view.
    room = np.array([columns, rows]) - 1 - extent
    inside = np.where(room >= 0, np.clip(corner, 0, np.maximum(room, 0)), corner)
    corner = np.clip(inside, box[:2] + box[2:] - extent, box[:2])
    return geometry.crop_matrices(np.concatenate([corner, extent])[None], size, padding=1.0)[0], size


def _warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The panel (height, width, 3) that a map (2, 3) makes of an image; ground where the image ends."""
    zoom = float(geometry.map_scale(matrix[None])[0])
    if zoom < 0.5:  # a warp looks at 16 pixels at most: shrink by areas first, against aliasing
        rows, columns = (max(1, round(side * zoom)) for side in image.shape[:2])
        shrunk = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        ratio = np.array([image.shape[1] / columns, image.shape[0] / rows])
        image = shrunk
        # Pixel areas, not centres, are shared out by the resizing: x = ratio * (x' + 0.5) - 0.5.
        grown = np.concatenate([np.diag(ratio), (0.5 * ratio - 0.5)[:, None]], axis=1)
        matrix = geometry.compose(matrix[None], grown[None])[0]
    interpolation = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(
        image, matrix, (size[1], size[0]), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=_GROUND
    )


def _moved(people: People, matrix: np.ndarray) -> People:
    matrices = np.broadcast_to(matrix, (len(people), 2, 3))
    return people.with_keypoints(geometry.transform(people.keypoints.astype(np.float64), matrices))


def _write(bar: np.ndarray, text: str, left: int, width: int, color: Color) -> None:
    """One line of text into a caption, as much of it as fits into ``width`` pixels."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.55
    while len(text) > 1 and cv2.getTextSize(text, font, size, 1)[0][0] > width:
        text = text[:-2] + "~"
    cv2.putText(bar, text, (left, round(0.67 * _BAR)), font, size, color, 1, cv2.LINE_AA)
