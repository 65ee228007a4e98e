"""Show how far a refinement is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from rich import progress
from rich.console import Console


@contextmanager
def people_progress(console: Console, total: int, begun: int) -> Iterator[Callable[[int], None]]:
    """Show a progress line; yields a function to be called with the number of people that a batch refined.

    The elapsed time runs from the start; the time left is known from the first batch on. Of ``total`` people ``begun``
    were refined before this run.
    """
    people = (progress.TextColumn("refining"), progress.BarColumn(), progress.MofNCompleteColumn(), "people")
    times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn(), "left")
    line = progress.Progress(progress.SpinnerColumn(), *people, *times, console=console, speed_estimate_period=inf)
    with line:
        task = line.add_task("", total=total, completed=begun)
        line.advance(task, 0)  # the speed is measured from here on
        yield lambda count: line.advance(task, count)
