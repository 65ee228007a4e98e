"""Measure refiners on people whose legs are hidden: the gain on hidden and on visible keypoints.

python -m tools.measure_occlusion occluded --results occluded/movenet.json --checkpoint posefix-base

OCCLUDED is what ``python -m tools.occlude`` made. Without ``--results``, the input poses are those that statistics
and the legs' own model say an estimator would give (``--statistics``, drawn with ``--seed``).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix import formats
from posefix.cli.options import friendly
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.matching import match_people
from posefix.evaluation.oks import keypoint_similarity
from posefix.formats import coco
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from synth import Statistics, guess_legs, neighbours_of, synthesize
from synth.occlusion import leg_indices

RESAMPLES = 1000
KNEES_AND_ANKLES = ("knee", "ankle")


def hidden_of(people: People, source: Path) -> np.ndarray:
    """(N, K) bool from the annotations that ``tools.occlude`` wrote."""
    hidden = [record.get("hidden") for record in people.extra]
    if not hidden:
        raise InputError(f"{source}: holds nobody; make the folder with python -m tools.occlude")
    if any(not isinstance(h, list) or len(h) != len(people.skeleton) for h in hidden):
        raise InputError(f"{source}: an annotation has no 'hidden'; make the folder with python -m tools.occlude")
    return np.array(hidden, bool).reshape(len(people), -1)


def synthetic_inputs(truth: People, hidden: np.ndarray, statistics: str, seed: int) -> People:
    """What an estimator with such statistics might say of people whose legs are hidden."""
    rng = np.random.default_rng(seed)
    drawn = synthesize(truth, neighbours_of(truth), Statistics.load(statistics), rng)
    keypoints, scores = guess_legs(drawn.keypoints, drawn.scores, hidden, truth.skeleton, rng)
    return truth.with_keypoints(keypoints, scores)


def mean_over_images(values: np.ndarray, chosen: np.ndarray, images: np.ndarray, rng: np.random.Generator) -> tuple:
    """Mean of values (N, K) where chosen, and its 95 % interval by bootstrap over the people's images (N,)."""
    _, image = np.unique(images, return_inverse=True)
    sums = np.bincount(image, np.where(chosen, values, 0).sum(1))
    counts = np.bincount(image, chosen.sum(1))
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    resampled = weights @ sums / np.maximum(weights @ counts, 1)
    return sums.sum() / max(counts.sum(), 1), *np.quantile(resampled, [0.025, 0.975])


def guessed_segments(truth: People, found: People, hidden: np.ndarray) -> dict[str, np.ndarray]:
    """How thighs and shanks with a hidden lower end come out: shares of their length, turns in degrees, scores."""
    legs = leg_indices(truth.skeleton)
    upper, lower = legs[:, :-1].ravel(), legs[:, 1:].ravel()
    chosen = truth.labelled[:, upper] & truth.labelled[:, lower] & hidden[:, lower]

    def segments(people: People) -> np.ndarray:
        return ((people.keypoints[:, lower] - people.keypoints[:, upper]) @ np.array([1, 1j]))[chosen]

    change = segments(found) / segments(truth)
    turns = np.abs(np.rad2deg(np.angle(change)))
    return {"length": np.abs(change), "turn, degrees": turns, "score": found.scores[:, lower][chosen]}


def guesses_table(segments: dict[str, np.ndarray]) -> Table:
    """Quantiles of what :func:`guessed_segments` found."""
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    table = Table(title=f"{len(segments['length']):,} hidden segments, quantiles", title_justify="left")
    for heading in ("", *(f"{level:.0%}" for level in levels)):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in segments.items():
        table.add_row(name, *(f"{value:.2f}" for value in np.quantile(values, levels)) if len(values) else "")
    return table


@click.command(help=__doc__.splitlines()[0])
@click.argument("occluded", type=click.Path(path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), help="An estimator's results on these images.")
@click.option(
    "--statistics", default="pooled", show_default=True, help="Of the input poses where there are no results."
)
@click.option("--checkpoint", "checkpoints", multiple=True, default=["posefix-base"], help="May be given repeatedly.")
@click.option("--guesses", is_flag=True, help="Only say how hidden thighs and shanks come out before refinement.")
@click.option("--seed", default=0, show_default=True)
@friendly
def main(
    occluded: Path, results: Path | None, statistics: str, checkpoints: tuple[str, ...], guesses: bool, seed: int
) -> None:
    """Print mean keypoint similarity, in points, before and after one pass of each refiner."""
    skeleton = skeletons.load("coco17")
    source = occluded / "annotations.json"
    annotated = coco.read_annotations(source, skeleton)
    truth, images = annotated.people, ImageFolder(occluded / "images", annotated.images)
    hidden = hidden_of(truth, source)
    if results is None:
        found = synthetic_inputs(truth, hidden, statistics, seed)
    else:
        read = formats.read(results, default=skeleton)
        matched = match_people(truth, read)
        truth, hidden, found = truth[matched >= 0], hidden[matched >= 0], read[matched[matched >= 0]]
        if not len(truth):
            raise InputError(f"{results}: no result matches a person in {source}")
    if guesses:
        Console().print(guesses_table(guessed_segments(truth, found, hidden)))
        return
    legs = np.array([part in KNEES_AND_ANKLES for part in skeleton.parts()])
    annotated_keypoints = truth.labelled
    regions = {
        "hidden knees and ankles": annotated_keypoints & hidden & legs,
        "visible knees and ankles": annotated_keypoints & ~hidden & legs,
        "everything else": annotated_keypoints & ~legs,
    }
    table = Table(title=f"{len(truth)} people, mean keypoint similarity in points", title_justify="left")
    for heading in ("checkpoint", "keypoints", "number", "before", "gain", "95 % interval"):
        table.add_column(heading, justify="left" if heading in ("checkpoint", "keypoints") else "right")

    def similarity(people: People) -> np.ndarray:
        return 100 * keypoint_similarity(people.keypoints, truth.keypoints, truth.areas, skeleton.sigmas)

    before = similarity(found)
    for checkpoint in checkpoints:
        after = similarity(Refiner.from_pretrained(checkpoint).refine(found, images))
        for name, chosen in regions.items():
            rng = np.random.default_rng(seed)
            mean, low, high = mean_over_images(after - before, chosen, truth.image_ids, rng)
            start = before[chosen].mean() if chosen.any() else float("nan")
            interval = f"[{low:+.2f}, {high:+.2f}]"
            table.add_row(checkpoint, name, f"{chosen.sum():,}", f"{start:.2f}", f"{mean:+.2f}", interval)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
