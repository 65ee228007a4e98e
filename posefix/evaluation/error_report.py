"""Errors of several results files: their diagnoses, what AP would be without them, and statistics for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.coco import Metrics, evaluate
from posefix.evaluation.diagnosis import KIND_NAMES, KINDS, Diagnosis, diagnose, same_people, transitions
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import oks_with, truth_rows
from synth import ErrorType, Observation, Statistics, fit_statistics


def report_errors(truth: GroundTruth, results: Mapping[str, People]) -> dict[str, Any]:
    """Diagnose results, given by the name of their file, in that order.

    Returns:
        Plain data for a JSON file: ``diagnoses``, those of each file with its name (``file``) and, where a person was
        found, what AP would be without each kind of error (``impact``); and of several files ``transitions``, keypoints
        by error type in the first and in the last, and whether each result was ``followed`` for that.
    """
    diagnoses = {name: diagnose(truth, people) for name, people in results.items()}
    report: dict[str, Any] = {"diagnoses": []}
    for name, diagnosis in diagnoses.items():
        impact = {"impact": ap_impact(truth, diagnosis.results)} if diagnosis.found.any() else {}
        report["diagnoses"].append({"file": name, **diagnosis.to_dict(), **impact})
    first, *others = diagnoses.values()
    if others:
        rows = [dict(zip(KIND_NAMES, row, strict=True)) for row in transitions(first, others[-1]).tolist()]
        report["transitions"] = dict(zip(KIND_NAMES, rows, strict=True))
        report["followed"] = same_people(first, others[-1])
    return report


def fit_errors(truth: GroundTruth, results: Mapping[str, People], description: str) -> Statistics:
    """Fit error statistics to results, given by the name of their file; all files are counted together.

    ``description`` is a line that says where the numbers come from.

    Raises:
        InputError: when no result in a file matches an annotated person.
    """
    seen = []
    for name, people in results.items():
        found = diagnose(truth, people)
        rows = np.flatnonzero(found.found)
        matched = people[found.matched[rows]]
        seen.append(Observation(found.truth[rows], matched.keypoints, matched.scores > 0, found.neighbours.take(rows)))
        if not (seen[-1].truth.labelled & seen[-1].given).any():
            raise InputError(f"{name}: no result matches an annotated person, so there is nothing to measure")
    return fit_statistics(seen, description)


def ap_impact(truth: GroundTruth, results: People) -> dict[str, Metrics]:
    """Measure results as they are, and with each kind of error alone corrected (Ronchi and Perona, ICCV 2017).

    All people and results count, also those too small or too many for a diagnosis, since AP counts them. Keypoint
    errors are moved to the truth; "scores" ranks the results by how good they are (see :func:`optimal_scores`);
    "background" drops results that match no annotated person; "missed people" takes people whom no result matches out
    of the annotations.

    Returns:
        For ``as it is``, ``jitter``, ``inversion``, ``swap``, ``miss``, ``scores``, ``background`` and
        ``missed people`` the metrics of :func:`posefix.evaluation.coco.evaluate`.
    """
    diagnosis = diagnose(truth, results, min_area=0.0, max_detections=max(len(results), 1))
    changed = {"as it is": results}
    changed |= {kind.name.lower(): diagnosis.corrected(kind) for kind in KINDS if kind != ErrorType.GOOD}
    changed["scores"] = replace(results, person_scores=optimal_scores(diagnosis))
    changed["background"] = results[~diagnosis.background]
    impact = {name: evaluate(truth, people).metrics() for name, people in changed.items()}
    missed = {a["id"] for a, found in zip(diagnosis.truth.extra, diagnosis.found, strict=True) if not found}
    impact["missed people"] = evaluate(truth.ignoring(missed), results).metrics()
    return impact


def optimal_scores(diagnosis: Diagnosis) -> np.ndarray:
    """(N,) the scores that rank results best: OKS with the person matched, -1 for results that match no person.

    A second result of the same person is a false positive at any score, so it goes to the end as well.
    """
    rows = truth_rows(diagnosis.matched, len(diagnosis.results))
    return np.where(rows >= 0, oks_with(diagnosis.truth, diagnosis.results, rows), -1.0)
