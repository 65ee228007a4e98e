"""Measure a checkpoint on every results file of a data folder: gain, and ground truth, also displaced.

python -m tools.measure_checkpoint --data ../shared/data --split val --checkpoint posefix-base --json numbers.json

The folder holds SET/annotations/person_keypoints_SPLIT.json, SET/SPLIT/ (the images) and SET/results/SPLIT/*.json.
"Lower half" and "upper half" are the people found whose scores by the estimator are below and above the median: by how
many points the share of them whose OKS is above 0.5, 0.55, ..., 0.95 grew, on average.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from posefix import formats
from posefix.cli.options import friendly
from posefix.core.errors import InputError
from posefix.core.files import require_writable, write_atomically
from posefix.core.people import People
from posefix.evaluation.comparison import compare
from posefix.evaluation.matching import match_people
from posefix.formats import coco
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from tools.choose_margin import share_above

JITTERS = (0.0, 0.1, 0.25, 0.5)


def measure_set(folder: Path, split: str, refiner: Refiner, batch_size: int, flip_test: bool, console: Console) -> dict:
    """Every results file of one set, and its ground truth: the output of ``compare`` by name of the measurement."""
    annotations = folder / "annotations" / f"person_keypoints_{split}.json"
    truth = coco.read_annotations(annotations, refiner.skeleton)
    images = ImageFolder(folder / split, truth.images)
    measured: dict = {}

    def refine(people: People) -> People:
        return refiner.refine(people, images, RefineSettings(batch_size, flip_test))

    def against(before: list, after: list) -> dict:
        rng = np.random.default_rng(0)
        return compare(annotations, before, after, rng=rng, sigmas=refiner.skeleton.sigmas)

    files = sorted((folder / "results" / split).glob("*.json"))
    with Progress(console=console) as progress:
        for path in progress.track(files, description=folder.name):
            results = formats.read(path, default=refiner.skeleton)
            once = refine(results)
            records = [coco.people_records(people) for people in (results, once)]
            moved = replace(once, person_scores=results.person_scores)
            measured[f"{folder.name}/{path.stem}"] = {
                "once": against(*records),
                "keypoints_only": against(records[0], coco.people_records(moved)),
                "halves": halves(truth.people, results, once),
            }
    for jitter in JITTERS:
        given = displaced(truth.people, jitter, np.random.default_rng(0))
        name = f"{folder.name}/ground truth" + (f", off by {jitter:g} s k" if jitter else "")
        measured[name] = {"once": against(coco.people_records(given), coco.people_records(refine(given)))}
    empty = replace(given, keypoints=0 * given.keypoints, scores=0 * given.scores)
    measured[f"{folder.name}/boxes alone"] = {
        "once": against(coco.people_records(empty), coco.people_records(refine(empty)))
    }
    return measured


def displaced(truth: People, jitter: float, rng: np.random.Generator) -> People:
    """Ground truth as an estimator's results, each keypoint ``jitter`` OKS scales from its place, in any direction."""
    angle = rng.uniform(0, 2 * np.pi, truth.scores.shape)
    scales = np.sqrt(truth.areas)[:, None] * 2 * truth.skeleton.sigmas
    offset = jitter * scales[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    labelled = truth.labelled
    given = truth.with_keypoints(truth.keypoints + offset * labelled[..., None], labelled.astype(np.float32))
    return replace(given, person_scores=np.ones(len(given)))


def halves(truth: People, before: People, after: People) -> dict[str, float | None]:
    """Gain in points of the half of the people found with the lower scores of the estimator, and of the other half.

    ``before`` and ``after`` are the same people, row by row. None for a half that is empty.
    """
    matched = match_people(truth, before)
    found = np.flatnonzero(matched >= 0)
    found = found[np.argsort(before.person_scores[matched[found]], kind="stable")]
    gains = {}
    for name, part in zip(("lower", "upper"), np.array_split(found, 2), strict=True):
        known, rows = truth[part], matched[part]
        gains[name] = share_above(known, after[rows]) - share_above(known, before[rows]) if len(part) else None
    return gains


def markdown(measured: dict) -> str:
    """The numbers as a table for a model card."""
    lines = [
        "| results | AP before | AP after | gain | 95 % interval | AP50 | AP75 | keypoints alone "
        "| lower half | upper half |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, passes in measured.items():
        once, gain = passes["once"], passes["once"]["gain"]
        alone = f"{passes['keypoints_only']['gain']['AP']:+.2f}" if "keypoints_only" in passes else ""
        parts = passes.get("halves", {})
        lower, upper = ("" if parts.get(half) is None else f"{parts[half]:+.2f}" for half in ("lower", "upper"))
        lines.append(
            f"| {name} | {once['before']['AP']:.2f} | {once['after']['AP']:.2f} | {gain['AP']:+.2f} "
            f"| [{gain['AP_low']:+.2f}, {gain['AP_high']:+.2f}] | {gain['AP50']:+.2f} | {gain['AP75']:+.2f} "
            f"| {alone} | {lower} | {upper} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the sets.")
@click.option("--split", default="val", show_default=True)
@click.option("--checkpoint", default="posefix-base", show_default=True, help="Name or path of the weights.")
@click.option("--test_batch", type=click.IntRange(1), default=64, show_default=True, help="People in a batch.")
@click.option("--flip_test/--no_flip_test", default=True, show_default=True, help="Average over the mirrored image.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all metrics here.")
@friendly
def main(
    data: Path, split: str, checkpoint: str, test_batch: int, flip_test: bool, device: str | None, out: Path | None
) -> None:
    """Measure every set and print the table."""
    if out is not None:
        require_writable(out)
    folders = sorted(path.parents[1] for path in data.glob(f"*/annotations/person_keypoints_{split}.json"))
    if not folders:
        raise InputError(f"{data}: holds no SET/annotations/person_keypoints_{split}.json")
    refiner = Refiner.from_pretrained(checkpoint, device)
    measured: dict = {}
    for folder in folders:
        measured |= measure_set(folder, split, refiner, test_batch, flip_test, Console(stderr=True))
    if out is not None:
        write_atomically(out, json.dumps(measured, indent=1) + "\n")
    click.echo(markdown(measured))


if __name__ == "__main__":
    main()
