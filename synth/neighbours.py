"""Gather the other people in each person's image, to whom keypoints can be swapped, and count overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core import geometry
from posefix.core.neighbours import OtherPeople
from posefix.core.people import People

OVERLAP_IOU = 0.1  # two people overlap if the IoU of their boxes is larger (PoseFix)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The other people in the image of each of N people, padded to the largest number M."""

    keypoints: np.ndarray  # (N, M, K, 2) float32 pixels, in the same coordinates as the people's
    labelled: np.ndarray  # (N, M, K) bool, mask of annotated keypoints; False for padding
    areas: np.ndarray  # (N, M) float32 px^2, the s^2 of OKS; 0 for padding
    overlaps: np.ndarray  # (N,) int64, number of other people whose box overlaps the person's

    def take(self, rows: np.ndarray | slice) -> Neighbours:
        """Select people by int array, bool mask or slice, and remove unused padding."""
        labelled = self.labelled[rows]
        used = labelled.any((0, 2))
        return Neighbours(
            self.keypoints[rows][:, used], labelled[:, used], self.areas[rows][:, used], self.overlaps[rows]
        )


def neighbours_of(people: People, rows: np.ndarray | None = None, index: OtherPeople | None = None) -> Neighbours:
    """Find the other people in each person's image and count overlaps; unknown boxes are derived from the poses.

    Args:
        people: all people.
        rows: (N,) int64 people whose neighbours to find; None for all.
        index: index of ``people``, if already available.
    """
    rows = np.arange(len(people)) if rows is None else rows
    everyone = (index or OtherPeople(people)).rows_in_image(rows)
    others = everyone[everyone != rows[:, None]].reshape(len(rows), max(everyone.shape[1] - 1, 0))
    present = others >= 0
    labelled = (people.scores[others] > 0) & present[..., None]
    keypoints = np.where(labelled[..., None], people.keypoints[others], np.float32(0))
    areas = np.where(present, people.areas[others], np.float32(0))

    unique, inverse = np.unique(np.column_stack([rows, others]), return_inverse=True)
    boxes = geometry.person_boxes(people.boxes[unique], people.keypoints[unique], people.scores[unique] > 0)
    boxes = boxes[inverse].reshape(len(rows), -1, 4) if len(rows) else np.zeros((0, 1, 4))
    overlaps = ((geometry.iou(boxes[:, :1], boxes[:, 1:]) > OVERLAP_IOU) & present).sum(1)
    return Neighbours(keypoints, labelled, areas, overlaps)
