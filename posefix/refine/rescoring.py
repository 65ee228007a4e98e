"""Score refined people by the quality of their poses: average precision depends on the order of the scores.

The new score is the expected OKS times the fourth root of the estimator's score, which tells better whether there is a
person at all. The exponent was chosen on held-out training images. People rescored before keep their score.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posefix.core.people import People

ESTIMATOR_EXPONENT = 0.25
LOGIT_RANGE = 100.0  # lower logits are clipped
MIN_SCORE = 1e-3  # lower estimator scores, such as negative logits, are mapped to between 0 and this


def expected_oks(similarity: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average the expected keypoint similarities of each person, weighted by confidence.

    Args:
        similarity: (N, K) expected keypoint similarity; NaN where unknown.
        scores: (N, K) confidences, clipped to [0, 1]. If all of a person's are 0, the weights are equal.

    Returns:
        (N,) float32 in [0, 1]; NaN for people without any known similarity.
    """
    known = np.isfinite(similarity)
    weights = np.where(known, np.clip(scores, 0, 1), 0)
    weights = np.where(weights.any(1, keepdims=True), weights, known)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = (weights * np.nan_to_num(similarity)).sum(1) / weights.sum(1)
    return mean.astype(np.float32)


def estimator_scores(people: People) -> np.ndarray:
    """Return the estimator's own person scores (N,) float32, also of people rescored since."""
    return np.where(was_rescored(people), people.original_scores, people.person_scores)


def was_rescored(people: People) -> np.ndarray:
    """Mask (N,) bool of people refined and rescored before."""
    before: np.ndarray = np.isfinite(people.original_scores)
    return before


def rescored(people: People, expected: np.ndarray) -> People:
    """Return people with new scores, and the estimator's as ``original_scores``.

    Args:
        people: N people with the estimator's scores, on any scale.
        expected: (N,) expected OKS (:func:`expected_oks`); people with NaN keep their score.
    """
    change = np.isfinite(expected) & ~was_rescored(people)
    scores = np.nan_to_num(people.person_scores.astype(np.float64), nan=0.0)
    logits = np.clip(scores - MIN_SCORE, -LOGIT_RANGE, 0)
    scores = np.maximum(scores, MIN_SCORE) * np.exp(logits)
    rescored_scores = np.where(change, scores**ESTIMATOR_EXPONENT * np.nan_to_num(expected), people.person_scores)
    original_scores = np.where(change, people.person_scores, people.original_scores)
    return replace(people, person_scores=rescored_scores, original_scores=original_scores)
