"""The metrics before and after as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text


def summary_table(metrics: Mapping[str, Mapping[str, float | None]], title: str | None = None) -> Table:
    """Before, after, and gain with its 95 % interval for each metric that could be measured.

    Args:
        metrics: ``before``, ``after`` and ``gain`` as :func:`posefix.evaluation.comparison.compare` returns them.
        title: above the table.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("before", "after", "gain", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, before in metrics["before"].items():
        after, gain = metrics["after"][name], metrics["gain"][name]
        low, high = metrics["gain"][f"{name}_low"], metrics["gain"][f"{name}_high"]
        if before is None or after is None or gain is None or low is None or high is None:
            table.add_row(name, *[Text("-", style="dim")] * 4)
            continue
        style = "green" if low > 0 else "red" if high < 0 else ""
        gain_text, interval = Text(f"{gain:+.2f}", style=style), Text(f"[{low:+.2f}, {high:+.2f}]", style=style)
        table.add_row(name, f"{before:.2f}", f"{after:.2f}", gain_text, interval)
    return table
