"""Show measurements as tables in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from posefix.evaluation.coco import Metrics
from posefix.evaluation.diagnosis import KIND_NAMES


def titled_table(title: str | None, *headings: str) -> Table:
    """Create a table; columns with a heading are right-aligned."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    return table


def summary_table(
    metrics: Mapping[str, Metrics],
    title: str | None = None,
    lower_is_better: Collection[str] = (),
    units: Mapping[str, str] | None = None,
) -> Table:
    """Show before, after, and gain with its 95 % interval for each metric.

    Args:
        metrics: ``before``, ``after`` and ``gain`` as returned by :func:`posefix.evaluation.comparison.compare`.
        title: above the table.
        lower_is_better: names of the metrics that are errors.
        units: of the metrics that have one.
    """
    table = titled_table(title, "", "before", "after", "gain", "95 % interval")
    gains = metrics["gain"]
    for name, before in metrics["before"].items():
        after, gain, low, high = metrics["after"][name], gains[name], gains[f"{name}_low"], gains[f"{name}_high"]
        if before is None or after is None or gain is None or low is None or high is None:
            table.add_row(with_unit(name, units), *[Text("-", style="dim")] * 4)
            continue
        change = _change(gain, low, high, name not in lower_is_better)
        table.add_row(with_unit(name, units), f"{before:.2f}", f"{after:.2f}", *change)
    return table


def with_unit(name: str, units: Mapping[str, str] | None) -> str:
    """Return the name of a measure, with its unit if it has one."""
    return f"{name}, {units[name]}" if units and name in units else name


def difference_tables(
    compared: Sequence[Mapping[str, Any]], units: Mapping[str, str], higher_is_better: Collection[str] = ()
) -> Iterator[Table]:
    """Yield a table for each file: its measures and, after the first, differences to the first with 95 % intervals.

    Args:
        compared: as returned by :func:`posefix.lifting.comparison.compare`.
        units: of the measures, in the order of the rows.
        higher_is_better: names of the measures that are not errors.
    """
    for entry in compared:
        differences = entry.get("difference")
        headings = ["from the first", "95 % interval"] if differences else []
        table = titled_table(escape(entry["file"]), "", "value", *headings)
        for name in units:
            value = entry["measures"][name]
            cells: list[str | Text] = ["-" if value is None else f"{value:.2f}"]
            if differences:
                change, low, high = (differences[key] for key in (name, f"{name}_low", f"{name}_high"))
                cells += _change(change, low, high, name in higher_is_better)
            table.add_row(with_unit(name, units), *cells)
        yield table


def _change(change: float | None, low: float | None, high: float | None, higher_is_better: bool) -> list[Text]:
    """Return cells with a change and its interval, coloured if the interval excludes 0."""
    if change is None or low is None or high is None:
        return [Text("-", style="dim")] * 2
    if low == high:  # of one image or video there is no interval
        return [Text(f"{change:+.2f}"), Text("-", style="dim")]
    better, worse = (low > 0, high < 0) if higher_is_better else (high < 0, low > 0)
    style = "green" if better else "red" if worse else ""
    return [Text(text, style=style) for text in (f"{change:+.2f}", f"[{low:+.2f}, {high:+.2f}]")]


def report_tables(report: Mapping[str, Any]) -> Iterator[Table | str]:
    """Yield the tables and texts of a report of :func:`posefix.evaluation.error_report.report_errors`."""
    for diagnosis in report["diagnoses"]:
        if not diagnosis["found"]:
            yield escape(f"{diagnosis['file']}: no result matches any of the {diagnosis['people']} annotated people")
            continue
        title = (
            f"{Path(diagnosis['file']).name}: {diagnosis['found']:,} of {diagnosis['people']:,} people found, "
            f"{diagnosis['background']:,} results match no annotated person"
        )
        yield diagnosis_table(diagnosis, escape(title))
        yield impact_table(diagnosis["impact"])
    if "transitions" in report:
        followed = "each result followed" if report["followed"] else "people found both times"
        yield transition_table(report["transitions"], f"From (row) to (column), keypoints, {followed}")


def diagnosis_table(diagnosis: Mapping[str, Any], title: str) -> Table:
    """Show percentages of error types over all keypoints, and by keypoint, body group, condition, size and score."""
    table = titled_table(title, "", "keypoints", *KIND_NAMES)
    for name, rows in {"": {"all": diagnosis["errors"]}, **diagnosis["by"]}.items():
        for label, counts in rows.items():
            total = sum(counts.values())
            shares = (f"{count / total:.1%}" if total else "-" for count in counts.values())
            table.add_row(label if name in ("", "keypoint") else f"{name}: {label}", f"{total:,}", *shares)
        table.add_section()
    return table


def impact_table(impact: Mapping[str, Metrics]) -> Table:
    """Show AP with each kind of error corrected by itself, and the gain."""
    table = titled_table("AP if one kind of error were gone", "", "AP", "worth", "AP50", "AP75")
    before = impact["as it is"]["AP"]
    for name, metrics in impact.items():
        gain = "" if name == "as it is" or before is None or metrics["AP"] is None else f"{metrics['AP'] - before:+.2f}"
        values = ["-" if metrics[key] is None else f"{metrics[key]:.2f}" for key in ("AP", "AP50", "AP75")]
        table.add_row(name, values[0], gain, *values[1:])
    return table


def transition_table(transitions: Mapping[str, Mapping[str, int]], title: str) -> Table:
    """Show counts of keypoints by error type before (rows) and after (columns)."""
    table = titled_table(title, "", *KIND_NAMES, "before")
    after = {name: sum(row[name] for row in transitions.values()) for name in KIND_NAMES}
    for name, counts in {**transitions, "after": after}.items():
        style = "dim" if name == "after" else None
        table.add_row(name, *(f"{count:,}" for count in [*counts.values(), sum(counts.values())]), style=style)
    return table
