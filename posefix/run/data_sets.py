"""Measure what a checkpoint gains on every results file of a folder of data sets, and what it does to the truth.

The folder holds ``SET/annotations/person_keypoints_SPLIT.json``, ``SET/SPLIT/`` (the images) and
``SET/results/SPLIT/*.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.evaluation.comparison import compare
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.evaluation.matching import match_people, oks_with, thresholds_passed
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

DISPLACEMENTS = (0.1, 0.25, 0.5)  # of ground truth, in OKS scales s k


def data_sets(folder: Path, split: str) -> list[Path]:
    """Find the folders of the data sets in a folder; raises InputError where there are none."""
    found = sorted(path.parents[1] for path in folder.glob(f"*/annotations/person_keypoints_{split}.json"))
    if not found:
        raise InputError(f"{folder}: holds no SET/annotations/person_keypoints_{split}.json")
    return found


def require_readable(folder: Path, split: str, skeleton: Skeleton) -> None:
    """Read all files of one data set but the images, to raise InputError for a damaged one before long work."""
    truth = _truth(folder, split, skeleton)
    for path in _results(folder, split):
        read_results(path, truth)


def measure_results(
    folder: Path, split: str, refiner: Refiner, settings: RefineSettings, with_truth: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Refine every results file of one data set and, if asked to, its ground truth: as it is, displaced, boxes alone.

    Yields:
        A name, and ``once``: the output of :func:`posefix.evaluation.comparison.compare`, and ``estimator_ap``: what
        the network was told, None if it cannot be told. For results also ``keypoints_only``: the same with the
        estimator's scores; and ``halves``: see :func:`gains_by_score`.
    """
    truth = _truth(folder, split, refiner.skeleton)
    images = ImageFolder(folder / split, truth.images)

    def gains(before: People, after: People) -> dict[str, Any]:
        return compare(truth, before, after, rng=np.random.default_rng(0))

    for path in _results(folder, split):
        people = read_results(path, truth)
        refined = refiner.refine(people, images, settings)
        moved = replace(refined, person_scores=people.person_scores)
        halves = gains_by_score(truth.people, people, refined)
        measured = {"once": gains(people, refined), "keypoints_only": gains(people, moved), "halves": halves}
        yield f"{folder.name}/{path.stem}", {**measured, "estimator_ap": refiner.told_ap(people, settings)}
    if not with_truth:
        return
    exact = displaced(truth.people, 0.0, np.random.default_rng(0))
    given = {"ground truth": exact, "boxes alone": exact.with_keypoints(0 * exact.keypoints, 0 * exact.scores)}
    for distance in DISPLACEMENTS:
        given[f"ground truth, off by {distance:g} s k"] = displaced(truth.people, distance, np.random.default_rng(0))
    for name, people in given.items():
        refined = refiner.refine(people, images, settings)
        yield (
            f"{folder.name}/{name}",
            {"once": gains(people, refined), "estimator_ap": refiner.told_ap(people, settings)},
        )


def _truth(folder: Path, split: str, skeleton: Skeleton) -> GroundTruth:
    return GroundTruth.read(folder / "annotations" / f"person_keypoints_{split}.json", skeleton)


def _results(folder: Path, split: str) -> list[Path]:
    return sorted((folder / "results" / split).glob("*.json"))


def displaced(truth: People, distance: float, rng: np.random.Generator) -> People:
    """Return ground truth as results, each keypoint so many OKS scales from its place, in any direction."""
    angle = rng.uniform(0, 2 * np.pi, truth.scores.shape)
    scales = truth.skeleton.scales(truth.areas)
    offset = distance * scales[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    keypoints = truth.keypoints + offset * truth.labelled[..., None]
    given = truth.with_keypoints(keypoints, truth.labelled.astype(np.float32))
    return replace(given, person_scores=np.ones(len(given)))


def gains_by_score(truth: People, before: People, after: People) -> dict[str, float | None]:
    """Gain of the half of the people found with the lower scores of the estimator, and of the other half.

    The gain is by how many points the share of them whose OKS is above 0.5, 0.55, ..., 0.95 grew, on average. ``after``
    are the N people of ``before``, refined. Returns ``lower`` and ``upper``; None for a half that is empty.
    """
    matched = match_people(truth, before)
    found = np.flatnonzero(matched >= 0)
    found = found[np.argsort(before.person_scores[matched[found]], kind="stable")]
    gains: dict[str, float | None] = {}
    for name, part in zip(("lower", "upper"), np.array_split(found, 2), strict=True):
        old, new = (oks_with(truth[part], people[matched[part]], np.arange(len(part))) for people in (before, after))
        gained = thresholds_passed(new) - thresholds_passed(old)
        gains[name] = float(100 * gained.mean()) if len(part) else None
    return gains


def markdown(measured: Mapping[str, dict[str, Any]]) -> str:
    """Write gains by name as a table for a model card."""
    headings = ["results", "AP before", "AP after", "gain", "95 % interval", "AP50", "AP75"]
    headings += ["keypoints alone", "lower half", "upper half"]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for name, gains in measured.items():
        once, gain, halves = gains["once"], gains["once"]["gain"], gains.get("halves", {})
        alone = gains["keypoints_only"]["gain"]["AP"] if halves else None
        numbers = [once["before"]["AP"], once["after"]["AP"], gain["AP"], gain["AP_low"], gain["AP_high"]]
        numbers += [gain["AP50"], gain["AP75"], alone, halves.get("lower"), halves.get("upper")]
        cells = ["" if n is None else f"{n:.2f}" if i < 2 else f"{n:+.2f}" for i, n in enumerate(numbers)]
        lines.append([name, *cells[:3], f"[{cells[3]}, {cells[4]}]", *cells[5:]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
