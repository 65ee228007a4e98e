"""``posefix refine``, which is ``test.py``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from posefix.cli.options import EXISTING, FORMAT, ON_ERROR, RESULTS_SKELETON, friendly


@click.command(epilog="Example: test.py --detection_json results.json --images val2017 --out refined.json")
@click.option("--detection_json", type=EXISTING, required=True, help="An estimator's results: a file or a folder.")
@FORMAT
@RESULTS_SKELETON
@click.option("--images", type=EXISTING, help="Folder of the images.")
@click.option("--video_path", type=EXISTING, help="A video in place of --images; image_id is the frame number from 0.")
@click.option("--annotations", type=EXISTING, help="COCO ground truth: measures AP before and after; names the files.")
@click.option("--checkpoint", default="posefix-base", show_default=True, help="A .safetensors file, or a shipped name.")
@click.option("--test_batch", type=click.IntRange(1), default=64, show_default=True, help="People in a batch.")
@click.option("--flip_test/--no_flip_test", default=True, show_default=True, help="Average over the mirrored image.")
@click.option(
    "--passes",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="How often a person may be refined; more than once only those who need it.",
)
@click.option(
    "--rescore/--no_rescore",
    default=True,
    show_default=True,
    help="Scores of people that say how good the refined pose is; the old ones are kept as original_score.",
)
@click.option(
    "--keypoint_scores",
    is_flag=True,
    help="Scores of keypoints, too: the expected similarity to the truth times the probability of being in the image.",
)
@click.option("--out", type=EXISTING, help="Write the refined results here, in the form they came in.")
@click.option("--metrics", type=EXISTING, help="Write the measurements here, as JSON.")
@click.option("--visualize", type=EXISTING, help="Folder for before/after pictures, or for the video with both poses.")
@click.option(
    "--report", type=EXISTING, help="Write a page about what refinement did here (HTML); needs --annotations."
)
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "openvino"]),
    default="auto",
    show_default=True,
    help="What runs the network; auto is the fastest that is installed (pip install openvino).",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Threads that decode images.")
@ON_ERROR
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an interrupted run with the same --out stopped.",
)
@friendly
def refine(
    detection_json: Path,
    format_name: str,
    skeleton: str | None,
    images: Path | None,
    video_path: Path | None,
    annotations: Path | None,
    checkpoint: str,
    test_batch: int,
    flip_test: bool,
    passes: int,
    rescore: bool,
    keypoint_scores: bool,
    out: Path | None,
    metrics: Path | None,
    visualize: Path | None,
    report: Path | None,
    device: str | None,
    engine: str,
    workers: int,
    on_error: str,
    resume: bool,
) -> None:
    """Refine an estimator's results; with --annotations, measure the gain."""
    from rich.console import Console
    from rich.markup import escape

    from posefix.core.files import write_atomically
    from posefix.media.images import quiet_opencv
    from posefix.report.table import summary_table
    from posefix.run import pipeline

    if (images is None) == (video_path is None):
        raise click.UsageError("give either --images FOLDER or --video_path FILE")
    if report is not None and annotations is None:
        raise click.UsageError("--report needs --annotations: without ground truth there is nothing to compare with")
    quiet_opencv()
    console = Console(stderr=True)
    options = pipeline.RefineOptions(
        detection_json=detection_json,
        images=images,
        video=video_path,
        annotations=annotations,
        checkpoint=checkpoint,
        batch_size=test_batch,
        flip_test=flip_test,
        passes=passes,
        rescore=rescore,
        keypoint_scores=keypoint_scores,
        out=out,
        device=device,
        engine=engine,
        workers=workers,
        on_error="skip" if on_error == "skip" else "stop",
        resume=resume,
        metrics=metrics,
        visualize=visualize,
        report=report,
        format=format_name,
        skeleton=skeleton,
    )
    refined = pipeline.refine_file(options, console)
    try:
        measured = pipeline.measure(options, refined)
        if metrics is not None:
            write_atomically(metrics, json.dumps(measured, indent=2) + "\n")
    except KeyboardInterrupt:
        kept = f"; {out} is written" if out is not None else ""
        raise KeyboardInterrupt(f"stopped while measuring{kept}") from None
    if "gain" in measured:
        Console().print(summary_table(measured, title=escape(f"{detection_json.name}, {checkpoint}")))
        click.echo(_gain_line(measured))
    click.echo(
        f"{measured['people']} people in {measured['images']} images: {measured['moved_keypoints']:.0%} of keypoints "
        f"moved by more than half a pixel; {measured['people_per_second']:.1f} people/s"
    )
    if doubtful := measured["contradicted_boxes"]:
        click.echo(
            f"{doubtful} people have a box that is not where their pose is, or far larger: they were looked at "
            "where the pose is, or in both places (boxes must be x, y, width, height)"
        )
    if before := measured["refined_before"]:
        click.echo(f"{before} people have an original_score: they were refined before, and stay as they are")
    if refined.problems:
        click.echo(f"{len(refined.problems)} handed through untouched, the first: {refined.problems[0]}", err=True)
    if visualize is not None:
        click.echo(pipeline.draw(options, refined))
    if report is not None:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        click.echo("writing the report ...", err=True)
        click.echo(pipeline.report(options, refined, measured, command))


def _gain_line(measured: dict) -> str:
    before, after, gain = measured["before"]["AP"], measured["after"]["AP"], measured["gain"]
    if before is None or gain["AP"] is None:
        return "AP: nothing to measure"
    interval = f"[{gain['AP_low']:+.2f}, {gain['AP_high']:+.2f}]"
    line = f"AP before {before:.2f}, after {after:.2f}, gain {gain['AP']:+.2f}, 95 % interval {interval}"
    alone = measured.get("without_rescoring", {}).get("AP")
    return line if alone is None else f"{line}; {alone - before:+.2f} by moving keypoints alone, the rest by rescoring"
