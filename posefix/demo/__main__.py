"""Refine typical errors on photographs of the package: ``python -m posefix.demo --out demo_output``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix.cli.options import friendly
from posefix.core.files import make_folder, require_writable, write_atomically
from posefix.core.people import People
from posefix.demo import CREDITS, load_photos
from posefix.evaluation.diagnosis import KIND_NAMES, count_moves
from posefix.evaluation.matching import oks
from posefix.media.opencv import cv2
from posefix.refine.refiner import Refiner
from posefix.report.drawing import POSE, WRONG, caption, side_by_side
from posefix.report.tables import titled_table
from synth import ErrorType, Statistics, classify, draw_scores, neighbours_of, synthesize

DRAWS = 24  # wrong poses per person
WIDTH = 1600  # px of the picture
GAP = 10  # px between people
LEGEND = {
    "the person's left": POSE.left,
    "right": POSE.right,
    "wrong: not within the tolerance of OKS, or at another joint": WRONG,
}


class Poses(NamedTuple):
    """D poses of each of N people with K keypoints, and their quality.

    Attributes:
        keypoints: (N, D, K, 2) float32 pixels.
        oks: (N, D) float64 in [0, 1].
        types: (N, D, K) int8 :class:`synth.ErrorType` of each keypoint.
    """

    keypoints: np.ndarray
    oks: np.ndarray
    types: np.ndarray


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
    truth, images = load_photos()
    inputs = erroneous(truth, Statistics.load("posefix"), draws, np.random.default_rng(seed))
    before = measure(inputs.keypoints, truth)
    after = measure(refiner.refine(inputs, images).keypoints, truth)
    image = before_after(truth, images, before, after)
    write_atomically(picture, cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    console.print(people_table(truth, before, after), errors_table(count_moves(before.types, after.types)))
    console.print(
        f"{draws} wrong poses of each of {len(truth)} people, on {len(images)} photographs that PoseFix was not "
        f"trained on. The errors are drawn from published statistics of estimators (seed {seed}): this shows what "
        "becomes of errors. What an estimator gains is in the README.\n"
        f"[bold]{picture}[/bold] shows the median draw of each person. Done in {time.perf_counter() - started:.0f} s.",
        highlight=False,
    )
    return before, after


def erroneous(truth: People, statistics: Statistics, draws: int, rng: np.random.Generator) -> People:
    """Draw erroneous poses with confidences of N annotated people: N x ``draws`` people, grouped by person.

    Keypoints without annotation get no estimate. The result has neither boxes nor areas.
    """
    rows = np.repeat(np.arange(len(truth)), draws)
    everyone, neighbours = truth[rows], neighbours_of(truth).take(rows)
    drawn = synthesize(everyone, neighbours, statistics, rng, impute=0.0)
    _, similarity = classify(drawn.keypoints, everyone, neighbours)
    scores = np.where(drawn.scores > 0, draw_scores(similarity, rng), 0)
    return People(truth.skeleton, drawn.keypoints, scores, everyone.image_ids, person_scores=np.ones(len(rows)))


def measure(keypoints: np.ndarray, truth: People) -> Poses:
    """Measure D poses of each of N people: (N * D, K, 2) pixels, grouped by person."""
    rows = np.repeat(np.arange(len(truth)), len(keypoints) // len(truth))
    everyone = truth[rows]
    similarity = oks(keypoints, everyone.keypoints, everyone.labelled, everyone.areas, truth.skeleton.sigmas)
    types, _ = classify(keypoints, everyone, neighbours_of(truth).take(rows))
    return Poses(*(values.reshape(len(truth), -1, *values.shape[1:]) for values in (keypoints, similarity, types)))


def median_draws(before: Poses, after: Poses) -> np.ndarray:
    """Return (N,) the draw with each person's median change of OKS (the lower one if ``D`` is even)."""
    order = np.argsort(after.oks - before.oks, axis=1, kind="stable")
    return order[:, (order.shape[1] - 1) // 2]


def before_after(truth: People, images: Mapping[int, np.ndarray], before: Poses, after: Poses) -> np.ndarray:
    """Draw each person's median draw before and after, two people per row: (H, 1600, 3) uint8 RGB.

    A red ring marks a keypoint that is not Good. Keypoints without annotation are not drawn.
    """
    cells = []
    for i, draw in enumerate(median_draws(before, after)):
        person = truth[[i]]
        poses = [person.with_keypoints(group.keypoints[[i], draw]) for group in (before, after)]
        wrong = before.types[[i], draw] > ErrorType.GOOD, after.types[[i], draw] > ErrorType.GOOD
        labels = f"input, OKS {before.oks[i, draw]:.2f}", f"refined, OKS {after.oks[i, draw]:.2f}"
        image, box = images[int(person.image_ids[0])], person.boxes[0]
        cell = side_by_side(image, *poses, labels=labels, box=box, height=600, wrong=wrong)
        cells.append(np.pad(cell, ((0, 0), (0, GAP), (0, 0))))
    rows = [np.concatenate(cells[i : i + 2], axis=1)[:, :-GAP] for i in range(0, len(cells), 2)]
    sizes = [(WIDTH, round(row.shape[0] * WIDTH / row.shape[1])) for row in rows]
    scaled = [cv2.resize(row, size, interpolation=cv2.INTER_AREA) for row, size in zip(rows, sizes, strict=True)]
    return np.concatenate([*scaled, caption(f"Photographs: {CREDITS}", WIDTH, LEGEND)])


def people_table(truth: People, before: Poses, after: Poses) -> Table:
    """Show mean OKS before and after of each person, and of all with its standard error over the draws."""
    table = titled_table("OKS: how near the poses are to the truth (1 is perfect)", "", "keypoints", "before", "after")
    for i, (record, count) in enumerate(zip(truth.extra, truth.labelled.sum(1), strict=True)):
        table.add_row(record["label"], str(count), *(f"{poses.oks[i].mean():.3f}" for poses in (before, after)))
    errors = [np.sqrt(poses.oks.var(1).sum() / poses.oks.shape[1]) / len(truth) for poses in (before, after)]
    means = [f"{poses.oks.mean():.3f} ± {error:.3f}" for poses, error in zip((before, after), errors, strict=True)]
    table.add_row("all", "", *means, style="bold")
    return table


def errors_table(transitions: np.ndarray) -> Table:
    """Show the share of each error type before and after, and how many are Good after, from counts (5, 5)."""
    table = titled_table("Keypoints by error type", "", "before", "after", "of these before, Good after")
    for name, row, after in zip(KIND_NAMES, transitions, transitions.sum(0), strict=True):
        good = f"{row[0] / row.sum():.1%}" if row.any() else "-"
        table.add_row(name, f"{row.sum() / transitions.sum():.1%}", f"{after / transitions.sum():.1%}", good)
    return table


if __name__ == "__main__":
    main()
