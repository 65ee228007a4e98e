"""Measure a checkpoint's gain on all results files of a folder of data sets, and its effect on ground truth.

The folder contains ``SET/annotations/person_keypoints_SPLIT.json``, ``SET/SPLIT/`` (the images) and
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

DISPLACEMENTS = (0.1, 0.25, 0.5)  # applied to ground truth, in OKS scales s k


def data_sets(folder: Path, split: str) -> list[Path]:
    """Find the data sets in a folder; raises InputError if there are none."""
    folders = sorted(path.parents[1] for path in folder.glob(f"*/annotations/person_keypoints_{split}.json"))
    if not folders:
        raise InputError(f"{folder}: holds no SET/annotations/person_keypoints_{split}.json")
    return folders


def require_readable(folder: Path, split: str, skeleton: Skeleton) -> None:
    """Read all files of a data set except the images, to raise InputError for damaged ones before long work."""
    truth = _truth(folder, split, skeleton)
    for path in _results(folder, split):
        read_results(path, truth)


def measure_results(
    folder: Path, split: str, refiner: Refiner, settings: RefineSettings, with_truth: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Refine all results files of a data set and, with ``with_truth``, its ground truth: exact, displaced, boxes only.

    Yields:
        A name, and a dict with ``once``, the output of :func:`posefix.evaluation.comparison.compare`, and
        ``estimator_ap``, the AP given to the network (None if it takes none). For results also ``keypoints_only``, as
        ``once`` with the estimator's scores, and ``halves``, see :func:`gains_by_score`.
    """
    truth = _truth(folder, split, refiner.skeleton)
    images = ImageFolder(folder / split, truth.images)

    def gains(before: People, after: People) -> dict[str, Any]:
        return compare(truth, before, after, rng=np.random.default_rng(0))

    for path in _results(folder, split):
        people = read_results(path, truth)
        refined = refiner.refine(people, images, settings)
        unscored = replace(refined, person_scores=people.person_scores)
        halves = gains_by_score(truth.people, people, refined)
        measured = {"once": gains(people, refined), "keypoints_only": gains(people, unscored), "halves": halves}
        yield f"{folder.name}/{path.stem}", {**measured, "estimator_ap": refiner.assumed_ap(people, settings)}
    if not with_truth:
        return
    exact = displaced(truth.people, 0.0, np.random.default_rng(0))
    inputs = {"ground truth": exact, "boxes alone": exact.with_keypoints(0 * exact.keypoints, 0 * exact.scores)}
    for distance in DISPLACEMENTS:
        inputs[f"ground truth, off by {distance:g} s k"] = displaced(truth.people, distance, np.random.default_rng(0))
    for name, people in inputs.items():
        refined = refiner.refine(people, images, settings)
        yield (
            f"{folder.name}/{name}",
            {"once": gains(people, refined), "estimator_ap": refiner.assumed_ap(people, settings)},
        )


def _truth(folder: Path, split: str, skeleton: Skeleton) -> GroundTruth:
    return GroundTruth.read(folder / "annotations" / f"person_keypoints_{split}.json", skeleton)


def _results(folder: Path, split: str) -> list[Path]:
    return sorted((folder / "results" / split).glob("*.json"))


def displaced(truth: People, distance: float, rng: np.random.Generator) -> People:
    """Return ground truth as results, with keypoints moved by ``distance`` OKS scales in random directions."""
    angle = rng.uniform(0, 2 * np.pi, truth.scores.shape)
    scales = truth.skeleton.scales(truth.areas)
    offset = distance * scales[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    keypoints = truth.keypoints + offset * truth.labelled[..., None]
    results = truth.with_keypoints(keypoints, truth.labelled.astype(np.float32))
    return replace(results, person_scores=np.ones(len(results)))


def gains_by_score(truth: People, before: People, after: People) -> dict[str, float | None]:
    """Compute the gains of the matched people in the lower and in the upper half of the estimator's scores.

    The gain is the mean increase of the share of OKS thresholds passed (0.5, 0.55, ..., 0.95), in percentage points.
    ``after`` are the people of ``before``, refined. Returns ``lower`` and ``upper``, None for an empty half.
    """
    matched = match_people(truth, before)
    rows = np.flatnonzero(matched >= 0)
    rows = rows[np.argsort(before.person_scores[matched[rows]], kind="stable")]
    gains: dict[str, float | None] = {}
    for name, half in zip(("lower", "upper"), np.array_split(rows, 2), strict=True):
        old, new = (oks_with(truth[half], people[matched[half]], np.arange(len(half))) for people in (before, after))
        gain = thresholds_passed(new) - thresholds_passed(old)
        gains[name] = float(100 * gain.mean()) if len(half) else None
    return gains


def markdown(measured: Mapping[str, dict[str, Any]]) -> str:
    """Format gains by name as a table for a model card."""
    headings = ["results", "AP before", "AP after", "gain", "95 % interval", "AP50", "AP75"]
    headings += ["keypoints alone", "lower half", "upper half"]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for name, gains in measured.items():
        once, gain, halves = gains["once"], gains["once"]["gain"], gains.get("halves", {})
        keypoints_gain = gains["keypoints_only"]["gain"]["AP"] if halves else None
        numbers = [once["before"]["AP"], once["after"]["AP"], gain["AP"], gain["AP_low"], gain["AP_high"]]
        numbers += [gain["AP50"], gain["AP75"], keypoints_gain, halves.get("lower"), halves.get("upper")]
        cells = ["" if n is None else f"{n:.2f}" if i < 2 else f"{n:+.2f}" for i, n in enumerate(numbers)]
        lines.append([name, *cells[:3], f"[{cells[3]}, {cells[4]}]", *cells[5:]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
