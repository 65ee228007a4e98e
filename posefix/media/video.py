"""Reading videos: every frame once, in order."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.media.opencv import cv2


class VideoFrames:
    """The frames of a video, numbered from 0.

    Each iteration decodes the file once, from the first frame to the last, holding one frame at a time::

        for index, frame in VideoFrames("walk.mp4"):
            ...

    Attributes:
        path: of the video.
        fps: frames a second, or None where the file does not say.
        frame_count: how many frames the file says it has (there may be fewer, or more), or None where it does not
            say.
        size: (width, height) of a frame in pixels.

    Raises:
        InputError: the file is missing, or not a single frame of it can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        capture, first = self._open()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = float(fps) if math.isfinite(fps) and fps > 0 else None
        self.frame_count = int(count) if math.isfinite(count) and count > 0 else None
        self.size = (first.shape[1], first.shape[0])

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Frame number and (H, W, 3) uint8 RGB frame; frames that are damaged within the video are the decoder's."""
        capture, frame = self._open()
        try:
            index = 0
            while frame is not None:
                yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                index += 1
                _, frame = capture.read()
        finally:
            capture.release()

    def count(self) -> int:
        """How many frames can be decoded; goes through the whole file, whatever it says of itself."""
        capture, _ = self._open()
        frames = 1
        while capture.grab():
            frames += 1
        capture.release()
        return frames

    def _open(self) -> tuple[cv2.VideoCapture, np.ndarray]:
        """The video and its first frame, BGR."""
        if not os.path.isfile(self.path):
            problem = "is a folder, expected a video" if os.path.isdir(self.path) else "no such file"
            raise InputError(f"{self.path}: {problem}")
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        read, frame = capture.read()
        if not read or frame is None:
            capture.release()
            raise InputError(f"{self.path}: cannot be decoded as a video")
        return capture, frame


class VideoImages:
    """A video as images by frame number, decoded once if they are asked for in order.

    Asking for an earlier frame begins from the start again. One thread at a time.

    Raises:
        InputError: as :class:`VideoFrames` does.
    """

    def __init__(self, path: str | Path) -> None:
        self.frames = VideoFrames(path)
        self._running = iter(self.frames)
        self._index, self._frame = -1, None

    def __getitem__(self, image_id: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB frame; raises InputError when the video has no such frame."""
        if image_id < self._index:
            self._running, self._index, self._frame = iter(self.frames), -1, None
        while self._index < image_id:
            following = next(self._running, None)
            if following is None:
                raise InputError(f"{self.frames.path}: no frame for image_id {image_id}, the last is {self._index}")
            self._index, self._frame = following
        if self._frame is None or image_id < 0:
            raise InputError(f"{self.frames.path}: no frame for image_id {image_id}, the first is 0")
        return self._frame

    def require(self, image_ids: Iterable[int]) -> None:
        """Raise InputError, with their number and the first five, if there are no such frames.

        What the file says of their number is believed where it is enough; else they are counted.
        """
        wanted = {int(i) for i in image_ids}
        count = self.frames.frame_count
        if count is None or max(wanted, default=0) >= count:
            count = self.frames.count()
        missing = sorted(i for i in wanted if not 0 <= i < count)
        if missing:
            first = ", ".join(map(str, missing[:5]))
            raise InputError(
                f"{self.frames.path}: {len(missing)} of {len(wanted)} image_ids are not among its {count} "
                f"frames from 0 on, {'the first five' if len(missing) > 5 else 'namely'} {first}"
            )
