"""Videos of poses before and after."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.media.opencv import cv2
from posefix.report.panels import PANEL_HEIGHT, side_by_side

DEFAULT_FPS = 25.0  # where the source does not know


class VideoWriter:
    """A video file that is there, whole, once it is closed, and not before.

    Frames go to a file beside it, which takes its place on closing; when an exception ends the ``with`` block, nothing
    is left behind::

        with VideoWriter("both.mp4", fps=25, size=(1286, 548)) as video:
            video.write(frame)

    Args:
        path: of the video; its folder must be there. The suffix decides the container (``.mp4``, ``.avi``, ``.mkv``).
        fps: frames a second; 25 where None.
        size: (width, height) of the frames in pixels; the video is a pixel larger where one of them is odd.

    Raises:
        InputError: the file cannot be written, or not with this suffix; or, on closing, nothing that can be played was
            written, as on a full disk.
    """

    def __init__(self, path: str | Path, fps: float | None, size: tuple[int, int]) -> None:
        self.path = Path(path)
        self.size = size
        self.frames = 0
        if not os.path.isdir(self.path.parent):
            raise InputError(f"{path}: cannot be written, there is no folder {self.path.parent}")
        if os.path.isdir(self.path):
            raise InputError(f"{path}: is a folder, expected the name of a video to write")
        self._padding = size[1] % 2, size[0] % 2  # MPEG-4 stores even sizes only, and would cut the last row off
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part{self.path.suffix}")
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        stored = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._writer = cv2.VideoWriter(str(self._temporary), codec, fps or DEFAULT_FPS, stored)
        if not self._writer.isOpened():
            self.discard()
            raise InputError(f"{path}: no video can be written here; check the folder, and use the suffix .mp4")

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (height, width, 3) uint8 RGB of the video's size; raises ValueError for another size."""
        if frame.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"a frame of shape {frame.shape} for a video of {self.size[0]}x{self.size[1]}")
        bottom, right = self._padding
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        self._writer.write(cv2.copyMakeBorder(bgr, 0, bottom, 0, right, cv2.BORDER_REPLICATE))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and put it in its place; raises InputError when it did not come out as a video."""
        self._writer.release()
        written = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        whole = written.isOpened()
        written.release()
        if not whole:
            self.discard()
            raise InputError(f"{self.path}: {self.frames} frames could not be written; is there space on the disk?")
        os.replace(self._temporary, self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Give the video up; nothing is left behind."""
        self._writer.release()
        with suppress(OSError):
            self._temporary.unlink()


def write_comparison(
    path: str | Path,
    frames: Iterable[tuple[int, np.ndarray]],
    before: People,
    after: People,
    fps: float | None = None,
    threshold: float = 0.0,
    height: int = PANEL_HEIGHT,
) -> int:
    """Write a video that shows each frame twice, with the poses before on the left and after on the right.

    Args:
        path: of the video to write.
        frames: frame numbers and (H, W, 3) uint8 RGB frames of one size, in order.
        before: people of any frames; ``image_ids`` are frame numbers.
        after: the same.
        fps: frames a second.
        threshold: keypoints whose score is not above it are not drawn.
        height: of the frames' panels in pixels.

    Returns:
        The number of frames written; with none there is no video.

    Raises:
        InputError: the file cannot be written.
    """
    ordered = [people[np.argsort(people.image_ids, kind="stable")] for people in (before, after)]
    writer: VideoWriter | None = None
    try:
        for index, frame in frames:
            shown = (p[slice(*np.searchsorted(p.image_ids, [index, index + 1]))] for p in ordered)
            picture = side_by_side(frame, *shown, title=f"frame {index}", threshold=threshold, height=height)
            if writer is None:
                writer = VideoWriter(path, fps, (picture.shape[1], picture.shape[0]))
            writer.write(picture)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
    if writer is None:
        return 0
    writer.close()
    return writer.frames
