"""Show a pose of a video from the side, lifted to 3D, beside its picture before and after."""

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

REACH = 27  # frames before and after a pose that are lifted with it
ASPECT, FILLED = 0.7, 0.85  # of a panel: width by height; share of it that the pose fills
LABELS = "before, from the side", "after, from the side"


class SideViews:
    """Add views from the side to pictures; none if ``skeleton`` cannot be lifted."""

    def __init__(self, skeleton: Skeleton) -> None:
        try:
            self._lifter: Lifter | None = Lifter.from_pretrained(skeleton=skeleton)
        except InputError:  # the skeleton lacks keypoints for lifting
            self._lifter = None

    def beside(
        self, picture: np.ndarray, tracks: Sequence[Track], i: int, image: np.ndarray, height: int
    ) -> np.ndarray:
        """Add a panel for each track.

        Args:
            picture: (H, W, 3) uint8 RGB, of :func:`posefix.report.drawing.side_by_side`.
            tracks: the person before and after, in pixels.
            i: index of the frame shown.
            image: (H', W', 3), that frame.
            height: of the picture's panels in pixels.

        Returns:
            (H, W'', 3) uint8 RGB.
        """
        if self._lifter is None:
            return picture
        camera = camera_of(image.shape[1], image.shape[0])
        window = slice(max(i - REACH, 0), i + REACH + 1)
        lifted = self._lifter.tracks([_cut(track, window) for track in tracks], camera)
        # Seen from the camera's right: depth increases to the right.
        side_views = np.stack([track.keypoints[i - window.start][:, [2, 1]] for track in lifted.tracks])
        finite = side_views[np.isfinite(side_views).all(-1)]
        if not len(finite):
            return picture
        low, high = finite.min(0), finite.max(0)
        size = np.array([round(ASPECT * height), height])
        pixels = (side_views - (low + high) / 2) * (FILLED * size / np.maximum(high - low, 1e-3)).min() + size / 2
        valid = np.isfinite(pixels).all(-1)
        people = People(lifted.skeleton, np.nan_to_num(pixels), valid.astype(np.float32), np.arange(len(valid)))
        for row, label in enumerate(LABELS):
            panel = np.zeros((size[1], size[0], 3), np.uint8)
            picture = add_column(picture, draw_people(panel, people[[row]]), label)
        return picture


def _cut(track: Track, part: slice) -> Track:
    arrays = {name: getattr(track, name)[part] for name in ("frames", "times", "keypoints", "rows")}
    return replace(track, **arrays)
