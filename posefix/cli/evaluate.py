"""``posefix evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import ANNOTATIONS, EXISTING, FORMAT, SKELETON, friendly, results_on


@click.command(epilog="Example: posefix evaluate results.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=EXISTING)
@click.argument("other", type=EXISTING, required=False)
@ANNOTATIONS
@FORMAT
@SKELETON
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
    from posefix.formats.coco import people_records
    from posefix.report.table import summary_table

    chosen = load(skeleton)
    first = people_records(results_on(results, format_name, chosen, annotations))
    if other is None:
        measured: dict[str, Any] = evaluate_records(annotations, first, sigmas=chosen.sigmas).metrics()
        text = "\n".join(f"{name:5} {'-' if value is None else f'{value:.2f}'}" for name, value in measured.items())
        click.echo(json.dumps(measured) if as_json else text)
        return
    second = people_records(results_on(other, format_name, chosen, annotations))
    measured = compare(annotations, first, second, rng=np.random.default_rng(0), sigmas=chosen.sigmas)
    if as_json:
        click.echo(json.dumps(measured))
    else:
        Console().print(summary_table(measured, title=escape(f"{results.name} to {other.name}")))
