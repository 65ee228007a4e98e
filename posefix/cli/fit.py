"""``posefix fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from posefix.cli.options import PATH, friendly, on_results, option, read_measured


@click.command(epilog="Example: posefix fit results.json --annotations person_keypoints_train2017.json --out mine.yaml")
@on_results
@option("--out", type=PATH, required=True, help="Statistics file to write (YAML).")
@friendly
def fit(out: Path, **inputs: Any) -> None:
    """Measure an estimator's errors for training; several files are pooled.

    Use the written file as synthesis.statistics in a training configuration.
    """
    from posefix.evaluation.error_report import fit_errors

    truth, results = read_measured(**inputs, out=out)
    fit_errors(truth, dict(results), f"fitted to {', '.join(Path(name).stem for name, _ in results)}").save(out)
    click.echo(f"{out}: written")
