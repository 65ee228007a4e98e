"""Measurements as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from posefix.evaluation.coco import Metrics
from posefix.evaluation.diagnosis import KIND_NAMES, Diagnosis, same_people
from posefix.evaluation.error_report import ErrorReport


def titled_table(title: str | None, *headings: str) -> Table:
    """Begin a table of numbers; columns with a heading are aligned right."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    return table


def summary_table(metrics: Mapping[str, Metrics], title: str | None = None) -> Table:
    """Show before, after, and gain with its 95 % interval for each metric that could be measured.

    Args:
        metrics: ``before``, ``after`` and ``gain`` as :func:`posefix.evaluation.comparison.compare` returns them.
        title: above the table.
    """
    table = titled_table(title, "", "before", "after", "gain", "95 % interval")
    gains = metrics["gain"]
    for name, before in metrics["before"].items():
        after, gain, low, high = metrics["after"][name], gains[name], gains[f"{name}_low"], gains[f"{name}_high"]
        if before is None or after is None or gain is None or low is None or high is None:
            table.add_row(name, *[Text("-", style="dim")] * 4)
            continue
        style = "green" if low > 0 else "red" if high < 0 else ""
        changes = (Text(text, style=style) for text in (f"{gain:+.2f}", f"[{low:+.2f}, {high:+.2f}]"))
        table.add_row(name, f"{before:.2f}", f"{after:.2f}", *changes)
    return table


def report_tables(report: ErrorReport) -> Iterator[Table | str]:
    """Yield a diagnosis of each file, what its errors cost, and what became of each, to be printed in turn."""
    for name, found in report.diagnoses.items():
        if not found.found.any():
            yield escape(f"{name}: no result matches any of the {len(found.truth)} annotated people")
            continue
        title = (
            f"{Path(name).name}: {found.found.sum():,} of {len(found.truth):,} people found, "
            f"{found.background.sum():,} results match no annotated person"
        )
        yield diagnosis_table(found, escape(title))
        if name in report.impacts:
            yield impact_table(report.impacts[name])
    if report.transitions is not None:
        first, *_, last = report.diagnoses.values()
        followed = "each result followed" if same_people(first, last) else "people found both times"
        yield transition_table(report.transitions, f"From (row) to (column), keypoints, {followed}")


def diagnosis_table(diagnosis: Diagnosis, title: str) -> Table:
    """Show error types over all keypoints, and by keypoint, body group, condition, size and score, in percent."""
    table = titled_table(title, "", "keypoints", *KIND_NAMES)
    for name, rows in {"": {"all": diagnosis.counts()}, **diagnosis.breakdown()}.items():
        for label, counts in rows.items():
            total = int(counts.sum())
            shares = (f"{count / total:.1%}" if total else "-" for count in counts)
            table.add_row(label if name in ("", "keypoint") else f"{name}: {label}", f"{total:,}", *shares)
        table.add_section()
    return table


def impact_table(impact: Mapping[str, Metrics]) -> Table:
    """Show AP with each kind of error alone corrected, and what that is worth."""
    table = titled_table("AP if one kind of error were gone", "", "AP", "worth", "AP50", "AP75")
    before = impact["as it is"]["AP"]
    for name, metrics in impact.items():
        gain = "" if name == "as it is" or before is None or metrics["AP"] is None else f"{metrics['AP'] - before:+.2f}"
        values = ["-" if metrics[key] is None else f"{metrics[key]:.2f}" for key in ("AP", "AP50", "AP75")]
        table.add_row(name, values[0], gain, *values[1:])
    return table


def transition_table(moves: np.ndarray, title: str) -> Table:
    """Show what became of the keypoints of each error type; moves (5, 5) as from ``posefix.evaluation.diagnosis``."""
    table = titled_table(title, "", *KIND_NAMES, "before")
    for name, row in zip(KIND_NAMES, moves, strict=True):
        table.add_row(name, *(f"{count:,}" for count in row), f"{row.sum():,}")
    table.add_row("after", *(f"{count:,}" for count in moves.sum(0)), f"{moves.sum():,}", style="dim")
    return table
