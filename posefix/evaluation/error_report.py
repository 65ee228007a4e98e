"""Report the errors of results files: diagnoses, their impact on AP, and statistics for training."""

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
    """Diagnose results by file name.

    Returns:
        Plain data for JSON: ``diagnoses``, one per file with its name (``file``) and, if any person was found, the
        ``impact`` of each kind of error on AP. For several files also ``transitions``, the keypoints by error type in
        the first and the last file, and ``followed``, whether these hold the same people.
    """
    diagnoses = {name: diagnose(truth, people) for name, people in results.items()}
    report: dict[str, Any] = {"diagnoses": []}
    for name, diagnosis in diagnoses.items():
        impact = {"impact": ap_impact(truth, diagnosis.results)} if diagnosis.detected.any() else {}
        report["diagnoses"].append({"file": name, **diagnosis.to_dict(), **impact})
    first, *others = diagnoses.values()
    if others:
        rows = [dict(zip(KIND_NAMES, row, strict=True)) for row in transitions(first, others[-1]).tolist()]
        report["transitions"] = dict(zip(KIND_NAMES, rows, strict=True))
        report["followed"] = same_people(first, others[-1])
    return report


def fit_errors(truth: GroundTruth, results: Mapping[str, People], description: str) -> Statistics:
    """Fit error statistics to all results, given by file name; ``description`` is a line about their origin.

    Raises:
        InputError: when no result in a file matches an annotated person.
    """
    observations = []
    for name, people in results.items():
        diagnosis = diagnose(truth, people)
        rows = np.flatnonzero(diagnosis.detected)
        matched = people[diagnosis.matched[rows]]
        observations.append(
            Observation(diagnosis.truth[rows], matched.keypoints, matched.scores > 0, diagnosis.neighbours.take(rows))
        )
        if not (observations[-1].truth.labelled & observations[-1].valid).any():
            raise InputError(f"{name}: no result matches an annotated person, so there is nothing to measure")
    return fit_statistics(observations, description)


def ap_impact(truth: GroundTruth, results: People) -> dict[str, Metrics]:
    """Evaluate results as they are, and with each single kind of error corrected (Ronchi and Perona, ICCV 2017).

    People of all sizes and all results count, as in AP. Keypoint errors are moved to the truth; "scores" ranks results
    by OKS (:func:`optimal_scores`); "background" drops results that match no annotated person; "missed people" removes
    unmatched people from the annotations.

    Returns:
        For ``as it is``, ``jitter``, ``inversion``, ``swap``, ``miss``, ``scores``, ``background`` and
        ``missed people`` the metrics of :func:`posefix.evaluation.coco.evaluate`.
    """
    diagnosis = diagnose(truth, results, min_area=0.0, max_detections=max(len(results), 1))
    corrected = {"as it is": results}
    corrected |= {kind.name.lower(): diagnosis.corrected(kind) for kind in KINDS if kind != ErrorType.GOOD}
    corrected["scores"] = replace(results, person_scores=optimal_scores(diagnosis))
    corrected["background"] = results[~diagnosis.background]
    impact = {name: evaluate(truth, people).metrics() for name, people in corrected.items()}
    missed = {a["id"] for a, found in zip(diagnosis.truth.extra, diagnosis.detected, strict=True) if not found}
    impact["missed people"] = evaluate(truth.ignoring(missed), results).metrics()
    return impact


def optimal_scores(diagnosis: Diagnosis) -> np.ndarray:
    """Return the scores (N,) that rank results best: OKS with the matched person, -1 without a match.

    A second result of the same person is a false positive at any score, so it is ranked last as well.
    """
    rows = truth_rows(diagnosis.matched, len(diagnosis.results))
    return np.where(rows >= 0, oks_with(diagnosis.truth, diagnosis.results, rows), -1.0)
