"""Read and write videos."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError, require
from posefix.core.files import replacing
from posefix.media.images import require_all

DEFAULT_FPS = 25.0  # for videos that do not give a rate
PULLDOWN = 0.5  # frames; time stamps less than this off an even grid are snapped to it
# Encoders of formats that browsers play, with options for good quality; the first available in FFmpeg is used.
ENCODERS = {"libx264": {"crf": "20"}, "libsvtav1": {"crf": "30", "preset": "8"}, "libopenh264": {"b": "8M"}}


class VideoFrames:
    """Read the frames of a video, numbered from 0: iterate over them, or index them by number.

    Each iteration decodes the file once, from the first frame to the last, holding few frames at a time::

        for index, frame in VideoFrames("walk.mp4"):
            ...

    ``frames[index]`` also decodes the file once if frames are requested in order; an earlier frame starts from the
    beginning again. Threads take turns; :func:`posefix.media.crops.stream_crops` uses a single one.

    Attributes:
        path: path of the video.
        fps: frames per second, or None if the file does not give them.
        frame_count: number of frames according to the file (there may be fewer, or more), or None if it gives none.
        size: (width, height) of a frame in pixels, as displayed: after the rotation that the file asks for.

    Raises:
        InputError: the file is missing, no frame of it can be decoded, or PyAV is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._av = require("av", "video", "a video")
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.frame_count = stream.frames or None
            _, first = next(self._decoded(container))
        self.size = (first.shape[1], first.shape[0])
        self._running: Iterator[tuple[int, np.ndarray]] = iter(())
        self._index, self._frame = -1, first
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Iterate over frame numbers and (H, W, 3) uint8 RGB frames, up to the first that cannot be decoded."""
        with self._open() as container:
            yield from self._decoded(container)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a frame (H, W, 3) uint8 RGB; raises InputError when the video has no such frame."""
        if index < 0:
            raise InputError(f"{self.path}: no frame for image_id {index}, the first is 0")
        with self._lock:
            if index < self._index or self._index < 0:
                self._running, self._index = iter(self), -1
            while self._index < index:
                decoded = next(self._running, None)
                if decoded is None:
                    explanation = (
                        f" of {self.frame_count}: cut off, or damaged"
                        if self._index + 1 < (self.frame_count or 0)
                        else ""
                    )
                    raise InputError(
                        f"{self.path}: no frame for image_id {index}, the last is {self._index}{explanation}"
                    )
                self._index, self._frame = decoded
            return self._frame

    def sizes(self, frames: np.ndarray) -> np.ndarray:
        """Return width and height (N, 2) float64 of frames (N,), which are all of one size."""
        return np.full((len(frames), 2), self.size, np.float64)

    @property
    def length(self) -> int:
        """Actual number of frames in the file, counted without decoding."""
        return len(self._stamps)

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the frames, (F,) float64 seconds from the first on, from the file's time stamps or else ``fps``.

        Nothing is decoded. Stamps close to an even grid are snapped to it: films of 24 frames per second may have
        stamps of 30 (pulldown), and containers round.

        Raises:
            InputError: times go back, as in concatenated videos.
        """
        pts, dts = self._stamps.T
        if np.isnan(pts).any():
            return np.arange(len(pts)) / (self.fps or DEFAULT_FPS)
        if len(back := np.flatnonzero(np.diff(dts) < 0)):
            early, late = dts[back[0] + 1], dts[back[0]]
            raise InputError(
                f"{self.path}: times go back from {late:g} s to {early:g} s after frame {back[0]}; convert it to MP4 "
                "(ffmpeg -i), or give the frames per second (--fps)"
            )
        times: np.ndarray = np.sort(pts) - pts.min(initial=np.inf)
        if len(times) < 3:
            return times
        indices = np.arange(len(times))
        step, start = np.polyfit(indices, times, 1).tolist()
        off = np.abs(start + step * indices - times).max()
        return indices * step if off < PULLDOWN * step else times

    @cached_property
    def _stamps(self) -> np.ndarray:
        """Presentation and decoding times (F, 2) float64 in seconds, in decoding order; NaN if unknown."""
        with self._open() as container:
            stamps = [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.size]
            return np.array(stamps, np.float64).reshape(-1, 2) * float(container.streams.video[0].time_base)

    def require(self, indices: Iterable[int]) -> None:
        """Raise InputError, with the number and the first five, for frames that the video does not have.

        Frames are counted only if the file's own frame count is too small or missing.
        """
        wanted = {int(i) for i in indices}
        self.require_from_zero(np.array(sorted(wanted)))
        count = self.frame_count
        if count is None or max(wanted, default=0) >= count:
            count = sum(1 for _ in self)
        require_all(wanted, range(count).__contains__, self.path, f"are not among its {count} frames from 0 on")

    def require_from_zero(self, indices: np.ndarray) -> None:
        """Raise InputError if frame numbers (N,) go from 1 to the number of frames, as if counted from 1."""
        if len(indices) and indices.min() == 1 and indices.max() == self.length:
            raise InputError(
                f"{self.path}: has frames 0 to {self.length - 1}, and the results frames 1 to {self.length}: frames "
                "count from 0, so subtract 1 from the numbers in the results"
            )

    def _open(self) -> Any:
        if not os.path.isfile(self.path):
            problem = "is a folder, expected a video" if os.path.isdir(self.path) else "no such file"
            raise InputError(f"{self.path}: {problem}")
        try:
            container = self._av.open(str(self.path))
        except (self._av.error.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be decoded as a video ({error.strerror})") from None
        if not container.streams.video:
            container.close()
            raise InputError(f"{self.path}: cannot be decoded as a video, it has no pictures")
        container.streams.video[0].thread_type = "AUTO"
        return container

    def _decoded(self, container: Any) -> Iterator[tuple[int, np.ndarray]]:
        index = -1
        with suppress(self._av.error.FFmpegError):  # a damaged frame ends the video
            for index, frame in enumerate(container.decode(video=0)):
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90)  # counter-clockwise
                yield index, np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels
        if index < 0:
            raise InputError(f"{self.path}: cannot be decoded as a video")


def write_video(path: str | Path, fps: float | None, frames: Iterable[np.ndarray]) -> int:
    """Write an MP4 file that browsers play (H.264 or AV1), atomically.

    Args:
        path: of the video, ending in ``.mp4``; its folder must exist.
        fps: frames per second; None for 25.
        frames: (H, W, 3) uint8 RGB, all of one size; odd sides are padded by one pixel.

    Returns:
        The number of frames; without frames no file is written.

    Raises:
        InputError: the file cannot be written, or PyAV is not installed or cannot encode.
        ValueError: a frame has another size than the first.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: videos are written as MP4; use a name that ends in .mp4")
    av = require("av", "video", "a video")
    encoder = next((name for name in ENCODERS if name in av.codec.codecs_available), None)
    if encoder is None:
        raise InputError(f"{path}: this PyAV encodes neither H.264 nor AV1; the one of 'pip install av' does")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    (height, width), count = first.shape[:2], 0
    try:
        with replacing(path) as new:
            with av.open(str(new), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                stream = container.add_stream(encoder, Fraction(fps or DEFAULT_FPS).limit_denominator(1001))
                stream.width, stream.height = width + width % 2, height + height % 2  # 4:2:0 stores even sizes only
                stream.pix_fmt, stream.options = "yuv420p", ENCODERS[encoder]
                for frame in chain([first], frames):
                    if frame.shape != first.shape:
                        raise ValueError(f"a frame of shape {frame.shape} in a video of {width}x{height}")
                    count += 1
                    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                container.mux(stream.encode(None))
            if (written := VideoFrames(new).frame_count) != count:
                raise OSError(f"{written} of {count} frames can be read")
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return count
