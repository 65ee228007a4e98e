"""What AP would be if one kind of error were gone (Ronchi and Perona, ICCV 2017)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posefix.core.people import People
from posefix.evaluation.coco import Metrics, evaluate
from posefix.evaluation.diagnosis import KINDS, Diagnosis, diagnose
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import oks_with, truth_rows
from synth import ErrorType


def ap_impact(truth: GroundTruth, results: People) -> dict[str, Metrics]:
    """Measure results as they are, and with each kind of error alone corrected.

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
