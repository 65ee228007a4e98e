"""Measure what a checkpoint gains on every results file of a folder of data sets, and what it does to the truth.

The folder holds ``SET/annotations/person_keypoints_SPLIT.json``, ``SET/SPLIT/`` (the images) and
``SET/results/SPLIT/*.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.comparison import compare
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.evaluation.matching import match_people, oks_with
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

DISPLACEMENTS = (0.0, 0.1, 0.25, 0.5)  # of ground truth, in OKS scales s k
THRESHOLDS = np.arange(0.5, 0.96, 0.05)
Gains = dict[str, Any]


def data_sets(folder: Path, split: str) -> list[Path]:
    """Find the folders of the data sets in a folder; raises InputError where there are none."""
    found = sorted(path.parents[1] for path in folder.glob(f"*/annotations/person_keypoints_{split}.json"))
    if not found:
        raise InputError(f"{folder}: holds no SET/annotations/person_keypoints_{split}.json")
    return found


def measure_results(
    folder: Path, split: str, refiner: Refiner, settings: RefineSettings
) -> Iterator[tuple[str, Gains]]:
    """Refine every results file of one data set.

    Yields:
        A name, and ``once``: the output of :func:`posefix.evaluation.comparison.compare`; ``keypoints_only``: the same
        with the estimator's own scores; ``halves``: see :func:`gains_by_score`.
    """
    truth, refine = _opened(folder, split, refiner, settings)
    for path in sorted((folder / "results" / split).glob("*.json")):
        people = read_results(path, truth)
        refined = refine(people)
        moved = replace(refined, person_scores=people.person_scores)
        yield (
            f"{folder.name}/{path.stem}",
            {
                "once": compare(truth, people, refined, rng=np.random.default_rng(0)),
                "keypoints_only": compare(truth, people, moved, rng=np.random.default_rng(0)),
                "halves": gains_by_score(truth.people, people, refined),
            },
        )


def measure_truth(folder: Path, split: str, refiner: Refiner, settings: RefineSettings) -> Iterator[tuple[str, Gains]]:
    """Refine the ground truth of one data set as if it were results: as it is, displaced, and boxes alone.

    Yields:
        A name, and ``once`` as :func:`measure_results` does.
    """
    truth, refine = _opened(folder, split, refiner, settings)

    def gains(given: People) -> Gains:
        return {"once": compare(truth, given, refine(given), rng=np.random.default_rng(0))}

    for distance in DISPLACEMENTS:
        name = f"{folder.name}/ground truth" + (f", off by {distance:g} s k" if distance else "")
        yield name, gains(displaced(truth.people, distance, np.random.default_rng(0)))
    boxes = displaced(truth.people, 0.0, np.random.default_rng(0))
    yield f"{folder.name}/boxes alone", gains(boxes.with_keypoints(0 * boxes.keypoints, 0 * boxes.scores))


def _opened(
    folder: Path, split: str, refiner: Refiner, settings: RefineSettings
) -> tuple[GroundTruth, Callable[[People], People]]:
    truth = GroundTruth.read(folder / "annotations" / f"person_keypoints_{split}.json", refiner.skeleton)
    images = ImageFolder(folder / split, truth.images)
    return truth, lambda people: refiner.refine(people, images, settings)


def displaced(truth: People, distance: float, rng: np.random.Generator) -> People:
    """Return ground truth as results, each keypoint so many OKS scales from its place, in any direction."""
    angle = rng.uniform(0, 2 * np.pi, truth.scores.shape)
    scales = np.sqrt(truth.areas)[:, None] * 2 * truth.skeleton.sigmas
    offset = distance * scales[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    labelled = truth.labelled
    given = truth.with_keypoints(truth.keypoints + offset * labelled[..., None], labelled.astype(np.float32))
    return replace(given, person_scores=np.ones(len(given)))


def gains_by_score(truth: People, before: People, after: People) -> dict[str, float | None]:
    """Gain of the half of the people found with the lower scores of the estimator, and of the other half.

    The gain is by how many points the share of them whose OKS is above 0.5, 0.55, ..., 0.95 grew, on average.

    Args:
        truth: annotated people.
        before: N results.
        after: the same N results, refined.

    Returns:
        ``lower`` and ``upper``; None for a half that is empty.
    """
    matched = match_people(truth, before)
    found = np.flatnonzero(matched >= 0)
    found = found[np.argsort(before.person_scores[matched[found]], kind="stable")]
    gains = {}
    for name, part in zip(("lower", "upper"), np.array_split(found, 2), strict=True):
        known, rows = truth[part], matched[part]
        gains[name] = _share_above(known, after[rows]) - _share_above(known, before[rows]) if len(part) else None
    return gains


def _share_above(truth: People, found: People) -> float:
    """Percent of N people whose OKS with the N people of ``truth`` is above a threshold, mean over the thresholds."""
    similarity = oks_with(truth, found, np.arange(len(found)))
    return float(100 * (similarity[:, None] > THRESHOLDS).mean())


def markdown(measured: Mapping[str, Gains]) -> str:
    """Write gains by name as a table for a model card."""
    headings = ("AP before", "AP after", "gain", "95 % interval", "AP50", "AP75")
    headings += ("keypoints alone", "lower half", "upper half")
    lines = ["| results | " + " | ".join(headings) + " |", "| --- |" + " ---: |" * len(headings)]
    for name, gains in measured.items():
        once, gain = gains["once"], gains["once"]["gain"]
        alone = gains["keypoints_only"]["gain"]["AP"] if "keypoints_only" in gains else None
        halves = gains.get("halves", {})
        cells = [
            _number(once["before"]["AP"]),
            _number(once["after"]["AP"]),
            _number(gain["AP"], "+"),
            f"[{_number(gain['AP_low'], '+')}, {_number(gain['AP_high'], '+')}]",
            *(_number(value, "+") for value in (gain["AP50"], gain["AP75"], alone)),
            *(_number(halves.get(half), "+") for half in ("lower", "upper")),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.2f}"
