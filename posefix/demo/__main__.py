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
from posefix.demo.experiment import RefinesPeople, Trial, run_trial
from posefix.demo.picture import before_after
from posefix.evaluation.diagnosis import KINDS
from posefix.media.opencv import cv2
from posefix.report.tables import titled_table
from synth import ErrorType, Statistics

DRAWS = 24  # wrong poses of each person


@click.command(epilog="Example: python -m posefix.demo --out demo_output --seed 1")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_output"), show_default=True, help="Folder.")
@click.option("--seed", default=0, show_default=True, help="Of the drawn errors.")
@click.option("--checkpoint", default="posefix-base", show_default=True, help="Name or path of the weights.")
@friendly
def main(out: Path, seed: int, checkpoint: str) -> None:
    """Put an estimator's typical errors on real people, refine them, show the picture and the numbers."""
    from posefix.refine.refiner import Refiner

    demonstrate(Console(), Refiner.from_pretrained(checkpoint), out, seed)


def demonstrate(console: Console, refiner: RefinesPeople, out: Path, seed: int, draws: int = DRAWS) -> Trial:
    """Draw errors, refine, write ``before_after.png`` into the folder ``out`` and print what became of the errors."""
    started = time.perf_counter()
    picture = out / "before_after.png"
    make_folder(out)
    require_writable(picture)
    photos = load_photos()
    truth = photos.people
    trial = run_trial(truth, photos.images, refiner, Statistics.load("posefix"), draws, np.random.default_rng(seed))
    drawn = before_after(truth, photos.images, trial, f"Photographs: {photos.credits}")
    write_atomically(picture, cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
    console.print(people_table(truth, trial), errors_table(trial))
    console.print(
        f"{draws} wrong poses of each of {len(truth)} people, on {len(photos.images)} photographs that PoseFix was not "
        f"trained on. The errors are drawn from published statistics of estimators (seed {seed}): this shows what "
        "becomes of errors, not what an estimator gains; the README does.\n"
        f"[bold]{picture}[/bold] shows everybody's median draw. Done in {time.perf_counter() - started:.0f} s.",
        highlight=False,
    )
    return trial


def people_table(truth: People, trial: Trial) -> Table:
    """Mean OKS of each person and of all, before and after; of all with the standard error over the draws."""
    table = titled_table("OKS: how near the poses are to the truth (1 is perfect)", "", "keypoints", "before", "after")
    sides = trial.before.oks, trial.after.oks
    for i, (record, count) in enumerate(zip(truth.extra, truth.labelled.sum(1), strict=True)):
        table.add_row(record["label"], str(count), *(f"{oks[i].mean():.3f}" for oks in sides))
    means = [f"{oks.mean():.3f} ± {np.sqrt((oks.var(1) / oks.shape[1]).sum()) / len(oks):.3f}" for oks in sides]
    table.add_row("all", "", *means, style="bold")
    return table


def errors_table(trial: Trial) -> Table:
    """How often each error type stands before and after, and how many of each are Good after."""
    table = titled_table("Keypoints by error type", "", "before", "after", "of these before, Good after")
    moves = trial.transitions()
    total = moves.sum()
    for kind in KINDS:
        before, after = moves[kind].sum(), moves[:, kind].sum()
        good = f"{moves[kind, ErrorType.GOOD] / before:.1%}" if before else "-"
        table.add_row(kind.name.capitalize(), f"{before / total:.1%}", f"{after / total:.1%}", good)
    return table


if __name__ == "__main__":
    main()
