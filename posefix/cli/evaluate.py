"""``posefix evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import JSON, friendly, on_results, read_measured


@click.command(epilog="Example: posefix evaluate results.json --annotations person_keypoints_val2017.json")
@on_results
@JSON
@friendly
def evaluate(as_json: bool, **chosen: Any) -> None:
    """Measure results, or compare two files on the same images with a 95 % interval."""
    import numpy as np
    from rich.console import Console
    from rich.markup import escape

    from posefix.evaluation.coco import evaluate as measure
    from posefix.evaluation.comparison import compare
    from posefix.report.tables import summary_table

    truth, ((name, before), *others) = read_measured(**chosen, most=2)
    metrics: Any
    if others:
        metrics = compare(truth, before, others[0][1], rng=np.random.default_rng(0))
    else:
        metrics = measure(truth, before).metrics()
    if as_json:
        click.echo(json.dumps(metrics))
    elif others:
        title = f"{Path(name).name} to {Path(others[0][0]).name}"
        Console().print(summary_table(metrics, title=escape(title)))
    else:
        click.echo("\n".join(f"{key:5} {'-' if value is None else f'{value:.2f}'}" for key, value in metrics.items()))
