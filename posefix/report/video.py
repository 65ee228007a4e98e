"""Write videos of poses before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from posefix.core.people import People
from posefix.media.video import write_video
from posefix.report.panels import people_view, side_by_side


def write_comparison(
    path: str | Path,
    frames: Iterable[tuple[int, np.ndarray]],
    before: People,
    after: People,
    fps: float | None = None,
) -> int:
    """Write a video that shows each frame twice, with the poses before on the left and after on the right.

    A wide shot is cut around all people of all frames.

    Args:
        path: of the video to write, ending in ``.mp4``.
        frames: frame numbers and (H, W, 3) uint8 RGB frames of one size, in order.
        before: people of any frames; ``image_ids`` are frame numbers.
        after: the same.
        fps: frames a second.

    Returns:
        The number of frames written; with none there is no video.

    Raises:
        InputError: the file cannot be written.
    """
    ordered = [people[np.argsort(people.image_ids, kind="stable")] for people in (before, after)]

    def pictures() -> Iterator[np.ndarray]:
        box: np.ndarray | None = None
        for i, (index, frame) in enumerate(frames):
            if i == 0:
                box = people_view(frame, before, after)
            left, right = (p[slice(*np.searchsorted(p.image_ids, [index, index + 1]))] for p in ordered)
            yield side_by_side(frame, left, right, title=f"frame {index}", box=box)

    return write_video(path, fps, pictures())
