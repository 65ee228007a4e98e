"""One picture of everybody: the typical draw with its errors, and beside it the same pose refined."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.demo.experiment import Poses, Trial
from posefix.report.overlay import POSE, keypoint_sides
from synth import ErrorType

WIDTH, DPI = 1600, 100  # px
MARGIN, GAP, PAIR_GAP = 24, 4, 28  # px: around everything, within a pair, between pairs
TITLE, CAPTION, LEGEND = 64, 46, 64  # px
CONTEXT = 1.15  # how much wider than the person's box a panel shows
PER_ROW = 4  # pairs
SIDE_COLOURS = [tuple(channel / 255 for channel in colour) for colour in POSE.sides]  # neither, left, right
WRONG_COLOUR = "#f0142f"


def save_picture(path: Path, truth: People, images: Mapping[int, np.ndarray], trial: Trial, credits: str) -> None:
    """Write the before/after picture as PNG, 1600 px wide.

    Everybody's median draw is shown (:meth:`Trial.median_draws`), people in the order of ``truth`` but the tall boxes
    last. A red ring marks a keypoint that is not Good by keypoint similarity. Keypoints that nobody annotated are not
    drawn.

    Args:
        path: file to write.
        truth: N annotated people.
        images: image id to (H, W, 3) uint8 RGB.
        trial: draws and refined draws of these people.
        credits: whose the photographs are; printed below them.
    """
    rows = _rows(truth.boxes)
    heights = [_panel_height(truth.boxes[row], _panel_width(len(row))) for row in rows]
    total = TITLE + sum(heights) + len(rows) * CAPTION + LEGEND
    figure = Figure(figsize=(WIDTH / DPI, total / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    figure.text(
        MARGIN / WIDTH,
        1 - TITLE / 2 / total,
        "Poses with an estimator's typical errors (left of each pair), refined by PoseFix (right)",
        fontsize=17,
        fontweight="bold",
        va="center",
    )
    chosen = trial.median_draws()
    top = TITLE
    for row, height in zip(rows, heights, strict=True):
        width = _panel_width(len(row))
        for column, person in enumerate(row):
            draw = chosen[person]
            for side, poses in enumerate((trial.before, trial.after)):
                x = MARGIN + column * (2 * width + GAP + PAIR_GAP) + side * (width + GAP)
                place = (x / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total)
                axes = figure.add_axes(place)
                _show_pose(axes, images[int(truth.image_ids[person])], truth[int(person)], poses, (person, draw))
                text = f"{('input', 'refined')[side]}  OKS {poses.oks[person, draw]:.2f}"
                figure.text(place[0] + place[2] / 2, place[1] - 18 / total, text, fontsize=12, ha="center", va="center")
        top += height + CAPTION
    _legend(figure, total)
    figure.text(MARGIN / WIDTH, 16 / total, credits, fontsize=9, color="#666666", va="center")
    canvas.print_png(str(path))


def _rows(boxes: np.ndarray) -> list[np.ndarray]:
    """Who stands in which row of the picture: the tall boxes last, no row shorter than the one above it."""
    order = np.argsort(boxes[:, 3] > 1.5 * boxes[:, 2], kind="stable")
    rows = np.array_split(order[::-1], -(-len(boxes) // PER_ROW))
    return [row[::-1] for row in reversed(rows)]


def _panel_width(pairs: int) -> float:
    return (WIDTH - 2 * MARGIN - (pairs - 1) * PAIR_GAP - pairs * GAP) / (2 * pairs)


def _panel_height(boxes: np.ndarray, width: float) -> int:
    """A height that suits the middle one of the boxes (N, 4)."""
    return round(width * float(np.clip(np.median(boxes[:, 3] / boxes[:, 2]), 1.0, 1.9)))


def _show_pose(axes: Axes, image: np.ndarray, person: People, poses: Poses, which: tuple[int, int]) -> None:
    """The part of the image around a person, with one of the person's poses on it."""
    keypoints, types = poses.keypoints[which], poses.types[which]
    skeleton, known = person.skeleton, person.labelled[0]
    x, y, w, h = _window(person.boxes[0], axes, image.shape)
    axes.imshow(image, interpolation="antialiased")
    axes.set(xlim=(x, x + w), ylim=(y + h, y), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    limbs = skeleton.limbs[known[skeleton.limbs].all(1)]
    segments = keypoints[limbs]
    axes.add_collection(LineCollection(segments, colors="black", linewidths=4.5, alpha=0.55, capstyle="round"))
    axes.add_collection(
        LineCollection(segments, colors=_limb_colours(skeleton, limbs), linewidths=2.6, capstyle="round")
    )
    axes.scatter(*keypoints[known].T, s=17, c="white", edgecolors="black", linewidths=0.8, zorder=3)
    wrong = known & (types != ErrorType.GOOD)
    axes.scatter(*keypoints[wrong].T, s=110, facecolors="none", edgecolors=WRONG_COLOUR, linewidths=2.2, zorder=4)


def _window(box: np.ndarray, axes: Axes, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """xywh in pixels of what a panel shows: the box and its surroundings in the panel's aspect, inside the image where
    the image is large enough."""
    panel = axes.get_window_extent()
    aspect = panel.width / panel.height
    height = CONTEXT * max(box[3], box[2] / aspect)
    height = min(height, shape[0], shape[1] / aspect)
    width = height * aspect
    x, y = box[:2] + box[2:] / 2 - np.array([width, height]) / 2
    return (
        float(np.clip(x, -0.5, shape[1] - 0.5 - width)),
        float(np.clip(y, -0.5, shape[0] - 0.5 - height)),
        width,
        height,
    )


def _limb_colours(skeleton: Skeleton, limbs: np.ndarray) -> list[tuple[float, ...]]:
    """A colour for limbs of the left, one for the right, one for those between."""
    sides = keypoint_sides(skeleton)[limbs]
    of_limb = np.where((sides == 0).any(1) | (sides[:, 0] == sides[:, 1]), sides.max(1), 0)
    return [SIDE_COLOURS[side] for side in of_limb]


def _legend(figure: Figure, total: int) -> None:
    y = (LEGEND - 20) / total
    entries = [
        ("●", SIDE_COLOURS[1], "the person's left"),
        ("●", SIDE_COLOURS[2], "the person's right"),
        ("○", WRONG_COLOUR, "wrong: keypoint similarity to its truth under 0.85, or another keypoint is nearer"),
    ]
    x = MARGIN
    for mark, colour, text in entries:
        figure.text(x / WIDTH, y, mark, color=colour, fontsize=15, fontweight="bold", va="center")
        figure.text((x + 22) / WIDTH, y, text, fontsize=12, va="center")
        x += 60 + 8.6 * len(text)
