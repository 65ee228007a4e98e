"""``posefix refine``, which is ``test.py``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.cli import options as shared
from posefix.cli.options import FINITE_POSITIVE, PATH, friendly, option
from posefix.core.errors import counted

if TYPE_CHECKING:
    from posefix.run.plan import Plan

UPRIGHT = "For results in COCO's format that were made on images rotated by their EXIF data."

WRONG_AP = 5  # AP difference to the assumed accuracy of the estimator from which on --estimator_ap is suggested,
MIN_IMAGES, MIN_COVERED = 20, 0.8  # if measured on this many images, and this share of those with people
NOTES = {  # on measurements that are not 0
    "unknown_estimator": "--estimator_ap was assumed: if your estimator's AP is higher, give it, or right poses may "
    "get worse",
    "outside": shared.OUTSIDE,
    "certain": "{have} a confidence of 1 for every keypoint, which marks the pose as certain, so that it changes "
    "less: if your estimator has no confidences, write 0.5",
    "contradicted_boxes": "{have} a box that is elsewhere than their pose, or far larger: the pose's place, or both "
    "places, were used (boxes must be x, y, width, height)",
    "rotated_images": "{images} with an EXIF rotation, which is ignored for COCO results: if the estimator saw them "
    "rotated, use --upright",
    "not_finite": "{have} keypoints that are NaN or infinite: those count as not detected",
    "scores_beyond_one": "{have} keypoint scores far above 1. Scores should be confidences from 0 to 1; with other "
    "scores (logits, percent) results may be worse: scale them before refining",
    "other_categories": "{have} a category_id that the annotations do not have: they are refined, but do not count in "
    "the measures, as in COCO's tools",
    "unlisted_annotations": "{annotations} of images that the annotations do not list: left out",
    "uncovered": "{images} with annotated people and no results: these people count as missed",
    "lacking_keypoints": "{keypoints} of the annotations that the results do not have: in AP they count as wrong",
    "estimated": "{have} a box and no pose: the pose was estimated from the image",
    "filled": "{missing} filled in",
    "unfilled": "{missing} not filled in: there is no image, or the format has no place for them here",
    "without_extent": "{people} without a box and with fewer than three keypoints: left unchanged",
    "refined_before": "{have} an original_score: they were refined before and stay unchanged",
}


@click.command(epilog="Example: posefix refine --detection_json results.json --images val2017 --out refined.json")
@option("--detection_json", "results", type=PATH, required=True, help="An estimator's results: a file or a folder.")
@shared.FORMAT
@shared.RESULTS_SKELETON
@shared.IMAGES
@option("--video_path", "video", type=PATH, help="A video instead of --images; image_id is the frame number, from 0.")
@option(
    "--temporal",
    type=click.Choice(["auto", "off"]),
    default="auto",
    help="For videos and --fps: auto also uses the neighbouring frames, off refines each frame by itself. To smooth "
    "without images, use posefix smooth.",
)
@option(
    "--fps",
    type=FINITE_POSITIVE,
    help="Frames per second: the --images are numbered frames of a video; with --video_path, in place of its time "
    "stamps, for slow motion.",
)
@option("--fill", type=click.IntRange(0), default=0, help="For videos and --fps: fill gaps of up to this many frames.")
@option("--annotations", type=PATH, help="COCO annotations: measure AP before and after; give file names.")
@shared.CHECKPOINT
@shared.TEST_BATCH
@shared.FLIP_TEST
@option(
    "--passes",
    type=click.IntRange(1, 3),
    default=1,
    help="Maximum number of passes per person; only people who need it get more than one.",
)
@option(
    "--rescore/--no_rescore",
    default=True,
    help="Replace person scores by the expected quality of the refined pose; keep the old ones as original_score.",
)
@option(
    "--keypoint_scores",
    is_flag=True,
    help="Also replace keypoint scores: expected similarity to the truth times probability of being in the image.",
)
@shared.ESTIMATOR_AP
@option("--out", type=PATH, help="Refined results to write, in the format of the input.")
@option("--metrics", type=PATH, help="File for the measurements, as JSON.")
@option("--visualize", type=PATH, help="Folder for before/after pictures, or for a video with both poses.")
@option("--report", type=PATH, help="HTML report to write; needs --annotations.")
@shared.DEVICE
@shared.ENGINE
@shared.THREADS
@option("--cluster", help="Refine on a Ray cluster: ray (this machine's cluster, or its cores), or ray://HOST:PORT.")
@option("--upright", is_flag=True, help=UPRIGHT)
@option("--workers", type=click.IntRange(1, 1024), default=2, help="Threads that decode images.")
@shared.ON_ERROR
@option("--resume", is_flag=True, help="Continue an interrupted run with the same --out.")
@friendly
def refine(**options: Any) -> None:
    """Refine an estimator's results; with --annotations, measure the gain."""
    from rich.console import Console
    from rich.markup import escape

    from posefix.core.files import write_atomically
    from posefix.media.images import quiet_opencv
    from posefix.refine.settings import RefineSettings
    from posefix.report.tables import summary_table
    from posefix.run import local, outcome
    from posefix.run.plan import Plan

    settings = RefineSettings(**{field.name: options.pop(field.name) for field in fields(RefineSettings)})
    plan = Plan(**{**options, "temporal": options["temporal"] == "auto"})
    quiet_opencv()
    refined = local.refine_file(plan, settings, Console(stderr=True))
    try:
        measured = outcome.measure(plan, settings, refined)
        if plan.metrics is not None:
            write_atomically(plan.metrics, json.dumps(measured, indent=2) + "\n")
    except KeyboardInterrupt:
        note = f"; {plan.out} is written" if plan.out is not None else ""
        raise KeyboardInterrupt(f"stopped while measuring{note}") from None
    if "gain" in measured:
        Console().print(summary_table(measured, title=escape(f"{plan.results.name}, {plan.checkpoint}")))
    click.echo(_summary(plan, len(refined.work.people), measured))
    if refined.problems:
        click.echo(f"{len(refined.problems)} passed through unchanged, the first: {refined.problems[0]}", err=True)
    if plan.out is not None:
        click.echo(f"{plan.out}: written, as {refined.work.people.source.format.title}")
    if plan.visualize is not None:
        click.echo(outcome.draw(plan, refined))
    if plan.report is not None:
        click.echo("writing the report ...", err=True)
        outcome.report(plan, refined, measured, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
        click.echo(f"{plan.report}: written")


def _summary(plan: Plan, count: int, measured: dict[str, Any]) -> str:
    """Describe in a few lines what refinement did, and what users should know about the results.

    A file without people is not an error: estimators write one if they find nobody, and batch runs must go on.
    """
    if not measured["people"]:
        nothing = "without a keypoint to refine in an image that is there"
        description = f"{counted(count, 'person', 'people')} {nothing}" if count else "no people"
        return f"{plan.results}: {description}; there was nothing to refine"
    accuracy = "" if measured["estimator_ap"] is None else f" (--estimator_ap {measured['estimator_ap']:g})"
    pictures = "image" if plan.video is None else "frame"
    lines = [
        f"{counted(measured['people'], 'person', 'people')} in {counted(measured['images'], pictures)}{accuracy}: "
        f"{measured['moved_keypoints']:.0%} of keypoints moved by more than half a pixel; "
        f"{measured['people_per_second']:.1f} people/s with {measured['engine']}",
        *(_note(name, many) for name in NOTES if (many := measured.get(name))),
    ]
    if "gain" in measured:
        lines.insert(0, _gain(measured))
    return "\n".join(lines)


def _note(name: str, count: int) -> str:
    return NOTES[name].format(
        people=counted(count, "person", "people"),
        have=counted(count, "person has", "people have"),
        missing=counted(count, "missing person was", "missing people were"),
        annotations=counted(count, "annotation"),
        images=counted(count, "image"),
        keypoints=counted(count, "keypoint"),
    )


def _gain(measured: dict[str, Any]) -> str:
    before, after, gain = measured["before"]["AP"], measured["after"]["AP"], measured["gain"]
    if before is None or gain["AP"] is None:
        return "AP: nothing to measure"
    line = f"AP before {before:.2f}, after {after:.2f}, gain {gain['AP']:+.2f}"
    if gain["AP_low"] != gain["AP_high"]:  # as they are on one image
        line += f", 95 % interval [{gain['AP_low']:+.2f}, {gain['AP_high']:+.2f}]"
    moved_only = measured.get("without_rescoring", {}).get("AP")
    if moved_only is not None:
        line += f"; {moved_only - before:+.2f} by moving keypoints alone, the rest by rescoring"
    assumed = measured["estimator_ap"]
    representative = measured["measured_images"] >= max(MIN_IMAGES, MIN_COVERED * measured["annotated_images"])
    if (
        assumed is not None
        and representative
        and not measured["refined_before"]
        and before >= 1
        and abs(before - assumed) >= WRONG_AP
    ):
        comparison = f"the estimator reaches {before:.0f} AP here, but {assumed:g} was assumed"
        line += f"\n{comparison}: try --estimator_ap {before:.0f}"
    return line
