"""Show how far a refinement is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def people_progress(console: Console, total: int, begun: int) -> Iterator[Callable[[int], None]]:
    """Show a progress line; yields a function to be called with the number of people that a batch refined.

    The elapsed time runs from the start; the time left is shown from the first batch on. Of ``total`` people ``begun``
    were refined before this run.
    """
    columns = (SpinnerColumn(), TextColumn("refining"), BarColumn(), MofNCompleteColumn(), TextColumn("people"))
    done, started = begun, time.perf_counter()
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("first batch ..." if total > begun else "", total=total, completed=begun)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            left = (time.perf_counter() - started) * (total - done) / max(done - begun, 1)
            text = f"{timedelta(seconds=round(left))} left" if done < total else ""
            progress.update(task, completed=done, description=text)

        yield advance
