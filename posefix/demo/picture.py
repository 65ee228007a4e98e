"""Draw one picture of everybody: the typical draw with its errors, and beside it the same pose refined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from posefix.core.people import People
from posefix.demo.experiment import Poses, median_draws
from posefix.media.opencv import cv2
from posefix.report.overlay import POSE, WRONG
from posefix.report.panels import caption, side_by_side
from synth import ErrorType

WIDTH = 1600  # px
PER_ROW = 2  # people
GAP = 10  # px between people
LEGEND = [
    ("the person's left", POSE.left),
    ("right", POSE.right),
    ("wrong: not within the tolerance of OKS, or at another joint", WRONG),
]


def before_after(
    truth: People, images: Mapping[int, np.ndarray], before: Poses, after: Poses, title: str
) -> np.ndarray:
    """Draw everybody's median draw before and after, side by side.

    A red ring marks a keypoint that is not Good. Keypoints that are not annotated are not drawn.

    Args:
        truth: N annotated people.
        images: image id to (H, W, 3) uint8 RGB.
        before: draws of erroneous poses of these people.
        after: the same, refined.
        title: written below.

    Returns:
        (H, 1600, 3) uint8 RGB.
    """
    cells = []
    for i, draw in enumerate(median_draws(before, after)):
        person = truth[[i]]
        poses = [person.with_keypoints(found.keypoints[[i], draw]) for found in (before, after)]
        wrong = before.types[[i], draw] > ErrorType.GOOD, after.types[[i], draw] > ErrorType.GOOD
        labels = f"input, OKS {before.oks[i, draw]:.2f}", f"refined, OKS {after.oks[i, draw]:.2f}"
        image, box = images[int(person.image_ids[0])], person.boxes[0]
        cells.append(side_by_side(image, *poses, labels=labels, box=box, height=600, wrong=wrong))
    rows = [_row(cells[i : i + PER_ROW]) for i in range(0, len(cells), PER_ROW)]
    return np.concatenate([*rows, *caption(title, WIDTH, LEGEND)])


def _row(cells: list[np.ndarray]) -> np.ndarray:
    """Put pictures of one height beside each other, as wide as the whole picture."""
    joined = np.concatenate([np.pad(cell, ((0, 0), (0, GAP), (0, 0))) for cell in cells], axis=1)[:, :-GAP]
    height = round(joined.shape[0] * WIDTH / joined.shape[1])
    return cv2.resize(joined, (WIDTH, height), interpolation=cv2.INTER_AREA)
