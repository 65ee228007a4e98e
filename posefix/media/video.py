"""Read and write videos: every frame once, in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.extras import require

DEFAULT_FPS = 25.0  # where the source does not know
# What browsers play, H.264 or AV1, with what asks for good quality; the first that this build of FFmpeg has is taken.
ENCODERS = {"libx264": {"crf": "20"}, "libsvtav1": {"crf": "30", "preset": "8"}, "libopenh264": {"b": "8M"}}


class VideoFrames:
    """The frames of a video, numbered from 0.

    Each iteration decodes the file once, from the first frame to the last, holding few frames at a time::

        for index, frame in VideoFrames("walk.mp4"):
            ...

    Attributes:
        path: of the video.
        fps: frames a second, or None where the file does not say.
        frame_count: how many frames the file says it has (there may be fewer, or more), or None where it does not
            say.
        size: (width, height) of a frame in pixels, as it is shown: a rotation that the file asks for is done.

    Raises:
        InputError: the file is missing, or not a single frame of it can be decoded, or PyAV is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._av = _pyav()
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.frame_count = stream.frames or None
            _, first = next(self._decoded(container))
        self.size = (first.shape[1], first.shape[0])

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Frame number and (H, W, 3) uint8 RGB frame, up to the end or the first frame that cannot be decoded."""
        with self._open() as container:
            yield from self._decoded(container)

    def count(self) -> int:
        """How many frames can be decoded; goes through the whole file, whatever it says of itself."""
        return sum(1 for _ in self)

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
        with suppress(self._av.error.FFmpegError):  # what is damaged ends the video
            for index, frame in enumerate(container.decode(video=0)):
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90)  # counter-clockwise
                yield index, np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels
        if index < 0:
            raise InputError(f"{self.path}: cannot be decoded as a video")


class VideoImages:
    """A video as images by frame number, decoded once if they are asked for in order.

    Asking for an earlier frame begins from the start again. Threads take turns; :func:`stream_crops` uses one alone.

    Args:
        video: its path, or its frames.

    Raises:
        InputError: as :class:`VideoFrames` does.
    """

    def __init__(self, video: str | Path | VideoFrames) -> None:
        self.frames = video if isinstance(video, VideoFrames) else VideoFrames(video)
        self._running = iter(self.frames)
        self._index = -1
        self._frame: np.ndarray | None = None
        self._lock = threading.Lock()

    def __getitem__(self, image_id: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB frame; raises InputError when the video has no such frame."""
        with self._lock:
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


class VideoWriter:
    """An MP4 file that browsers play (H.264, or AV1), there, whole, once it is closed, and not before.

    Frames go to a file beside it, which takes its place on closing; when an exception ends the ``with`` block, nothing
    is left behind::

        with VideoWriter("both.mp4", fps=25, size=(1286, 548)) as video:
            video.write(frame)

    Args:
        path: of the video, ending in ``.mp4``; its folder must be there.
        fps: frames a second; 25 where None.
        size: (width, height) of the frames in pixels; the video is a pixel larger where one of them is odd.

    Raises:
        InputError: the file cannot be written, as on a full disk, or PyAV is not installed or cannot encode.
    """

    def __init__(self, path: str | Path, fps: float | None, size: tuple[int, int]) -> None:
        self.path, self.size, self.frames = Path(path), size, 0
        if not os.path.isdir(self.path.parent):
            raise InputError(f"{path}: cannot be written, there is no folder {self.path.parent}")
        if os.path.isdir(self.path):
            raise InputError(f"{path}: is a folder, expected the name of a video to write")
        if self.path.suffix.lower() != ".mp4":
            raise InputError(f"{path}: videos are written as MP4; use a name that ends in .mp4")
        self._av = _pyav()
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part.mp4")
        self._container: Any = None
        self._stream: Any = None
        with self._complaining():
            self._container = self._av.open(str(self._temporary), "w", options={"movflags": "+faststart"})
            rate = Fraction(fps or DEFAULT_FPS).limit_denominator(1001)
            self._stream = self._container.add_stream(self._encoder(), rate)
            self._stream.width, self._stream.height = (side + side % 2 for side in size)  # 4:2:0 stores even sizes only
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = ENCODERS[self._stream.codec_context.codec.name]

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (height, width, 3) uint8 RGB of the video's size; raises ValueError for another size."""
        if frame.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"a frame of shape {frame.shape} for a video of {self.size[0]}x{self.size[1]}")
        even = np.pad(frame, ((0, self.size[1] % 2), (0, self.size[0] % 2), (0, 0)), "edge")
        self.frames += 1
        with self._complaining():
            self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))

    def close(self) -> None:
        """Finish the file and put it in its place; raises InputError when not every frame could be written."""
        with self._complaining():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            written = VideoFrames(self._temporary).frame_count
            if written != self.frames:
                raise OSError(f"{written} of them can be read")
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
        with suppress(self._av.error.FFmpegError, OSError):
            if self._container is not None:
                self._container.close()
        with suppress(OSError):
            self._temporary.unlink()

    def _encoder(self) -> str:
        found = [name for name in ENCODERS if name in self._av.codec.codecs_available]
        if not found:
            raise InputError(f"{self.path}: this PyAV encodes neither H.264 nor AV1; the one of 'pip install av' does")
        return found[0]

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """Turn what goes wrong into one sentence, and leave nothing behind."""
        try:
            yield
        except InputError:
            self.discard()
            raise
        except (self._av.error.FFmpegError, OSError) as error:
            self.discard()
            reason = error.strerror or error
            raise InputError(f"{self.path}: {self.frames} frames could not be written ({reason})") from None


def _pyav() -> ModuleType:
    return require("av", "video", "a video")
