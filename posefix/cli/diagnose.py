"""``posefix diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import ANNOTATIONS, EXISTING, FORMAT, SKELETON, friendly, results_on
from posefix.core.errors import InputError


@click.command(epilog="Example: posefix diagnose before.json after.json --annotations person_keypoints_val2017.json")
@click.argument("results", type=EXISTING)
@click.argument("other", type=EXISTING, required=False)
@ANNOTATIONS
@FORMAT
@SKELETON
@click.option("--impact/--no_impact", default=True, show_default=True, help="AP with each kind of error corrected.")
@click.option("--out", type=EXISTING, help="Write all numbers here, as JSON.")
@friendly
def diagnose(
    results: Path,
    other: Path | None,
    annotations: Path,
    format_name: str,
    skeleton: str,
    impact: bool,
    out: Path | None,
) -> None:
    """Say what results get wrong: Jitter, Inversion, Swap, Miss, people missed and made up.

    Of two files, such as one and the same before and after refinement, both are diagnosed and it is told what became
    of each error.
    """
    from rich.console import Console
    from rich.markup import escape

    from posefix.core.files import require_writable, write_atomically
    from posefix.core.skeleton import load
    from posefix.evaluation import diagnosis
    from posefix.evaluation.ground_truth import load_ground_truth
    from posefix.evaluation.impact import ap_impact
    from posefix.report import errors

    if out is not None:
        if out.resolve() in {path.resolve() for path in (results, other, annotations) if path is not None}:
            raise InputError(f"{out}: is named twice, as an output and as another file of this run")
        require_writable(out)
    chosen, console = load(skeleton), Console()
    truth = load_ground_truth(annotations, len(chosen))
    found, report = [], []
    for path in (results, other):
        if path is None:
            continue
        found.append(diagnosis.diagnose(truth, results_on(path, format_name, chosen, annotations)))
        report.append({"file": str(path), **found[-1].to_dict()})
        if unknown := found[-1].unknown_images:
            click.echo(f"{path}: {unknown} results are of images that the annotations lack")
        if not found[-1].found.any():
            click.echo(f"{path}: no result matches any of the {len(found[-1].truth)} annotated people")
            continue
        title = (
            f"{path.name}: {found[-1].found.sum():,} of {len(found[-1].truth):,} people found, "
            f"{found[-1].background.sum():,} results are nobody's"
        )
        console.print(errors.diagnosis_table(found[-1], escape(title)))
        if impact:
            report[-1]["impact"] = ap_impact(truth, found[-1].results)
            console.print(errors.impact_table(report[-1]["impact"]))
    content: dict[str, Any] = {"diagnoses": report}
    if other is not None:
        moves = diagnosis.transitions(*found)
        names = [kind.name.capitalize() for kind in diagnosis.KINDS]
        content["transitions"] = {
            before: dict(zip(names, row, strict=True)) for before, row in zip(names, moves.tolist(), strict=True)
        }
        followed = "each result followed" if diagnosis.same_people(*found) else "people found both times"
        console.print(errors.transition_table(moves, f"From (row) to (column), keypoints, {followed}"))
    if out is not None:
        write_atomically(out, json.dumps(content, indent=1) + "\n")
