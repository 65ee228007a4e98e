"""``posefix convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from posefix.cli.options import FORMAT, IMAGES, ON_ERROR, PATH, RESULTS_SKELETON, friendly, option
from posefix.core.errors import InputError, counted


class _WithFormats(click.Command):
    """A command whose help ends with the list of formats."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from posefix.formats import FORMATS

        with formatter.section("Formats"):
            formatter.write_dl([(name, fmt.title) for name, fmt in FORMATS.items()])
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_WithFormats, epilog="Example: posefix convert openpose_output/ --to coco --images photos --out results.json"
)
@click.argument("path", type=PATH)
@option("--to", required=True, help="Name of the format to write.")
@option("--out", type=PATH, required=True, help="File or folder to write; gzipped if the name ends in .gz.")
@FORMAT
@RESULTS_SKELETON
@IMAGES
@option("--video_path", type=PATH, help="A video instead of --images; ids are frame numbers, from 0.")
@option("--annotations", type=PATH, help="COCO annotations, for the images' ids, names and sizes.")
@ON_ERROR
@friendly
def convert(
    path: Path,
    to: str,
    out: Path,
    images: Path | None,
    video_path: Path | None,
    annotations: Path | None,
    **read_options: Any,
) -> None:
    """Convert results of one format into another.

    Image ids are those of --annotations or, without it, the numbers at the end of the images' names.
    """
    from posefix import formats
    from posefix.core.files import require_distinct
    from posefix.formats import ImageIndex
    from posefix.media.video import VideoFrames

    if images is not None and video_path is not None:
        raise click.UsageError("give --images FOLDER or --video_path FILE, not both")
    require_distinct([out], (path, images, annotations, video_path))
    target = formats.format_named(to)
    index: ImageIndex | Path | None = images
    if annotations is not None:
        index = ImageIndex.of_annotations(annotations, folder=images)
    elif video_path is not None:
        index = ImageIndex.of_video(video_path, VideoFrames(video_path).size)
    people = formats.read(path, images=index, **read_options)
    source = people.source
    if target.kind == "id" and target.name != "coco-annotations" and source.synthetic_ids:
        raise InputError(
            f"{path}: the images' names do not all end in different numbers, so that ids would not identify them; "
            "convert --to coco-annotations, which lists the names, or give --annotations that do"
        )
    converted = formats.fitted(people, target)
    formats.write(people, out, target.name)
    if not len(people):
        click.echo(f"{path}: has no people", err=True)
    if source.problems:
        click.echo(f"{len(source.problems)} could not be used, the first: {source.problems[0]}", err=True)
    exported = people if target.name == source.format.name else people[formats.writable(converted)]
    if empty := len(people) - len(exported):
        click.echo(
            f"{empty} without any estimate in {converted.skeleton.name}, or of images that are absent, are left out"
        )
    image_count, title = len(set(exported.image_ids.tolist())), source.format.title
    summary = f"{counted(len(exported), 'person', 'people')} in {counted(image_count, 'image')}"
    click.echo(f"{summary}, {title} to {target.title}: {out}")
    names = {"scores": "scores of keypoints", "boxes": "boxes", "person_scores": "scores of people"}
    unkept = source.format.holds - target.holds
    if lost := [name for part, name in names.items() if part in unkept and getattr(exported, part).any()]:
        click.echo(f"not kept by {target.title}: {', '.join(lost)}")
    if len(people) and converted.skeleton != people.skeleton:
        shared = (people.skeleton.indices_from(converted.skeleton) >= 0).sum()
        click.echo(
            f"{shared} of the {len(people.skeleton)} keypoints of {people.skeleton.name} are among the "
            f"{len(converted.skeleton)} of {converted.skeleton.name}"
        )
