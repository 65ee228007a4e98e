"""``posefix fit``."""

from __future__ import annotations

from pathlib import Path

import click

from posefix.cli.options import ANNOTATIONS, FORMAT, PATH, SKELETON, friendly, read_measured, require_output


@click.command(epilog="Example: posefix fit results.json --annotations person_keypoints_train2017.json --out mine.yaml")
@click.argument("results", type=PATH, nargs=-1, required=True)
@ANNOTATIONS
@click.option("--out", type=PATH, required=True, help="The statistics file to write (YAML).")
@FORMAT
@SKELETON
@friendly
def fit(results: tuple[Path, ...], annotations: Path, out: Path, format_name: str, skeleton: str) -> None:
    """Measure an estimator's errors, so that training can synthesise them; of several files, all of them pooled.

    The file that it writes goes into a configuration as synthesis.statistics.
    """
    from posefix.evaluation.error_report import fit_errors

    require_output(out, (*results, annotations))
    truth, read = read_measured(results, annotations, skeleton, format_name)
    fit_errors(truth, read, f"fitted to {', '.join(path.stem for path in results)}").save(out)
    click.echo(f"{out}: written")
