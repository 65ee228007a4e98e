"""A diagnosis as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from posefix.evaluation.diagnosis import KINDS, Diagnosis
from posefix.evaluation.impact import Metrics

NAMES = [kind.name.capitalize() for kind in KINDS]


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
