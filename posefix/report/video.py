"""Write videos of poses before and after."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from posefix.core.people import People
from posefix.media.video import VideoWriter
from posefix.report.panels import scene_view, side_by_side


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
    writer: VideoWriter | None = None
    box: np.ndarray | None = None
    with ExitStack() as stack:
        for index, frame in frames:
            if writer is None:
                box = scene_view(frame, before, after)
            left, right = (p[slice(*np.searchsorted(p.image_ids, [index, index + 1]))] for p in ordered)
            picture = side_by_side(frame, left, right, title=f"frame {index}", box=box)
            if writer is None:
                writer = stack.enter_context(VideoWriter(path, fps, (picture.shape[1], picture.shape[0])))
            writer.write(picture)
    return writer.frames if writer is not None else 0
