"""Refine the typical errors of an estimator on photographs that installed packages ship.

python -m tools.demo --out demo_output
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix.cli.options import friendly
from posefix.core.files import make_folder, require_writable, write_atomically
from posefix.core.people import People
from posefix.demo.experiment import Trial, interval, run_trial
from posefix.demo.photos import Photo, load_photos
from synth import ErrorType, Statistics

TOLERANCES = (0.02, 0.05, 0.10)  # PCK, as shares of the longer side of a person's box
PCK_NOTE = "of the box: share of the keypoints that are this near, by the longer side of the person's box"
KINDS = [kind for kind in ErrorType if kind != ErrorType.UNLABELLED]

EPILOG = """Example: python -m tools.demo --out demo_output --seed 1

The errors are drawn from the published statistics of real estimators, on photographs that PoseFix was not trained on.
Results on real estimators' files are in the README."""


@click.command(epilog=EPILOG)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo_output"),
    show_default=True,
    help="Folder for before_after.png and numbers.json.",
)
@click.option("--seed", default=0, show_default=True, help="Of the drawn errors and the bootstrap.")
@click.option(
    "--draws", type=click.IntRange(1, 1000), default=28, show_default=True, help="Erroneous poses per person."
)
@click.option("--checkpoint", default="posefix-base", show_default=True, help="Name or path of the weights.")
@click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu, cuda, cuda:1, ...")
@friendly
def main(out: Path, seed: int, draws: int, checkpoint: str, device: str) -> None:
    """Put an estimator's typical errors on real people, refine them, show the picture and the numbers."""
    demonstrate(Console(), out, seed, draws, checkpoint, device)


def demonstrate(console: Console, out: Path, seed: int, draws: int, checkpoint: str, device: str) -> None:
    """The whole demo: photographs, errors, refinement, tables on the console, picture and numbers in ``out``."""
    from posefix.demo.picture import save_picture
    from posefix.refine.refiner import Refiner

    started = time.perf_counter()
    prepare_folder(out)
    photos, truth, images, problems = load_photos()
    refiner = Refiner.from_pretrained(checkpoint, device=device)
    error_rng, bootstrap_rng = np.random.default_rng(seed).spawn(2)
    trial = run_trial(truth, images, refiner, Statistics.load("posefix"), draws, error_rng)
    numbers = summarise(trial, bootstrap_rng)
    picture = out / "before_after.png"
    save_picture(picture, truth, images, trial, "Photographs: " + credits_of(photos))
    numbers |= {"people": len(truth), "draws": draws, "seed": seed, "checkpoint": checkpoint}
    write_atomically(out / "numbers.json", json.dumps(numbers, indent=1) + "\n")

    for problem in problems:
        console.print(f"left out: {problem}", style="yellow", highlight=False, soft_wrap=True)
    console.print(people_table(photos, truth, trial))
    console.print(quality_table(numbers))
    console.print(errors_table(trial))
    console.print(
        f"{len(truth)} people in {len(photos)} photographs that PoseFix was not trained on, annotated by hand, "
        f"{draws} erroneous poses of each drawn from the published statistics of real estimators (seed {seed}). The "
        "errors are synthetic: this shows what becomes of them, not what an estimator gains, which the README reports. "
        "The intervals say how far the numbers hang on the draws, not how other people would fare.",
        highlight=False,
    )
    console.print(
        f"\n[bold]{picture}[/bold]: of each person the draw whose change of OKS is the median of the {draws}.\n"
        f"Done in {time.perf_counter() - started:.0f} s.",
        highlight=False,
    )


def prepare_folder(out: Path) -> None:
    """Make the output folder; raises InputError when that, or writing in it, is not possible."""
    make_folder(out)
    require_writable(out / "numbers.json")
    require_writable(out / "before_after.png")


def summarise(trial: Trial, rng: np.random.Generator) -> dict:
    """Mean OKS with its 95 % interval, PCK and the shares of error types, before and after, as plain data."""
    gain = trial.after.oks - trial.before.oks
    moves = trial.transitions()
    numbers: dict = {"OKS": {}, "PCK": {}, "errors": {}}
    for name, values in (("before", trial.before.oks), ("after", trial.after.oks), ("gain", gain)):
        low, high = interval(values, rng)
        numbers["OKS"][name] = {"mean": float(values.mean()), "low": low, "high": high}
    for name, poses, counts in (("before", trial.before, moves.sum(1)), ("after", trial.after, moves.sum(0))):
        numbers["PCK"][name] = {f"{t:.2f}": poses.share_within(t) for t in TOLERANCES}
        numbers["errors"][name] = {k.name.capitalize(): c / moves.sum() for k, c in zip(KINDS, counts, strict=True)}
    return numbers


def credits_of(photos: list[Photo]) -> str:
    """Whose the photographs are, under which licences, each once."""
    return "; ".join(dict.fromkeys(f"{photo.credit} ({photo.license})" for photo in photos))


def people_table(photos: list[Photo], truth: People, trial: Trial) -> Table:
    """Who is on the photographs, where these come from, and the mean OKS of each person."""
    table = Table(title="Photographs")
    for column in ("person", "photo in", "licence"):
        table.add_column(column)
    for column in ("keypoints", "OKS before", "after"):
        table.add_column(column, justify="right")
    by_id = {photo.image_id: photo for photo in photos}
    counts = truth.labelled.sum(1)
    for i, record in enumerate(truth.extra):
        photo = by_id[int(truth.image_ids[i])]
        means = [f"{poses.oks[i].mean():.3f}" for poses in (trial.before, trial.after)]
        table.add_row(record["label"], photo.package, photo.license, str(counts[i]), *means)
    return table


def quality_table(numbers: dict) -> Table:
    """OKS with intervals, and PCK, before and after."""
    table = Table("", title="How near the poses are to the truth", caption=PCK_NOTE)
    for column in ("before", "after", "gain"):
        table.add_column(column, justify="right")
    oks = [numbers["OKS"][name] for name in ("before", "after", "gain")]
    table.add_row("mean OKS", *(f"{o['mean']:.3f}" for o in oks))
    table.add_row("  95 % interval", *(f"{o['low']:.3f} to {o['high']:.3f}" for o in oks))
    for key, before in numbers["PCK"]["before"].items():
        after = numbers["PCK"]["after"][key]
        table.add_row(f"within {float(key):.0%} of the box", *(f"{v:.1%}" for v in (before, after, after - before)))
    return table


def errors_table(trial: Trial) -> Table:
    """How often each error type stands before and after, and what became of it."""
    table = Table("error", title="Keypoints by error type")
    for column in ("before", "after", "of these before, Good after"):
        table.add_column(column, justify="right")
    moves = trial.transitions()
    total = moves.sum()
    for i, kind in enumerate(KINDS):
        before, after = moves[i].sum(), moves[:, i].sum()
        mended = f"{moves[i, ErrorType.GOOD] / before:.1%}" if before else "-"
        table.add_row(kind.name.capitalize(), f"{before / total:.1%}", f"{after / total:.1%}", mended)
    table.add_row("keypoints", f"{total:,}", f"{total:,}", "", style="dim")
    return table


if __name__ == "__main__":
    main()
