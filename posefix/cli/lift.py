"""``posefix lift``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.cli.options import OUTSIDE, PATH, FiniteRange, friendly, option
from posefix.cli.video import on_video, read_frames
from posefix.core.errors import InputError, counted, require
from posefix.core.files import require_outputs

if TYPE_CHECKING:
    from posefix.core.people import People
    from posefix.lifting.lift import Cameras
    from posefix.motion.tracks import Track

MANY_FILES = 20  # more are announced


@click.command(epilog="Example: posefix lift refined.json --video_path film.mp4 --out poses.json --viewer poses.html")
@option("--out", type=PATH, required=True, help="3D poses as .json, .npz, .bvh, .trc or .c3d; joint angles as .csv.")
@option("--viewer", type=PATH, help="HTML page to write that shows the poses in any browser.")
@option("--single", is_flag=True, help="For photographs: lift each pose by itself.")
@option("--fov", type=FiniteRange(1, 170), default=60.0, help="Field of view along the longer side, in degrees.")
@option("--height", type=FiniteRange(0.3, 3), default=1.75, help="Body height of the people, in metres.")
@option("--checkpoint", default="posefix-lift", help="Weights: a .safetensors file, or a shipped name.")
@on_video
@friendly
def lift(
    results: Path,
    out: Path,
    viewer: Path | None,
    single: bool,
    video: Path | None,
    fov: float,
    height: float,
    checkpoint: str,
    images: Path | None,
    **frame_options: Any,
) -> None:
    """Lift 2D poses to 3D, in metres, in the axes of the camera.

    Refine the 2D results first: 3D poses are only as good as they are. Image ids, or the numbers in file names, are
    frame numbers, and people without a track id are linked from frame to frame, except with --single.
    """
    from posefix.lifting.files import ONE_PERSON, require_known_suffix, write
    from posefix.lifting.lift import Lifter, cameras_of
    from posefix.lifting.viewer import write_viewer
    from posefix.media.images import ImageFolder
    from posefix.motion.linking import link
    from posefix.motion.tracks import frame_rate, tracks_of

    require_known_suffix(out)
    if viewer:
        require("jinja2", "report", "--viewer")
    require_outputs([out, viewer], (results, images, video))
    if single and video:
        raise InputError("--single is for photographs; leave it out to lift a video")
    found = read_frames(results, video, images, **frame_options)
    people = found.people
    if not people.labelled.any():
        raise InputError(f"{results}: has no people to lift")
    lifter = Lifter.from_pretrained(checkpoint, people.skeleton, height)
    cameras = cameras_of(people, found.image_index, fov)
    if not single and len(set(cameras.of_image.values())) > 1:
        raise InputError(f"{images}: its images are of different sizes, so they are of no video; add --single")
    try:
        tracks = None if single else tracks_of(link(people), found.fps, found.times)
        if tracks is None:
            poses = lifter.people(people, cameras.of_image.__getitem__)
        else:
            poses = lifter.tracks(tracks, next(iter(cameras.of_image.values())))
    except InputError as error:
        raise InputError(f"{results}: {error}") from None
    for sentence in _warnings(people, cameras, tracks):
        click.echo(sentence, err=True)
    owners = counted(len(poses.tracks), *(("person", "people") if single else ("track",)))
    if out.suffix in ONE_PERSON and len(poses.tracks) > MANY_FILES:
        click.echo(f"{out}: a file for each of {owners}", err=True)
    written = write(poses, out)
    if viewer:
        write_viewer(poses, viewer, found.video or (ImageFolder.of_people(images, people) if images else None))
    rate = f" at {fps:.4g} frames/s" if tracks and (fps := frame_rate(tracks)) else ""
    click.echo(f"{counted(sum(map(len, poses.tracks)), 'pose')} of {owners}{rate} lifted")
    for path in (*written, *filter(None, [viewer])):
        click.echo(f"{path}: written")


def _warnings(people: People, cameras: Cameras, tracks: Sequence[Track] | None) -> Iterator[str]:
    """Report records left out, guessed image sizes, and what looks wrong; ``tracks`` is None for photographs."""
    import numpy as np

    from posefix.core.people import count_outside
    from posefix.motion.tracks import of_photographs

    if problems := people.source.problems:
        yield f"{counted(len(problems), 'record')} left out, the first: {problems[0]}"
    if cameras.guessed:
        width, height = cameras.size
        guess = f"{cameras.guessed} of {len(cameras.of_image)} images are assumed to be {width:.0f} x {height:.0f}"
        yield f"{guess}; give their size by --video_path, --images or --size"
    sizes = 2 * np.array([cameras.of_image[image_id].centre for image_id in people.image_ids.tolist()])
    if outside := count_outside(people, sizes):
        yield OUTSIDE.format(have=counted(outside, "person has", "people have"))
    if tracks is None:
        return
    if skipped := len(people) - sum(int((track.rows >= 0).sum()) for track in tracks):
        yield f"{counted(skipped, 'person', 'people')} without a track id, or a keypoint, left out"
    if of_photographs(tracks):
        yield "most people are in one frame only: are these photographs? --single lifts each pose by itself"
