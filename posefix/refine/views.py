"""Which part of the image is looked at for each person."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from posefix.core import geometry
from posefix.core.people import FARTHEST, People


@dataclass(frozen=True, eq=False)
class Views:
    """V views of people, one after another: most have one, those whose pose is not in their box have two.

    Where the box is far too large, the extent of the pose is the view. Of two views the first is the box without the
    pose, which is not that person's; the second the pose without the box. So a person moves as a whole, or stays as a
    whole.

    Attributes:
        people: (V,) int64, the number of the person, ascending.
        rows: (V,) int64 of the person in the :class:`~posefix.core.people.People` that views were made of.
        boxes: (V, 4) xywh, what is looked at: the person's box, else the extent of the pose; that, in a second view.
        maps: (V, 2, 3) from original pixels to the frame's.
        posed: (V,) bool, whether the pose is believed to be in the view.
    """

    people: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    maps: np.ndarray
    posed: np.ndarray

    @classmethod
    def of(cls, people: People, rows: np.ndarray, frame_size: tuple[int, int], padding: float) -> Views:
        """Views of the people at ``rows``, in that order, in frames of a size; boxes are widened by ``padding``."""
        chosen = people[rows]
        doubtful, loose = geometry.contradicted_boxes(chosen.boxes, chosen.keypoints, chosen.scores)
        number = np.repeat(np.arange(len(rows)), 1 + doubtful)
        second = np.zeros(len(number), bool)
        second[1:] = number[1:] == number[:-1]
        extents = geometry.pose_boxes(chosen.keypoints, chosen.labelled)
        usable = geometry.known_boxes(chosen.boxes) & (np.abs(chosen.boxes) <= FARTHEST).all(1) & ~loose
        boxes = np.where(usable[:, None], chosen.boxes, extents)
        boxes = np.where(second[:, None], extents[number], boxes[number])
        maps = geometry.crop_matrices(boxes, frame_size, padding)
        return cls(number, rows[number], boxes, maps, second | ~doubtful[number])

    def of_people(self, start: int, end: int) -> Views:
        """The views of the people numbered from ``start`` to ``end``, exclusive."""
        return self.take(slice(*np.searchsorted(self.people, [start, end])))

    def take(self, index: slice | np.ndarray) -> Views:
        """The views at ``index``."""
        return Views(*(getattr(self, column.name)[index] for column in fields(self)))
