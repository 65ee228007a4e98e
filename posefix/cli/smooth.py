"""``posefix smooth``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from posefix.cli.options import FINITE_POSITIVE, PATH, friendly, option
from posefix.cli.video import on_video, read_frames
from posefix.core.errors import InputError, counted
from posefix.core.files import require_outputs

METHODS = ("network", "oneeuro", "savgol", "butterworth", "gaussian", "median")


@click.command(epilog="Example: posefix smooth results.json --fps 30 --out smooth.json")
@option("--out", type=PATH, required=True, help="Results to write, in the format of the input.")
@option("--smooth", "method", type=click.Choice(METHODS), default="network", help="Sequence denoiser or filter.")
@option("--cutoff", type=FINITE_POSITIVE, help="For filters: faster movement counts as noise; in Hz, 6 by default.")
@option("--latency", type=click.IntRange(0, 30), help="Use only past frames and this many later ones, as in live use.")
@option("--fill", type=click.IntRange(0), default=0, help="Fill gaps of up to this many frames, with low scores.")
@on_video
@friendly
def smooth(
    results: Path,
    out: Path,
    method: str,
    cutoff: float | None,
    latency: int | None,
    fill: int,
    video: Path | None,
    images: Path | None,
    **frame_options: Any,
) -> None:
    """Smooth the poses of a video over time, without looking at the images.

    Image ids, or the numbers in file names, are frame numbers. People without a track id are linked from frame to
    frame. Only formats with coordinates as fractions of the image need the images, the video or --size.
    """
    import numpy as np

    from posefix import formats
    from posefix.motion.filters import CUTOFF
    from posefix.motion.smoothing import Denoiser, filter_by, smooth_people
    from posefix.motion.tracks import frame_rate, of_photographs

    if latency is not None and method != "network":
        raise InputError(f"--latency is for --smooth network; {method} has none to choose")
    if cutoff is not None and method == "network":
        raise InputError("--cutoff is for filters: choose one with --smooth")
    require_outputs([out], (results, images, video), folder=results.is_dir())
    found = read_frames(results, video, images, **frame_options)
    people = found.people
    denoise: Denoiser
    if method == "network":
        from posefix.motion.denoise import TrackDenoiser

        denoise = TrackDenoiser.from_pretrained(skeleton=people.skeleton, latency=latency)
    else:
        denoise = filter_by(method, cutoff or CUTOFF)
    try:
        smoothed = smooth_people(people, denoise, found.fps, found.times, fill)
    except InputError as error:
        raise InputError(f"{results}: {error}") from None
    formats.write(smoothed.people, out)

    if of_photographs(smoothed.tracks):
        click.echo("most people are in one frame only: these look like photographs, not frames of a video", err=True)
    source, frames = people.source, len(np.unique(people.image_ids))
    if source.problems:
        click.echo(f"{len(source.problems)} passed through unchanged, the first: {source.problems[0]}", err=True)
    summary = f"{counted(len(people), 'person', 'people')} in {counted(frames, 'frame')}"
    rate = f" at {fps:.4g} frames/s" if (fps := frame_rate(smoothed.tracks)) else ""
    origin = "of the file" if (people.track_ids >= 0).any() else "found by linking"
    click.echo(f"{summary}, {counted(len(smoothed.tracks), 'track')} {origin}, smoothed by {method}{rate}")
    if smoothed.linked and origin == "of the file":
        click.echo(f"{counted(smoothed.linked, 'person', 'people')} without a track id linked")
    if smoothed.filled:
        click.echo(f"{counted(smoothed.filled, 'missing person', 'missing people')} filled in")
    if smoothed.unfilled:
        missing = counted(smoothed.unfilled, "missing person", "missing people")
        click.echo(f"{missing} not filled in: {source.format.title} has no place for that here")
    click.echo(f"{out}: written, as {source.format.title}")
