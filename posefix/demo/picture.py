"""Draw one picture of everybody: the typical draw with its errors, and beside it the same pose refined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from posefix.core.people import People
from posefix.demo.experiment import Trial
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


def before_after(truth: People, images: Mapping[int, np.ndarray], trial: Trial, title: str) -> np.ndarray:
    """Draw everybody's median draw (:meth:`Trial.median_draws`) before and after, side by side.

    A red ring marks a keypoint that is not Good. Keypoints that are not annotated are not drawn.

    Args:
        truth: N annotated people.
        images: image id to (H, W, 3) uint8 RGB.
        trial: draws and refined draws of these people.
        title: written below.

    Returns:
        (H, 1600, 3) uint8 RGB.
    """
    rows = [_row(truth[i : i + PER_ROW], images, trial, slice(i, i + PER_ROW)) for i in range(0, len(truth), PER_ROW)]
    return np.concatenate([*rows, *caption(title, WIDTH, LEGEND)])


def _row(truth: People, images: Mapping[int, np.ndarray], trial: Trial, people: slice) -> np.ndarray:
    """Some of the people beside each other, all of one height, as wide as the picture."""
    cells = []
    for i, draw in enumerate(trial.median_draws()[people]):
        person = truth[[i]]
        before, after = (person.with_keypoints(t.keypoints[people][[i], draw]) for t in (trial.before, trial.after))
        wrong = tuple(t.types[people][[i], draw] > ErrorType.GOOD for t in (trial.before, trial.after))
        oks = [t.oks[people][i, draw] for t in (trial.before, trial.after)]
        labels = f"input, OKS {oks[0]:.2f}", f"refined, OKS {oks[1]:.2f}"
        image, box = images[int(person.image_ids[0])], person.boxes[0]
        cells.append(side_by_side(image, before, after, labels=labels, box=box, height=600, wrong=(wrong[0], wrong[1])))
    gap = np.zeros((cells[0].shape[0], GAP, 3), np.uint8)
    joined = np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=1)
    height = round(joined.shape[0] * WIDTH / joined.shape[1])
    return cv2.resize(joined, (WIDTH, height), interpolation=cv2.INTER_AREA)
