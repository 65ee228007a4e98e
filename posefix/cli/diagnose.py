"""``posefix diagnose``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from posefix.cli.options import ANNOTATIONS, FORMAT, JSON, PATH, SKELETON, friendly, read_measured, require_output


@click.command(epilog="Example: posefix diagnose before.json after.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=PATH)
@click.argument("other", type=PATH, required=False)
@ANNOTATIONS
@FORMAT
@SKELETON
@click.option("--out", type=PATH, help="Write all numbers here, as JSON.")
@JSON
@friendly
def diagnose(
    results: Path,
    other: Path | None,
    annotations: Path,
    format_name: str,
    skeleton: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what results get wrong: Jitter, Inversion, Swap, Miss, missed people and false positives.

    With two files, such as results before and after refinement, both are diagnosed, and what became of each error.
    """
    from rich.console import Console

    from posefix.core.files import write_atomically
    from posefix.evaluation.error_report import report_errors
    from posefix.report.tables import report_tables

    require_output(out, (results, other, annotations))
    truth, read = read_measured((results, other), annotations, skeleton, format_name)
    report = report_errors(truth, read)
    if as_json:
        click.echo(json.dumps(report))
    else:
        console = Console()
        for part in report_tables(report):
            console.print(part)
    if out is not None:
        write_atomically(out, json.dumps(report, indent=1) + "\n")
