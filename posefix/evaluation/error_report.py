"""What several results files get wrong, and what became of each error between the first and the last of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posefix.core.people import People
from posefix.evaluation.diagnosis import KIND_NAMES, diagnose, same_people, transitions
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.impact import ap_impact


def report_errors(truth: GroundTruth, results: Mapping[str, People]) -> dict[str, Any]:
    """Diagnose results, in the order in which they are given.

    Args:
        truth: ground truth.
        results: people by the name of their file.

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
