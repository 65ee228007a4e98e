"""Read the results of a video, and what is known of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from posefix.cli.options import FINITE_POSITIVE, FORMAT, IMAGES, ON_ERROR, PATH, RESULTS_SKELETON, Command, option
from posefix.core.errors import InputError, UnknownSizeError

if TYPE_CHECKING:
    import numpy as np

    from posefix.core.people import People
    from posefix.formats import ImageIndex
    from posefix.media.video import VideoFrames


DEFAULT_FPS = 30.0


class VideoResults(NamedTuple):
    """The people of a video, the video, an index of its frames' sizes, and the frames' rate, or their times (F,)."""

    people: People
    video: VideoFrames | None
    image_index: ImageIndex | None
    fps: float
    times: np.ndarray | None


def on_video(command: Command) -> Command:
    """Add the argument and options of :func:`read_frames`."""
    results = click.argument("results", type=PATH)
    video = option("--video_path", "video", type=PATH, help="The video: its size and its time stamps.")
    rate = f"by default the video's time stamps, or {DEFAULT_FPS:g}. Give it for slow motion, also with a video."
    fps = option("--fps", type=FINITE_POSITIVE, help=f"Frames per second as filmed: {rate}")
    size = option("--size", type=click.IntRange(1), nargs=2, help="Width and height of the images, if you have none.")
    return results(fps(video(IMAGES(size(FORMAT(RESULTS_SKELETON(ON_ERROR(command))))))))


def read_frames(
    results: Path,
    video: Path | None,
    images: Path | None,
    fps: float | None,
    size: tuple[int, int] | None,
    **read_options: Any,
) -> VideoResults:
    """Read people whose image ids are frame numbers, or image ids, and what is known of the frames.

    ``fps`` counts in place of the video's time stamps; ``size`` is that of all frames, without video and images;
    ``read_options`` are format, skeleton and on_error.

    Raises:
        InputError: something cannot be read, or results are of frames that the video does not have.
    """
    from posefix import formats
    from posefix.media.video import VideoFrames

    if size and (video or images):
        raise InputError("--size is for where there is neither a video nor images, which tell it themselves")
    video_frames = VideoFrames(video) if video else None
    index = None
    if video and video_frames:
        index = formats.ImageIndex.of_video(video, video_frames.size)
    elif images:
        index = formats.ImageIndex.of_folder(images)
    elif size:
        index = formats.ImageIndex({}, "--size", video=size, frames=True)
    try:
        people = formats.read(results, images=index, **read_options)
    except UnknownSizeError as error:
        raise InputError(f"{error.problem}; give --video_path, --images or --size") from None
    if video_frames and (outside := (people.image_ids < 0) | (people.image_ids >= video_frames.length)).any():
        first = people.image_ids[outside][0]
        problem = f"frame {first} is not in the video, which has {video_frames.length} frames from 0 on"
        if read_options["on_error"] == "stop":
            video_frames.require_from_zero(people.image_ids)
            raise InputError(f"{results}: {problem}; --on_error skip goes on at its rate")
        click.echo(f"{problem}: {outside.sum()} people beyond it are assumed to continue at its rate", err=True)
    times = video_frames.times if video_frames and fps is None else None
    return VideoResults(people, video_frames, index, fps or DEFAULT_FPS, times)
