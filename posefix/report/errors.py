"""A diagnosis as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from posefix.evaluation.coco import Metrics
from posefix.evaluation.diagnosis import KINDS, Diagnosis, same_people
from posefix.evaluation.error_report import ErrorReport

NAMES = [kind.name.capitalize() for kind in KINDS]


def report_tables(report: ErrorReport) -> Iterator[Table | str]:
    """Yield a diagnosis of each file, what its errors cost, and what became of each, to be printed in turn."""
    for name, found in report.diagnoses.items():
        if not found.found.any():
            yield escape(f"{name}: no result matches any of the {len(found.truth)} annotated people")
            continue
        title = (
            f"{Path(name).name}: {found.found.sum():,} of {len(found.truth):,} people found, "
            f"{found.background.sum():,} results are nobody's"
        )
        yield diagnosis_table(found, escape(title))
        if name in report.impacts:
            yield impact_table(report.impacts[name])
    if report.transitions is not None:
        first, *_, last = report.diagnoses.values()
        followed = "each result followed" if same_people(first, last) else "people found both times"
        yield transition_table(report.transitions, f"From (row) to (column), keypoints, {followed}")


def diagnosis_table(diagnosis: Diagnosis, title: str) -> Table:
    """Error types over all keypoints, and by keypoint, body group, condition, size and score, in percent."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "keypoints", *NAMES):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("all", *_shares(diagnosis.counts()))
    for name, rows in diagnosis.breakdown().items():
        table.add_section()
        for label, counts in rows.items():
            table.add_row(label if name == "keypoint" else f"{name}: {label}", *_shares(counts))
    return table


def impact_table(impact: Mapping[str, Metrics]) -> Table:
    """AP with each kind of error alone corrected, and what that is worth."""
    table = Table(title="AP if one kind of error were gone", title_justify="left")
    for heading in ("", "AP", "worth", "AP50", "AP75"):
        table.add_column(heading, justify="right" if heading else "left")
    before = impact["as it is"]["AP"]
    for name, metrics in impact.items():
        gain = "" if name == "as it is" or before is None or metrics["AP"] is None else f"{metrics['AP'] - before:+.2f}"
        values = ["-" if metrics[key] is None else f"{metrics[key]:.2f}" for key in ("AP", "AP50", "AP75")]
        table.add_row(name, values[0], gain, *values[1:])
    return table


def transition_table(moves: np.ndarray, title: str) -> Table:
    """What became of the keypoints of each error type; moves (5, 5) as from ``posefix.evaluation.diagnosis``."""
    table = Table(title=title, title_justify="left")
    for heading in ("", *NAMES, "before"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in zip(NAMES, moves, strict=True):
        table.add_row(name, *(f"{count:,}" for count in row), f"{row.sum():,}")
    table.add_row("after", *(f"{count:,}" for count in moves.sum(0)), f"{moves.sum():,}", style="dim")
    return table


def _shares(counts: np.ndarray) -> list[str]:
    total = int(counts.sum())
    return [f"{total:,}", *(f"{count / total:.1%}" if total else "-" for count in counts)]
