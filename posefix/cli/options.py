"""Options that several commands share, and how a command ends when something is wrong."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.core.people import People
    from posefix.core.skeleton import Skeleton

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
RESULTS_SKELETON = click.option(
    "--skeleton", help="What the keypoints of the results are, where their format does not say: a YAML file, or a name."
)
ANNOTATIONS = click.option("--annotations", type=EXISTING, required=True, help="COCO ground truth of the same images.")
SKELETON = click.option(
    "--skeleton", default="coco17", show_default=True, help="A YAML file, or the name of a shipped one."
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


def results_on(path: Path, format_name: str, skeleton: Skeleton, annotations: Path) -> People:
    """People of a results file of any format on the images of annotations, in a skeleton."""
    from posefix.formats import ImageIndex, read_in

    return read_in(skeleton, path, format_name, lambda: ImageIndex.of_annotations(annotations, skeleton))
