"""``posefix diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import JSON, PATH, friendly, on_results, option, read_measured


@click.command(epilog="Example: posefix diagnose before.json after.json --annotations person_keypoints_val2017.json")
@on_results
@option("--out", type=PATH, help="File for all numbers, as JSON.")
@JSON
@friendly
def diagnose(out: Path | None, as_json: bool, **inputs: Any) -> None:
    """Show what results get wrong: Jitter, Inversion, Swap, Miss, missed people and false positives.

    With two files, such as results before and after refinement, it also shows what became of each error.
    """
    from rich.console import Console

    from posefix.core.files import write_atomically
    from posefix.evaluation.error_report import report_errors
    from posefix.report.tables import report_tables

    truth, results = read_measured(**inputs, out=out, most=2)
    report = report_errors(truth, dict(results))
    if as_json:
        click.echo(json.dumps(report))
    else:
        console = Console()
        for table in report_tables(report):
            console.print(table)
    if out is not None:
        write_atomically(out, json.dumps(report, indent=1) + "\n")
