"""What several results files get wrong, and what became of each error between the first and the last of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.evaluation.coco import Metrics
from posefix.evaluation.diagnosis import KIND_NAMES, Diagnosis, diagnose, transitions
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.impact import ap_impact


@dataclass(frozen=True)
class ErrorReport:
    """Diagnoses of results.

    Attributes:
        diagnoses: of each file, by its name.
        impacts: AP with each kind of error corrected, of the files in which an annotated person was found.
        transitions: (5, 5) counts of keypoints by error type in the first file (rows) and in the last (columns); None
            for a single file.
    """

    diagnoses: Mapping[str, Diagnosis]
    impacts: Mapping[str, Mapping[str, Metrics]]
    transitions: np.ndarray | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a JSON file."""
        content: dict[str, Any] = {"diagnoses": []}
        for name, diagnosis in self.diagnoses.items():
            impact = {"impact": self.impacts[name]} if name in self.impacts else {}
            content["diagnoses"].append({"file": name, **diagnosis.to_dict(), **impact})
        if self.transitions is not None:
            rows = (dict(zip(KIND_NAMES, row, strict=True)) for row in self.transitions.tolist())
            content["transitions"] = dict(zip(KIND_NAMES, rows, strict=True))
        return content


def report_errors(truth: GroundTruth, results: Mapping[str, People], impact: bool = True) -> ErrorReport:
    """Diagnose results, in the order in which they are given.

    Args:
        truth: ground truth.
        results: people by the name of their file.
        impact: whether to measure AP with each kind of error corrected.
    """
    found = {name: diagnose(truth, people) for name, people in results.items()}
    impacts = {name: ap_impact(truth, found[name].results) for name in found if impact and found[name].found.any()}
    first, *others = found.values()
    return ErrorReport(found, impacts, transitions(first, others[-1]) if others else None)
