"""Refine typical errors on photographs that come with the package: ``python -m posefix.demo --out demo_output``."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix.cli.options import friendly
from posefix.core.files import make_folder, require_writable, write_atomically
from posefix.core.people import People
from posefix.demo import load_photos
from posefix.demo.experiment import Poses, erroneous, measure
from posefix.demo.picture import before_after
from posefix.evaluation.diagnosis import KIND_NAMES, count_moves
from posefix.media.opencv import cv2
from posefix.refine.refiner import Refiner
from posefix.report.tables import titled_table
from synth import Statistics

DRAWS = 24  # wrong poses of each person


@click.command(epilog="Example: python -m posefix.demo --out demo_output --seed 1")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_output"), show_default=True, help="Folder.")
@click.option("--seed", default=0, show_default=True, help="Of the drawn errors.")
@click.option("--checkpoint", default="posefix-base", show_default=True, help="Name or path of the weights.")
@friendly
def main(out: Path, seed: int, checkpoint: str) -> None:
    """Put an estimator's typical errors on real people, refine them, show the picture and the numbers."""
    demonstrate(Console(), Refiner.from_pretrained(checkpoint), out, seed)


def demonstrate(console: Console, refiner: Refiner, out: Path, seed: int, draws: int = DRAWS) -> tuple[Poses, Poses]:
    """Draw errors, refine, write ``before_after.png`` into the folder ``out`` and print what became of the errors.

    Returns:
        The poses before and after refinement.
    """
    started = time.perf_counter()
    picture = out / "before_after.png"
    make_folder(out)
    require_writable(picture)
    photos = load_photos()
    truth = photos.people
    given = erroneous(truth, Statistics.load("posefix"), draws, np.random.default_rng(seed))
    before = measure(given.keypoints, truth)
    after = measure(refiner.refine(given, photos.images).keypoints, truth)
    drawn = before_after(truth, photos.images, before, after, f"Photographs: {photos.credits}")
    write_atomically(picture, cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
    console.print(people_table(truth, before, after), errors_table(count_moves(before.types, after.types)))
    console.print(
        f"{draws} wrong poses of each of {len(truth)} people, on {len(photos.images)} photographs that PoseFix was not "
        f"trained on. The errors are drawn from published statistics of estimators (seed {seed}): this shows what "
        "becomes of errors, not what an estimator gains; the README does.\n"
        f"[bold]{picture}[/bold] shows everybody's median draw. Done in {time.perf_counter() - started:.0f} s.",
        highlight=False,
    )
    return before, after


def people_table(truth: People, before: Poses, after: Poses) -> Table:
    """Mean OKS of each person and of all, before and after; of all with the standard error over the draws."""
    table = titled_table("OKS: how near the poses are to the truth (1 is perfect)", "", "keypoints", "before", "after")
    for i, (record, count) in enumerate(zip(truth.extra, truth.labelled.sum(1), strict=True)):
        table.add_row(record["label"], str(count), *(f"{poses.oks[i].mean():.3f}" for poses in (before, after)))
    errors = [np.sqrt(poses.oks.var(1).sum() / poses.oks.shape[1]) / len(truth) for poses in (before, after)]
    means = [f"{poses.oks.mean():.3f} ± {error:.3f}" for poses, error in zip((before, after), errors, strict=True)]
    table.add_row("all", "", *means, style="bold")
    return table


def errors_table(moves: np.ndarray) -> Table:
    """How often each error type stands before and after, and how many of each are Good after, of counts (5, 5)."""
    table = titled_table("Keypoints by error type", "", "before", "after", "of these before, Good after")
    for name, row, after in zip(KIND_NAMES, moves, moves.sum(0), strict=True):
        good = f"{row[0] / row.sum():.1%}" if row.any() else "-"
        table.add_row(name, f"{row.sum() / moves.sum():.1%}", f"{after / moves.sum():.1%}", good)
    return table


if __name__ == "__main__":
    main()
