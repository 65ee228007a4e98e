"""Show a pose of a video from the side, lifted into depth, beside the picture of it before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.lifting.lift import Lifter, camera_of
from posefix.motion.tracks import Track
from posefix.report.drawing import add_column, draw_people

REACH = 27  # frames before and after that are lifted along with a pose
ASPECT, FILLED = 0.7, 0.85  # of a panel; share of it that the pose takes
LABELS = "before, from the side", "after, from the side"


class SideViews:
    """Adds views from the side, with the camera at the left, to pictures; none where ``skeleton`` cannot be lifted."""

    def __init__(self, skeleton: Skeleton) -> None:
        try:
            self._lifter: Lifter | None = Lifter.from_pretrained(skeleton=skeleton)
        except InputError:  # it lacks keypoints that lifting needs
            self._lifter = None

    def beside(
        self, picture: np.ndarray, tracks: Sequence[Track], i: int, image: np.ndarray, height: int
    ) -> np.ndarray:
        """Add a panel for each of the tracks.

        Args:
            picture: (H, W, 3) uint8 RGB, of :func:`posefix.report.drawing.side_by_side`.
            tracks: the person before and after, in pixels.
            i: which of their frames is shown.
            image: (H', W', 3), that frame.
            height: of the picture's panels in pixels.

        Returns:
            (H, W'', 3) uint8 RGB.
        """
        if self._lifter is None:
            return picture
        camera = camera_of(image.shape[1], image.shape[0])
        part = slice(max(i - REACH, 0), i + REACH + 1)
        lifted = self._lifter.tracks([_cut(track, part) for track in tracks], camera)
        # As seen from the camera's right: what is far from the camera is at the right.
        sides = np.stack([track.keypoints[i - part.start][:, [2, 1]] for track in lifted.tracks])
        known = sides[np.isfinite(sides).all(-1)]
        if not len(known):
            return picture
        low, high = known.min(0), known.max(0)
        size = np.array([round(ASPECT * height), height])
        pixels = (sides - (low + high) / 2) * (FILLED * size / (high - low)).min() + size / 2
        seen = np.isfinite(pixels).all(-1)
        people = People(lifted.skeleton, np.nan_to_num(pixels), seen.astype(np.float32), np.arange(len(seen)))
        for row, label in enumerate(LABELS):
            panel = np.zeros((size[1], size[0], 3), np.uint8)
            picture = add_column(picture, draw_people(panel, people[[row]]), label)
        return picture


def _cut(track: Track, part: slice) -> Track:
    arrays = {name: getattr(track, name)[part] for name in ("frames", "times", "keypoints", "rows")}
    return replace(track, **arrays)
