"""Options shared by several commands, and the handling of errors."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.core.errors import InputError, counted
from posefix.core.files import require_outputs
from posefix.refine import settings

if TYPE_CHECKING:
    from posefix.core.people import People
    from posefix.evaluation.ground_truth import GroundTruth

Command = Callable[..., None]
PATH = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A range of numbers without inf and NaN; click's own ranges contain NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not math.isfinite(number := click.FLOAT.convert(value, param, ctx)):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(super().convert(number, param, ctx))


FINITE_POSITIVE = FiniteRange(0, min_open=True)
option = functools.partial(click.option, show_default=True)
FORMAT = option("--format", default="auto", help="Format of the results; posefix convert --help lists all.")
ON_ERROR = option(
    "--on_error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    help="At an unusable record or image: stop, or pass it through unchanged and count it.",
)
RESULTS_SKELETON = option(
    "--skeleton", help="Keypoint definition, if the format does not give it: a YAML file, or a shipped name."
)
CHECKPOINT = option("--checkpoint", default="posefix-base", help="Weights: a .safetensors file, or a shipped name.")
TEST_BATCH = option("--batch_size", "--test_batch", type=click.IntRange(1), default=64, help="People per batch.")
FLIP_TEST = option("--flip_test/--no_flip_test", default=True, help="Flip test: average over the mirrored image.")
ESTIMATOR_AP = option(
    "--estimator_ap",
    type=FiniteRange(1, 100),
    help="AP that the estimator reaches, in percent; the better it is, the less its keypoints are moved. By default "
    f"the published AP of the format's estimators, or {settings.ESTIMATOR_AP:g} if there is none.",
)
DEVICE = option("--device", help="Device, such as cpu or cuda:0. By default a GPU if there is one.")
ENGINE = option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", "torch"]),
    default="auto",
    help="Engine that runs the network; auto uses the fastest installed one.",
)
THREADS = option("--threads", type=click.IntRange(1, 1024), help="CPU cores for the network; all by default.")
IMAGES = option("--images", type=PATH, help="Folder of the images.")
JSON = option("--json", "as_json", is_flag=True, help="Print JSON.")

OUTSIDE = "{have} a pose outside of the image or frame: results must be in pixels of these images or this video"
OUT_OF_MEMORY = "the GPU is out of memory; set smaller batches with --test_batch or --train_batch, or use --device cpu"


def friendly(command: Command) -> Command:
    """Make a command end in one sentence and exit code 2 on bad input, and 130 on Ctrl-C, never in a traceback."""

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
        except MemoryError as error:
            _end(f"Error: out of memory{f': {error}' if str(error) else ''}", 2)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # avoids the slow import of torch
                raise
            _end(f"Error: {OUT_OF_MEMORY}", 2)

    return run


def _end(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


def on_results(command: Command) -> Command:
    """Add the arguments and options of :func:`read_measured`, except ``out`` and ``most``."""
    annotations = option("--annotations", type=PATH, required=True, help="COCO annotations of the same images.")
    skeleton = option("--skeleton", default="coco17", help="Keypoint definition: a YAML file, or a shipped name.")
    results = click.argument("results", type=PATH, nargs=-1, required=True)
    return results(annotations(FORMAT(skeleton(command))))


def read_measured(
    results: tuple[Path, ...],
    annotations: Path,
    format: str,
    skeleton: str,
    out: Path | None = None,
    most: int | None = None,
) -> tuple[GroundTruth, list[tuple[str, People]]]:
    """Read ground truth and at most ``most`` results, in order; report ignored results on stderr.

    Raises:
        InputError: a file cannot be read or written, or the annotations list no image of a results file.
    """
    from posefix.core.skeleton import load
    from posefix.evaluation.coco import count_other_categories
    from posefix.evaluation.ground_truth import GroundTruth, read_results, uncovered, unlisted

    if most is not None and len(results) > most:
        raise click.UsageError(f"give at most {most} files of results, not {len(results)}")
    require_outputs([out], (*results, annotations))
    truth = GroundTruth.read(annotations, load(skeleton))
    loaded = [(str(path), read_results(path, truth, format)) for path in results]
    if count := truth.unlisted_annotations:
        message = f"{counted(count, 'annotation')} of images that are not listed: left out"
        click.echo(f"{annotations}: {message}", err=True)
    for name, people in loaded:
        if not len(people):
            click.echo(f"{name}: has no people", err=True)
        if count := unlisted(people, truth):
            message = f"{count} of {len(people)} results are of images that {annotations} does not list"
            click.echo(f"{name}: {message}; they are left out", err=True)
        if len(people) and (count := uncovered(people, truth)):
            message = f"{counted(count, 'image')} with annotated people and no results"
            click.echo(f"{name}: {message}: these people count as missed", err=True)
        if count := count_other_categories(people, truth):
            message = f"{count} of {len(people)} results have a category_id that {annotations} does not annotate"
            click.echo(f"{name}: {message}; they do not count, as in COCO's tools", err=True)
    return truth, loaded
