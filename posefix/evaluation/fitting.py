"""Measure an estimator's errors, so that training can synthesise them."""

from __future__ import annotations

from collections.abc import Mapping

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import GroundTruth
from synth import Statistics, fit_statistics


def fit_errors(truth: GroundTruth, results: Mapping[str, People], description: str) -> Statistics:
    """Fit error statistics to results, all files counted together.

    Args:
        truth: ground truth.
        results: people by the name of their file.
        description: a line that says where the numbers come from.

    Raises:
        InputError: when no result in a file matches an annotated person.
    """
    seen = {name: diagnose(truth, people).observation() for name, people in results.items()}
    for name, observed in seen.items():
        if not (observed.truth.labelled & observed.given).any():
            raise InputError(f"{name}: no result matches an annotated person, so there is nothing to measure")
    return fit_statistics(seen.values(), description)
