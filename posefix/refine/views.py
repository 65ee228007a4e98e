"""Choose the parts of the image that are cut out for each person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from posefix.core import geometry
from posefix.core.people import FARTHEST, People

LEAST_POSED = 3  # keypoints, from which on a pose has an extent


@dataclass(frozen=True, eq=False)
class Views:
    """V crops of people: most people have one, those whose pose is not in their box have two, one after the other.

    Of two views the first has the box without the pose, the second the pose without the box. Where the box is far too
    large, the only view is the extent of the pose.
    """

    rows: np.ndarray  # (V,) int64 of the person in the People that views were made of
    boxes: np.ndarray  # (V, 4) xywh: the person's box, else the extent of the pose; that, in a second view
    maps: np.ndarray  # (V, 2, 3) from original pixels to the frame's
    posed: np.ndarray  # (V,) bool, whether the pose is input in this view
    contradicted: np.ndarray  # (V,) bool, whether the person's box is elsewhere, or far larger than the pose

    @classmethod
    def of(cls, people: People, rows: np.ndarray, frame_size: tuple[int, int], padding: float) -> Views:
        """Make the views of the people at ``rows``, in that order; boxes are widened by ``padding`` to fill the frame.

        People without box whose pose has fewer than ``LEAST_POSED`` keypoints have none.
        """
        chosen = people[rows]
        elsewhere, loose = geometry.contradicted_boxes(chosen.boxes, chosen.keypoints, chosen.scores)
        extents = geometry.pose_boxes(chosen.keypoints, chosen.labelled)
        extents[chosen.labelled.sum(1) < LEAST_POSED] = 0
        usable = geometry.known_boxes(chosen.boxes) & (np.abs(chosen.boxes) <= FARTHEST).all(1) & ~loose
        first = np.where(usable[:, None], chosen.boxes, extents)
        number = np.repeat(np.arange(len(rows)), geometry.known_boxes(first) * (1 + elsewhere))
        second = np.zeros(len(number), bool)
        second[1:] = number[1:] == number[:-1]
        boxes = np.where(second[:, None], extents[number], first[number])
        maps = geometry.crop_matrices(boxes, frame_size, padding)
        return cls(rows[number], boxes, maps, second | ~elsewhere[number], (elsewhere | loose)[number])

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def joined(cls, parts: Sequence[Views]) -> Views:
        """The views of several parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    def take(self, index: slice | np.ndarray) -> Views:
        """The views at ``index``."""
        return Views(*(getattr(self, column.name)[index] for column in fields(self)))
