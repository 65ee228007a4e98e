"""How near synthesised errors are to an estimator's real ones, for several statistics: a table and a picture.

python -m tools.compare_synth results.json --annotations truth.json --statistics pooled --plot near.png

The last column is the floor: the same numbers between two halves of the real results, which differ by chance alone.
"""

from __future__ import annotations

import io
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track

from posefix import formats
from posefix.cli.options import friendly
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import require_writable, write_atomically
from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import load_ground_truth
from synth import ErrorType, Neighbours, Observation, Statistics, synthesize
from synth.divergence import divergences

REPEATS = 4  # draws for each person
SHOWN = (
    "types",
    "wrong keypoints of a person",
    "same error on a limb",
    "miss distance",
    "miss direction",
    "miss on a limb",
)
DISTANCES = {ErrorType.GOOD: 0.41, ErrorType.JITTER: 0.84, ErrorType.MISS: 6.0}
FLOOR = "(chance)"


def drawn(truth: People, neighbours: Neighbours, statistics: Statistics, rng: np.random.Generator) -> Observation:
    """Errors drawn for the same people, ``REPEATS`` times each."""
    rows = np.tile(np.arange(len(truth)), REPEATS)
    people, others = truth[rows], neighbours.take(rows)
    found = synthesize(people, others, statistics, rng, impute=1.0)
    scores = found.scores if statistics.confidence is not None else None
    return Observation.of(people, found.keypoints, others, scores)


def halves(
    seen: Observation, neighbours: Neighbours, keypoints: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """What two halves of the images differ by."""
    ids = np.unique(seen.truth.image_ids)
    first = np.isin(seen.truth.image_ids, rng.permutation(ids)[: len(ids) // 2])
    parts = [
        Observation.of(seen.truth[rows], keypoints[rows], neighbours.take(rows), seen.scores[rows])
        for rows in (np.flatnonzero(first), np.flatnonzero(~first))
    ]
    return divergences(*parts)


def table(columns: dict[str, dict[str, float]]) -> str:
    """A Markdown table of what was compared."""
    names = list(columns)
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for what in dict.fromkeys(what for column in columns.values() for what in column):
        values = [columns[name].get(what, np.nan) for name in names]
        lines.append(f"| {what} | " + " | ".join("-" if np.isnan(v) else f"{v:.3g}" for v in values) + " |")
    return "\n".join(lines)


def picture(real: Observation, samples: dict[str, Observation], columns: dict[str, dict[str, float]]) -> bytes:
    """A PNG: the divergences as bars, and how far keypoints lie, really and as drawn."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, max(len(SHOWN), 3), squeeze=False)
    colors = dict(zip(columns, ("#9aa4b0", "#4a86c7", "#3f9c7a", "#8d6cc0", "#e8c15a"), strict=False))
    for axes, what in zip(upper, SHOWN, strict=True):
        values = [columns[name].get(what, np.nan) for name in columns]
        axes.bar(range(len(columns)), values, color=[colors.get(name, "#d8dde3") for name in columns])
        axes.set_title(what, fontsize=8)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in lower:
        axes.remove()
    grid = lower[0].get_gridspec()
    for i, (kind, longest) in enumerate(DISTANCES.items()):
        axes = figure.add_subplot(grid[1, 2 * i : 2 * i + 2])
        bins = np.linspace(0, longest, 40)
        axes.hist(real.distance[real.types == kind], bins, density=True, color="#d8dde3", label="real")
        for name, seen in samples.items():
            values = seen.distance[seen.types == kind]
            axes.hist(values, bins, density=True, histtype="step", color=colors.get(name), label=name, linewidth=1.6)
        axes.set_title(f"{kind.name.capitalize()}: distance, in sqrt(2) s k", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


@click.command(help=__doc__.splitlines()[0])
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="COCO ground truth.")
@click.option("--statistics", multiple=True, default=["posefix", "pooled"], show_default=True, help="Names or files.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the picture here (PNG).")
@click.option("--seed", default=0, show_default=True)
@friendly
def main(results: Path, annotations: Path, statistics: tuple[str, ...], plot: Path | None, seed: int) -> None:
    """Compare and print."""
    if plot is not None:
        require_writable(plot)
    skeleton, rng = skeletons.load("coco17"), np.random.default_rng(seed)
    tables = {Path(name).stem: Statistics.load(name) for name in statistics}
    found = diagnose(load_ground_truth(annotations, len(skeleton)), formats.read(results, default=skeleton))
    rows = np.flatnonzero(found.found)
    if not len(rows):
        raise InputError(f"{results}: no result matches an annotated person, so there is nothing to compare")
    real, neighbours = found.observation(), found.neighbours.take(rows)
    samples = {name: drawn(real.truth, neighbours, chosen, rng) for name, chosen in track(tables.items(), "drawing")}
    columns = {name: divergences(real, seen) for name, seen in samples.items()}
    if len(np.unique(real.truth.image_ids)) > 1:
        columns[FLOOR] = halves(real, neighbours, found.results.keypoints[found.matched[rows]], rng)
    click.echo(table(columns))
    if plot is not None:
        write_atomically(plot, picture(real, samples, columns))
        click.echo(f"{plot}: written")


if __name__ == "__main__":
    main()
