"""Score refined people by how good their poses are: average precision depends on the order of the scores.

The new score is the expected OKS times the fourth root of the estimator's score, which knows better whether there is a
person at all. (The exponent was chosen on held-out training images.) People who were rescored before keep their score.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posefix.core.people import People

ESTIMATOR_EXPONENT = 0.25
LOWEST = 100.0  # further below, logits are not told apart
LEAST_SCORE = 1e-3  # of an estimator; lower ones, such as logits below 0, are brought between 0 and this


def expected_oks(similarity: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average the expected keypoint similarities of each of N people.

    Args:
        similarity: (N, K) expected keypoint similarity; NaN where nothing is known.
        scores: (N, K) confidences of the keypoints; their weights, between 0 and 1. Where all of a person's are 0,
            every keypoint counts the same.

    Returns:
        (N,) float32 in [0, 1]; NaN where nothing is known of any keypoint.
    """
    known = np.isfinite(similarity)
    weights = np.where(known, np.clip(scores, 0, 1), 0)
    weights = np.where(weights.any(1, keepdims=True), weights, known)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = (weights * np.nan_to_num(similarity)).sum(1) / weights.sum(1)
    return mean.astype(np.float32)


def estimator_scores(people: People) -> np.ndarray:
    """(N,) float32 scores that the estimator gave: of people who were rescored before, the score before that."""
    return np.where(was_rescored(people), people.original_scores, people.person_scores)


def was_rescored(people: People) -> np.ndarray:
    """(N,) bool: people who were refined and rescored before."""
    before: np.ndarray = np.isfinite(people.original_scores)
    return before


def rescored(people: People, expected: np.ndarray) -> People:
    """N people with new scores, and the estimator's as ``original_scores``.

    Args:
        people: with the scores that they came with, of any scale.
        expected: (N,) OKS, as of :func:`expected_oks`; NaN for people of whom nothing is known, who keep their score.
    """
    change = np.isfinite(expected) & ~was_rescored(people)
    own = np.nan_to_num(people.person_scores.astype(np.float64), nan=0.0)
    below = np.clip(own - LEAST_SCORE, -LOWEST, 0)
    own = np.maximum(own, LEAST_SCORE) * np.exp(below)
    new = np.where(change, own**ESTIMATOR_EXPONENT * np.nan_to_num(expected), people.person_scores)
    original = np.where(change, people.person_scores, people.original_scores)
    return replace(people, person_scores=new, original_scores=original)
