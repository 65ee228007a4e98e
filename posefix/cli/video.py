"""Read the results of a video, and what is known of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.cli.options import FORMAT, IMAGES, ON_ERROR, PATH, RESULTS_SKELETON, Command, option
from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.core.people import People
    from posefix.formats import ImageIndex
    from posefix.media.video import VideoFrames


def on_video(command: Command) -> Command:
    """Add the argument and options of :func:`read_frames`, except ``size``."""
    results = click.argument("results", type=PATH)
    video = option("--video_path", "video", type=PATH, help="The video: its size, and time stamps instead of --fps.")
    return results(video(IMAGES(FORMAT(RESULTS_SKELETON(ON_ERROR(command))))))


def read_frames(
    results: Path,
    video: Path | None,
    images: Path | None,
    size: tuple[int, int] | None = None,
    **read_options: Any,
) -> tuple[People, VideoFrames | None, ImageIndex | None]:
    """Read people whose image ids are frame numbers, or image ids; also the video, and an index of the frames' sizes.

    ``size`` is that of all frames, without video and images; ``read_options`` are format, skeleton and on_error.

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
        index = formats.ImageIndex({}, "--size", video=size)
    people = formats.read(results, images=index, **read_options)
    if video_frames and (outside := (people.image_ids < 0) | (people.image_ids >= video_frames.length)).any():
        first = people.image_ids[outside][0]
        problem = f"frame {first} is not in the video, which has {video_frames.length} frames from 0 on"
        if read_options["on_error"] == "stop":
            raise InputError(f"{results}: {problem}; --on_error skip goes on at its rate")
        click.echo(f"{problem}: {outside.sum()} people beyond it are assumed to continue at its rate", err=True)
    return people, video_frames, index
