"""Find the other people in each person's image: to whom a keypoint can be swapped, and how many overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core import geometry
from posefix.core.people import People

OVERLAP_IOU = 0.1  # two people overlap when their boxes' intersection over union is above this (PoseFix)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The other people in the image of each of N people, padded to the most there are.

    Attributes:
        keypoints: (N, M, K, 2) float32 pixels, in the same coordinates as the people's.
        labelled: (N, M, K) bool, which of them are annotated; False throughout for padding.
        areas: (N, M) float32, px^2, the s^2 of OKS of each neighbour; 0 for padding.
        overlaps: (N,) int64, how many of the others have a box that overlaps with the person's.
    """

    keypoints: np.ndarray
    labelled: np.ndarray
    areas: np.ndarray
    overlaps: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Neighbours:
        """The neighbours of the people at ``rows`` (int array, bool mask or slice), M cut to the most among them."""
        labelled = self.labelled[rows]
        used = labelled.any((0, 2))
        return Neighbours(
            self.keypoints[rows][:, used], labelled[:, used], self.areas[rows][:, used], self.overlaps[rows]
        )


@dataclass(frozen=True, eq=False)
class NeighbourIndex:
    """Neighbours of a whole data set as row numbers, a few bytes a person; :meth:`gather` makes those of a batch.

    Attributes:
        rows: (N, M) int32 rows of the people it was built from, -1 for padding, which comes last.
        overlaps: (N,) int64, as in :class:`Neighbours`.
    """

    rows: np.ndarray
    overlaps: np.ndarray

    def gather(self, people: People, batch: np.ndarray | slice = slice(None)) -> Neighbours:
        """Neighbours of ``people[batch]``; ``people`` are those that the index was built from."""
        rows = self.rows[batch]
        present = rows >= 0
        most = int(present.sum(1).max(initial=0))
        rows, present = rows[:, :most], present[:, :most]
        labelled = people.labelled[rows] & present[..., None]
        keypoints = np.where(labelled[..., None], people.keypoints[rows], np.float32(0))
        areas = np.where(present, people.areas[rows], np.float32(0))
        return Neighbours(keypoints, labelled, areas, self.overlaps[batch])


def neighbour_index(people: People) -> NeighbourIndex:
    """Find the other people of each person's image and count overlaps; boxes not given come from the poses."""
    n = len(people)
    order = np.argsort(people.image_ids, kind="stable")
    _, first, count = np.unique(people.image_ids[order], return_index=True, return_counts=True)
    group_first, group_count = np.repeat(first, count), np.repeat(count, count)
    place = np.arange(n) - group_first
    other = np.arange(int(count.max(initial=1)) - 1)[None]
    sorted_rows = group_first[:, None] + other + (other >= place[:, None])
    present = other < group_count[:, None] - 1
    rows = np.full(present.shape, -1, np.int32)
    rows[order] = np.where(present, order[np.where(present, sorted_rows, 0)], -1) if n else rows

    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    person, column = np.nonzero(rows >= 0)
    overlapping = geometry.iou(boxes[person], boxes[rows[person, column]]) > OVERLAP_IOU
    return NeighbourIndex(rows, np.bincount(person[overlapping], minlength=n))


def neighbours_of(people: People) -> Neighbours:
    """The other people in each person's image, ready for :func:`synth.sampler.synthesize`."""
    return neighbour_index(people).gather(people)
