"""``posefix evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from posefix.cli.options import ANNOTATIONS, FORMAT, JSON, PATH, SKELETON, friendly, read_measured


@click.command(epilog="Example: posefix evaluate results.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=PATH)
@click.argument("other", type=PATH, required=False)
@ANNOTATIONS
@FORMAT
@SKELETON
@JSON
@friendly
def evaluate(
    results: Path, other: Path | None, annotations: Path, format_name: str, skeleton: str, as_json: bool
) -> None:
    """Measure results, or compare two files on the same images with a 95 % interval."""
    import numpy as np
    from rich.console import Console
    from rich.markup import escape

    from posefix.evaluation.coco import evaluate as measure
    from posefix.evaluation.comparison import compare
    from posefix.report.tables import summary_table

    truth, read = read_measured((results, other), annotations, skeleton, format_name)
    if other is None:
        metrics = measure(truth, read[str(results)]).metrics()
        text = "\n".join(f"{name:5} {'-' if value is None else f'{value:.2f}'}" for name, value in metrics.items())
        click.echo(json.dumps(metrics) if as_json else text)
        return
    compared = compare(truth, read[str(results)], read[str(other)], rng=np.random.default_rng(0))
    if as_json:
        click.echo(json.dumps(compared))
    else:
        Console().print(summary_table(compared, title=escape(f"{results.name} to {other.name}")))
