"""The commands: they parse options, call, and say what came of it."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.core.skeleton import Skeleton
    from posefix.formats.coco import CocoResults, OnError

EXISTING = click.Path(path_type=Path)
FORMAT = click.option(
    "--format",
    "format_name",
    default="auto",
    show_default=True,
    help="Of the results; posefix convert --help lists all.",
)
ON_ERROR = click.option(
    "--on_error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At an unusable record or image: stop, or hand it through untouched and count it.",
)
OWN_SKELETON = click.option(
    "--skeleton", help="What the keypoints of the results are, where their format does not say: a YAML file, or a name."
)


def friendly(command: Callable) -> Callable:
    """Bad input ends in one sentence and exit code 2, Ctrl-C in one sentence and 130; nothing ends in a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            _end(f"Error: {error}", 2)
        except KeyboardInterrupt as error:
            _end(str(error) or "stopped", 130)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _end(f"Error: {where}{error.strerror or error}", 2)

    return run


def _end(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


@click.command(epilog="Example: test.py --detection_json results.json --images val2017 --out refined.json")
@click.option("--detection_json", type=EXISTING, required=True, help="An estimator's results: a file or a folder.")
@FORMAT
@OWN_SKELETON
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


@click.command(
    epilog="Example: train.py --config configs/base_movenet_thunder.yaml --train_batch 64 optimizer.learning_rate=5e-4"
)
@click.option("--config", required=True, help="A YAML file, or the name of one in configs/.")
@click.option("--train_batch", type=click.IntRange(1), help="People in a training batch, on each process.")
@click.option("--test_batch", type=click.IntRange(1), help="People in a batch of the evaluation.")
@click.option("--flip_test/--no_flip_test", default=None, help="Average over mirrored images in the evaluation.")
@click.option("--out", type=EXISTING, help="Folder for weights, state and log; runs/NAME unless given.")
@click.option("--resume", is_flag=True, help="Go on from the state in the folder.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop and save after so long.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@friendly
def train(
    config: str,
    train_batch: int | None,
    test_batch: int | None,
    flip_test: bool | None,
    out: Path | None,
    resume: bool,
    minutes: float | None,
    device: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Train a refiner; any value of the configuration can be overridden as KEY=VALUE. Runs under torchrun too."""
    from posefix.training import config as configuration
    from posefix.training import distributed
    from posefix.training.train import STATE_FILE, Trainer
    from posefix.training.validation import RealResults

    options = {"batch": train_batch, "test_batch": test_batch, "flip_test": flip_test}
    given = [f"training.{name}={json.dumps(value)}" for name, value in options.items() if value is not None]
    experiment = configuration.load(config, [*given, *overrides])
    folder = out or Path("runs") / experiment.name
    if (folder / STATE_FILE).exists() and not resume:
        raise InputError(f"{folder}: holds the state of an earlier run; add --resume to go on, or choose another --out")
    with distributed.process_group(device) as chosen:
        evaluate = (
            RealResults(experiment, chosen) if experiment.evaluation and experiment.training.evaluate_every else None
        )
        trainer = Trainer(experiment, folder, chosen, evaluate)
        if resume and trainer.resume():
            click.echo(f"going on at step {trainer.step}")
        try:
            finished = trainer.fit(minutes)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped at step {trainer.step}; the same command with --resume goes on") from None
    click.echo(f"{folder}: " + ("finished" if finished else f"time is up at step {trainer.step}; --resume goes on"))


@click.command(epilog="Example: posefix evaluate results.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=EXISTING)
@click.argument("other", type=EXISTING, required=False)
@click.option("--annotations", type=EXISTING, required=True, help="COCO ground truth.")
@FORMAT
@click.option("--skeleton", default="coco17", show_default=True, help="A YAML file, or the name of a shipped one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@friendly
def evaluate(
    results: Path, other: Path | None, annotations: Path, format_name: str, skeleton: str, as_json: bool
) -> None:
    """Measure results, or compare two files on the same images with a 95 % interval."""
    import numpy as np
    from rich.console import Console
    from rich.markup import escape

    from posefix.core.skeleton import load
    from posefix.evaluation.coco import evaluate as evaluate_records
    from posefix.evaluation.comparison import compare
    from posefix.report.table import summary_table

    chosen = load(skeleton)
    first = _results_of(results, format_name, chosen, annotations).records
    if other is None:
        measured: dict[str, Any] = evaluate_records(annotations, first, sigmas=chosen.sigmas).metrics()
        text = "\n".join(f"{name:5} {'-' if value is None else f'{value:.2f}'}" for name, value in measured.items())
        click.echo(json.dumps(measured) if as_json else text)
        return
    second = _results_of(other, format_name, chosen, annotations).records
    measured = compare(annotations, first, second, rng=np.random.default_rng(0), sigmas=chosen.sigmas)
    if as_json:
        click.echo(json.dumps(measured))
    else:
        Console().print(summary_table(measured, title=escape(f"{results.name} to {other.name}")))


@click.command(epilog="Example: posefix diagnose before.json after.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=EXISTING)
@click.argument("other", type=EXISTING, required=False)
@click.option("--annotations", type=EXISTING, required=True, help="COCO ground truth.")
@FORMAT
@click.option("--skeleton", default="coco17", show_default=True, help="A YAML file, or the name of a shipped one.")
@click.option("--impact/--no_impact", default=True, show_default=True, help="AP with each kind of error corrected.")
@click.option("--out", type=EXISTING, help="Write all numbers here, as JSON.")
@friendly
def diagnose(
    results: Path,
    other: Path | None,
    annotations: Path,
    format_name: str,
    skeleton: str,
    impact: bool,
    out: Path | None,
) -> None:
    """Say what results get wrong: Jitter, Inversion, Swap, Miss, people missed and made up.

    Of two files, such as one and the same before and after refinement, both are diagnosed and it is told what became
    of each error.
    """
    from rich.console import Console
    from rich.markup import escape

    from posefix.core.files import require_writable, write_atomically
    from posefix.core.skeleton import load
    from posefix.evaluation import diagnosis
    from posefix.evaluation.ground_truth import load_ground_truth
    from posefix.evaluation.impact import ap_impact
    from posefix.report import errors

    if out is not None:
        if out.resolve() in {path.resolve() for path in (results, other, annotations) if path is not None}:
            raise InputError(f"{out}: is named twice, as an output and as another file of this run")
        require_writable(out)
    chosen, console = load(skeleton), Console()
    truth = load_ground_truth(annotations, len(chosen))
    found, report = [], []
    for path in (results, other):
        if path is None:
            continue
        found.append(diagnosis.diagnose(truth, _results_of(path, format_name, chosen, annotations).people))
        report.append({"file": str(path), **found[-1].to_dict()})
        if unknown := found[-1].unknown_images:
            click.echo(f"{path}: {unknown} results are of images that the annotations lack")
        if not found[-1].found.any():
            click.echo(f"{path}: no result matches any of the {len(found[-1].truth)} annotated people")
            continue
        title = (
            f"{path.name}: {found[-1].found.sum():,} of {len(found[-1].truth):,} people found, "
            f"{found[-1].background.sum():,} results are nobody's"
        )
        console.print(errors.diagnosis_table(found[-1], escape(title)))
        if impact:
            report[-1]["impact"] = ap_impact(truth, found[-1].results)
            console.print(errors.impact_table(report[-1]["impact"]))
    content: dict[str, Any] = {"diagnoses": report}
    if other is not None:
        moves = diagnosis.transitions(*found)
        names = [kind.name.capitalize() for kind in diagnosis.KINDS]
        content["transitions"] = {
            before: dict(zip(names, row, strict=True)) for before, row in zip(names, moves.tolist(), strict=True)
        }
        followed = "each result followed" if diagnosis.same_people(*found) else "people found both times"
        console.print(errors.transition_table(moves, f"From (row) to (column), keypoints, {followed}"))
    if out is not None:
        write_atomically(out, json.dumps(content, indent=1) + "\n")


@click.command(epilog="Example: posefix fit results.json --annotations person_keypoints_train2017.json --out mine.yaml")
@click.argument("results", type=EXISTING, nargs=-1, required=True)
@click.option("--annotations", type=EXISTING, required=True, help="COCO ground truth of the same images.")
@click.option("--out", type=EXISTING, required=True, help="The statistics file to write (YAML).")
@FORMAT
@click.option("--skeleton", default="coco17", show_default=True, help="A YAML file, or the name of a shipped one.")
@click.option("--description", default="", help="A line that says where the numbers come from.")
@friendly
def fit(
    results: tuple[Path, ...], annotations: Path, out: Path, format_name: str, skeleton: str, description: str
) -> None:
    """Measure an estimator's errors, so that training can synthesise them; of several files, all of them pooled.

    The file that it writes goes into a configuration as synthesis.statistics.
    """
    import numpy as np

    from posefix.core.files import require_writable
    from posefix.core.skeleton import load
    from posefix.evaluation.diagnosis import diagnose as find_errors
    from posefix.evaluation.ground_truth import load_ground_truth
    from synth import Statistics, fit_statistics, pool

    if out.resolve() in {path.resolve() for path in (*results, annotations)}:
        raise InputError(f"{out}: is named twice, as an output and as another file of this run")
    require_writable(out)
    chosen = load(skeleton)
    truth = load_ground_truth(annotations, len(chosen))
    seen = []
    for path in results:
        seen.append(find_errors(truth, _results_of(path, format_name, chosen, annotations).people).observation())
        known = int((seen[-1].types >= 0).sum())
        if not known:
            raise InputError(f"{path}: no result matches an annotated person, so there is nothing to measure")
        click.echo(f"{path}: {len(seen[-1].types):,} people found, {known:,} annotated keypoints")
    measured = pool(seen) if len(seen) > 1 else seen[0]
    fitted = fit_statistics(measured, description or f"fitted to {', '.join(path.stem for path in results)}")
    written = Statistics.from_dict(fitted.to_dict(), str(out), chosen)
    written.probabilities_by_kind(measured.visible[:1], measured.overlaps[:1], chosen, np.zeros(1, int))
    written.save(out)
    click.echo(f"{out}: written")


def _results_of(path: Path, format_name: str, skeleton: Skeleton, annotations: Path) -> CocoResults:
    """Results of any format on the images of annotations, in a skeleton."""
    from posefix.formats import ImageIndex, read_results

    return read_results(path, format_name, skeleton, lambda: ImageIndex.of_annotations(annotations, skeleton))[0]


class _WithFormats(click.Command):
    """A command whose help ends with the list of formats."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from posefix.formats import FORMATS

        with formatter.section("Formats"):
            formatter.write_dl([(name, one.title) for name, one in FORMATS.items()])
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_WithFormats, epilog="Example: posefix convert openpose_output/ --to coco --images photos --out results.json"
)
@click.argument("path", type=EXISTING)
@click.option("--to", required=True, help="Name of the format to write.")
@click.option("--out", type=EXISTING, required=True, help="File or folder to write; .gz at its end: gzipped.")
@FORMAT
@OWN_SKELETON
@click.option("--images", type=EXISTING, help="Folder of the images, for their names and sizes.")
@click.option("--video_path", type=EXISTING, help="A video in place of --images; the ids are the frame numbers from 0.")
@click.option("--annotations", type=EXISTING, help="COCO ground truth, for the images' ids, names and sizes.")
@ON_ERROR
@friendly
def convert(
    path: Path,
    to: str,
    out: Path,
    format_name: str,
    skeleton: str | None,
    images: Path | None,
    video_path: Path | None,
    annotations: Path | None,
    on_error: OnError,
) -> None:
    """Turn results of one format into another.

    Ids of images are those of --annotations, or else the numbers that the images' names end in.
    """
    import numpy as np

    from posefix import formats
    from posefix.core.skeleton import load
    from posefix.formats import ImageIndex
    from posefix.media.video import VideoFrames

    if images is not None and video_path is not None:
        raise click.UsageError("give --images FOLDER or --video_path FILE, not both")
    if out.resolve() in {named.resolve() for named in (path, annotations, video_path) if named is not None}:
        raise InputError(f"{out}: is named twice, as an output and as another file of this run")
    target = formats.format_named(to)
    index = None
    if annotations is not None:
        index = ImageIndex.of_annotations(annotations, folder=images)
    elif images is not None:
        index = ImageIndex.of_folder(images)
    elif video_path is not None:
        index = ImageIndex.of_video(video_path, VideoFrames(video_path).size)
    chosen = load(skeleton) if skeleton else None
    people = formats.read(path, format_name, skeleton=chosen, images=index, on_error=on_error)
    if target.kind == "id" and target.name != "coco-annotations" and people.source.synthetic_ids:
        raise InputError(
            f"{path}: not every image's name ends in a number of its own, so that ids could not say which they are; "
            "convert --to coco-annotations, which lists the names, or give --annotations that do"
        )
    written = formats.fitted(people, target)
    formats.write(people, out, target.name)
    if people.source.problems:
        count = len(people.source.problems)
        click.echo(f"{count} could not be used, the first: {people.source.problems[0]}", err=True)
    kept = np.full(len(people), True) if target.name == people.source.format else formats.writable(written)
    if empty := int((~kept).sum()):
        click.echo(
            f"{empty} without any estimate in {written.skeleton.name}, or of images that are absent, are left out"
        )
    title = formats.FORMATS[people.source.format].title
    click.echo(
        f"{kept.sum()} people in {len(np.unique(people.image_ids[kept]))} images, {title} to {target.title}: {out}"
    )
    shared = (people.skeleton.indices_from(written.skeleton) >= 0).sum()
    if written.skeleton != people.skeleton:
        click.echo(
            f"{shared} of the {len(people.skeleton)} keypoints of {people.skeleton.name} are among the "
            f"{len(written.skeleton)} of {written.skeleton.name}"
        )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="posefix")
def main() -> None:
    """Refine human poses, whatever estimator they come from."""


main.add_command(refine)
main.add_command(train)
main.add_command(evaluate)
main.add_command(diagnose)
main.add_command(fit)
main.add_command(convert)
