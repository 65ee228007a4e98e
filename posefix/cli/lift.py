"""``posefix lift``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.cli.options import FORMAT, IMAGES, ON_ERROR, PATH, RESULTS_SKELETON, friendly, option
from posefix.core.errors import InputError, require

if TYPE_CHECKING:
    from posefix.lifting.poses import Camera


@click.command(epilog="Example: posefix lift refined.json --video_path film.mp4 --out poses.json --viewer poses.html")
@click.argument("results", type=PATH)
@option("--out", type=PATH, required=True, help="Poses as .json, .npz, .bvh, .trc or .c3d; .csv has joint angles.")
@option("--viewer", type=PATH, help="Write a page that shows the poses in any browser.")
@option("--single", is_flag=True, help="Results of photographs: lift each pose alone, not tracks of a video.")
@option("--fps", type=click.FloatRange(0, min_open=True), default=30.0, help="Frames a second.")
@option("--video_path", "video", type=PATH, help="The video, for its time stamps, its size and the viewer.")
@option("--size", type=click.IntRange(1), nargs=2, help="Width and height of the images, if there are none at hand.")
@option("--fov", type=click.FloatRange(1, 170), default=60.0, help="Field of view along the longer side, in degrees.")
@option("--height", type=click.FloatRange(0.3, 3), default=1.75, help="Of the people, in metres.")
@option("--checkpoint", default="posefix-lift", help="A .safetensors file, or a shipped name.")
@IMAGES
@FORMAT
@RESULTS_SKELETON
@ON_ERROR
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
    skeleton: str | None,
    **how: Any,
) -> None:
    """Lift 2D poses into depth: metres, in the axes of the camera.

    Refine the results first: depth is as good as they are. Image ids, or the numbers in names, are frame numbers, and
    people are linked from frame to frame where the file has no track ids, but with --single.
    """
    import numpy as np

    from posefix import formats
    from posefix.core.files import require_distinct, require_writable
    from posefix.core.skeleton import load
    from posefix.lifting.files import require_known_suffix, write
    from posefix.lifting.lift import Lifter, camera_of
    from posefix.lifting.viewer import write_viewer
    from posefix.media.images import ImageFolder
    from posefix.media.video import VideoFrames
    from posefix.motion.linking import link
    from posefix.motion.tracks import tracks_of

    require_known_suffix(out)
    if viewer:
        require("jinja2", "report", "--viewer")
    require_distinct([out, viewer], (results, images, video))
    for path in filter(None, (out, viewer)):
        require_writable(path)
    if single and video:
        raise InputError("--single is for photographs; leave it out to lift a video")
    film = VideoFrames(video) if video else None
    index = None
    if video and film:
        index = formats.ImageIndex.of_video(video, film.size)
    elif images:
        index = formats.ImageIndex.of_folder(images)
    people = formats.read(results, skeleton=load(skeleton) if skeleton else None, images=index, **how)
    if not len(people):
        raise InputError(f"{results}: has no people to lift")
    lifter = Lifter.from_pretrained(checkpoint, people.skeleton, height)
    guessed: tuple[float, float] = tuple(np.ceil(people.keypoints[people.labelled].max(0, initial=1)).tolist())

    def camera(image_id: int) -> Camera:
        width, length = size or (index.size(image_id) if index else None) or guessed
        return camera_of(width, length, fov)

    if single:
        poses = lifter.people(people, camera)
    else:
        try:
            tracks = tracks_of(link(people), fps, film.times if film else None)
        except InputError as error:
            raise InputError(f"{results}: {error}") from None
        poses = lifter.tracks(tracks, camera(int(people.image_ids[0])), fps)
    written = write(poses, out)
    if viewer:
        write_viewer(poses, viewer, film or (ImageFolder.of_people(images, people) if images else None))

    if people.source.problems:
        problems = people.source.problems
        click.echo(f"{len(problems)} records left out, the first: {problems[0]}", err=True)
    if not (size or index):
        reached = "the images are taken to be {:.0f} x {:.0f}, as far as keypoints reach".format(*guessed)
        click.echo(f"{reached}; --video_path, --images or --size say how large they are", err=True)
    count = sum(map(len, poses.tracks))
    click.echo(f"{count} poses of {len(poses.tracks)} {'people' if single else 'tracks'} lifted")
    for path in (*written, *filter(None, [viewer])):
        click.echo(f"{path}: written")
