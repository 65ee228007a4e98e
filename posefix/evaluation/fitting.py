"""Measuring an estimator's errors, so that training can synthesise them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import GroundTruth
from synth import Statistics, fit_statistics, pool


def fit_errors(truth: GroundTruth, results: Mapping[str, People], description: str) -> Statistics:
    """Fit error statistics to results, all files pooled.

    Args:
        truth: what is right.
        results: people by the name of their file.
        description: a line that says where the numbers come from.

    Raises:
        InputError: when nobody in a file matches an annotated person.
    """
    seen = []
    for name, people in results.items():
        seen.append(diagnose(truth, people).observation())
        if not (seen[-1].types >= 0).any():
            raise InputError(f"{name}: no result matches an annotated person, so there is nothing to measure")
    measured = pool(seen) if len(seen) > 1 else seen[0]
    fitted = fit_statistics(measured, description)
    checked = Statistics.from_dict(fitted.to_dict(), "fitted statistics", truth.skeleton)
    checked.probabilities_by_kind(measured.visible[:1], measured.overlaps[:1], truth.skeleton, np.zeros(1, int))
    return checked
