"""``posefix evaluate-3d``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from posefix.cli.options import JSON, PATH, friendly


@click.command("evaluate-3d", epilog="Example: posefix evaluate-3d raw3d.json refined3d.json reference.json")
@click.argument("results", type=PATH, nargs=-1, required=True)
@click.argument("truth", type=PATH)
@JSON
@friendly
def evaluate_3d(results: tuple[Path, ...], truth: Path, as_json: bool) -> None:
    """Measure 3D poses against a reference, and compare several files with the first.

    All files are JSON as written by posefix lift. Intervals are 95 %, by bootstrap over time and tracks.
    """
    import numpy as np
    from rich.console import Console

    from posefix.lifting.comparison import HIGHER_IS_BETTER, UNITS, compare
    from posefix.lifting.poses import read_poses3d
    from posefix.report.tables import difference_tables

    reference = read_poses3d(truth)
    compared = compare(reference, [(str(path), read_poses3d(path)) for path in results], rng=np.random.default_rng(0))
    if as_json:
        click.echo(json.dumps(compared))
    else:
        Console().print(*difference_tables(compared, UNITS, HIGHER_IS_BETTER), sep="\n")
