"""``posefix lift``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.cli.options import FINITE_POSITIVE, PATH, FiniteRange, friendly, option
from posefix.cli.video import on_video, read_frames
from posefix.core.errors import InputError, counted, require
from posefix.core.files import require_outputs

if TYPE_CHECKING:
    from posefix.lifting.lift import Cameras


@click.command(epilog="Example: posefix lift refined.json --video_path film.mp4 --out poses.json --viewer poses.html")
@option("--out", type=PATH, required=True, help="3D poses as .json, .npz, .bvh, .trc or .c3d; joint angles as .csv.")
@option("--viewer", type=PATH, help="HTML page to write that shows the poses in any browser.")
@option("--single", is_flag=True, help="For photographs: lift each pose by itself.")
@option("--fps", type=FINITE_POSITIVE, default=30.0, help="Frames per second.")
@option("--size", type=click.IntRange(1), nargs=2, help="Width and height of the images, if you have none.")
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
    fps: float,
    video: Path | None,
    size: tuple[int, int] | None,
    fov: float,
    height: float,
    checkpoint: str,
    images: Path | None,
    **read_options: Any,
) -> None:
    """Lift 2D poses to 3D, in metres, in the axes of the camera.

    Refine the 2D results first: 3D poses are only as good as they are. Image ids, or the numbers in file names, are
    frame numbers, and people without a track id are linked from frame to frame, except with --single.
    """
    from posefix.lifting.files import require_known_suffix, write
    from posefix.lifting.lift import Lifter, cameras_of
    from posefix.lifting.viewer import write_viewer
    from posefix.media.images import ImageFolder
    from posefix.motion.linking import link
    from posefix.motion.tracks import tracks_of

    require_known_suffix(out)
    if viewer:
        require("jinja2", "report", "--viewer")
    require_outputs([out, viewer], (results, images, video))
    if single and video:
        raise InputError("--single is for photographs; leave it out to lift a video")
    people, video_frames, index = read_frames(results, video, images, size, **read_options)
    if not people.labelled.any():
        raise InputError(f"{results}: has no people to lift")
    lifter = Lifter.from_pretrained(checkpoint, people.skeleton, height)
    cameras = cameras_of(people, index, fov)
    if not single and len(set(cameras.of_image.values())) > 1:
        raise InputError(f"{images}: its images are of different sizes, so they are of no video; add --single")
    if single:
        poses = lifter.people(people, cameras.of_image.__getitem__)
    else:
        try:
            tracks = tracks_of(link(people), fps, video_frames.times if video_frames else None)
        except InputError as error:
            raise InputError(f"{results}: {error}") from None
        poses = lifter.tracks(tracks, next(iter(cameras.of_image.values())))
    written = write(poses, out)
    if viewer:
        write_viewer(poses, viewer, video_frames or (ImageFolder.of_people(images, people) if images else None))
    skipped = 0 if single else len(people) - sum(int((track.rows >= 0).sum()) for track in tracks)
    for sentence in _warnings(people.source.problems, cameras, skipped):
        click.echo(sentence, err=True)
    owners = counted(len(poses.tracks), *(("person", "people") if single else ("track",)))
    click.echo(f"{counted(sum(map(len, poses.tracks)), 'pose')} of {owners} lifted")
    for path in (*written, *filter(None, [viewer])):
        click.echo(f"{path}: written")


def _warnings(problems: list[str], cameras: Cameras, skipped: int) -> Iterator[str]:
    """Report records left out, and guessed image sizes."""
    if problems:
        yield f"{counted(len(problems), 'record')} left out, the first: {problems[0]}"
    if cameras.guessed:
        width, height = cameras.size
        guess = f"{cameras.guessed} of {len(cameras.of_image)} images are assumed to be {width:.0f} x {height:.0f}"
        yield f"{guess}; give their size by --video_path, --images or --size"
    if skipped:
        yield f"{counted(skipped, 'person', 'people')} without a track id, or a keypoint, left out"
