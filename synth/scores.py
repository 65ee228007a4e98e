"""Draw keypoint confidences, more or less correlated with keypoint similarity, as estimators give them."""

from __future__ import annotations

import numpy as np

SILENT, UNKNOWN = 0.25, 0.5  # share of people with a constant confidence, and its value
RIGHT = 0.8  # keypoint similarity above which a keypoint is correct
CERTAIN_RIGHT, CERTAIN_WRONG = 0.4, 0.01  # share of people with all keypoints correct, and of others, who are certain
SLOPES, OFFSETS, NOISE = (0.0, 1.2), (-1.0, 2.0), 0.6  # of the logit of a confidence, drawn per person


def draw_scores(similarity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw confidences whose logit is linear in that of the similarity, with noise; slope and offset vary by person.

    Args:
        similarity: (N, K) keypoint similarity to the truth.
        rng: random generator.

    Returns:
        (N, K) float32 in (0, 1].
    """
    n = len(similarity)
    logit = np.log((similarity + 0.02) / (1.02 - similarity))
    slope, offset = rng.uniform(*SLOPES, (n, 1)), rng.uniform(*OFFSETS, (n, 1))
    noise = NOISE * rng.standard_normal((n, 1)) * rng.standard_normal(similarity.shape)
    confidence = 1 / (1 + np.exp(-(slope * logit + offset + noise)))
    return np.where(rng.random((n, 1)) < SILENT, UNKNOWN, np.minimum(confidence, 0.998)).astype(np.float32)


def claim_certainty(
    similarity: np.ndarray, scores: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Set the confidence of all keypoints to 1 for some people, mostly correct ones, as in annotations.

    Args:
        similarity: (N, K) keypoint similarity to the truth.
        scores: (N, K) confidences; 0 where there is no keypoint.
        labelled: (N, K) bool, mask of annotated keypoints; certain people lose the others.
        rng: random generator.

    Returns:
        (N, K) float32 confidences.
    """
    valid = (scores > 0) & labelled
    correct = valid.any(1) & ((similarity > RIGHT) | ~valid).all(1)
    certain = rng.random(len(scores)) < np.where(correct, CERTAIN_RIGHT, CERTAIN_WRONG)
    certain &= valid.any(1)
    return np.where(certain[:, None], valid, scores).astype(np.float32)
