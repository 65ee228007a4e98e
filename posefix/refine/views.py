"""Choose the crops of each person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from posefix.core import geometry
from posefix.core.people import MAX_COORDINATE, People


@dataclass(frozen=True, eq=False)
class Views:
    """V crops of people: one per person, or two adjacent ones if the pose is not in the box.

    Of two views, the first shows the box and has no input pose, the second shows the pose and has no box. If the box is
    far too large, the only view shows the extent of the pose.
    """

    rows: np.ndarray  # (V,) int64 index of the person in the People
    boxes: np.ndarray  # (V, 4) xywh: the person's box, or the extent of the pose (without a box, and in a second view)
    maps: np.ndarray  # (V, 2, 3) affine maps from image pixels to frame pixels
    posed: np.ndarray  # (V,) bool, whether the pose is an input of this view
    contradicted: np.ndarray  # (V,) bool, whether the person's box is away from the pose, or far larger

    @classmethod
    def of(cls, people: People, rows: np.ndarray, frame_size: tuple[int, int], padding: float) -> Views:
        """Create the views of the people at ``rows``, in that order; ``padding`` is the crop's size over the box's.

        People without a box and with fewer than 3 keypoints have no view.
        """
        selected = people[rows]
        elsewhere, loose = geometry.contradicted_boxes(selected.boxes, selected.keypoints, selected.scores)
        extents = geometry.pose_boxes(selected.keypoints, selected.labelled)
        extents[selected.labelled.sum(1) < geometry.MIN_KEYPOINTS] = 0
        usable = geometry.known_boxes(selected.boxes) & (np.abs(selected.boxes) <= MAX_COORDINATE).all(1) & ~loose
        first_boxes = np.where(usable[:, None], selected.boxes, extents)
        person = np.repeat(np.arange(len(rows)), geometry.known_boxes(first_boxes) * (1 + elsewhere))
        is_second = np.zeros(len(person), bool)
        is_second[1:] = person[1:] == person[:-1]
        boxes = np.where(is_second[:, None], extents[person], first_boxes[person])
        maps = geometry.crop_matrices(boxes, frame_size, padding)
        return cls(rows[person], boxes, maps, is_second | ~elsewhere[person], (elsewhere | loose)[person])

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def joined(cls, parts: Sequence[Views]) -> Views:
        """Concatenate views."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    def take(self, index: slice | np.ndarray) -> Views:
        """Select views."""
        return Views(*(getattr(self, column.name)[index] for column in fields(self)))
