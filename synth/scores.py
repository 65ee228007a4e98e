"""Draw confidences of keypoints as estimators give them, more or less related to how right a keypoint is."""

from __future__ import annotations

import numpy as np

SILENT, UNKNOWN = 0.25, 0.5  # share of people whose keypoints all have the same confidence, and which
RIGHT = 0.8  # keypoint similarity from which on a keypoint is right
CERTAIN_RIGHT, CERTAIN_WRONG = 0.4, 0.01  # share of people right throughout, and of others, who are called certain
SLOPES, OFFSETS, NOISE = (0.0, 1.2), (-1.0, 2.0), 0.6  # of the logit of a confidence, each drawn for a person


def draw_scores(similarity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw confidences whose logit is linear in that of the keypoint similarity, with noise.

    Slope and offset are drawn for each person.

    Args:
        similarity: (N, K) keypoint similarity to the truth.
        rng: source of randomness.

    Returns:
        (N, K) float32 in (0, 1].
    """
    n = len(similarity)
    logit = np.log((similarity + 0.02) / (1.02 - similarity))
    slope, offset = rng.uniform(*SLOPES, (n, 1)), rng.uniform(*OFFSETS, (n, 1))
    noise = NOISE * rng.standard_normal((n, 1)) * rng.standard_normal(similarity.shape)
    drawn = 1 / (1 + np.exp(-(slope * logit + offset + noise)))
    return np.where(rng.random((n, 1)) < SILENT, UNKNOWN, np.minimum(drawn, 0.998)).astype(np.float32)


def claim_certainty(
    similarity: np.ndarray, scores: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give confidence 1 to every keypoint of some people, mostly of those that are right, as annotators do.

    Args:
        similarity: (N, K) keypoint similarity to the truth.
        scores: (N, K) confidences; 0 where there is no keypoint.
        labelled: (N, K) bool, keypoints whose truth is known; of the others, certain people have none.
        rng: source of randomness.

    Returns:
        (N, K) float32 confidences.
    """
    given = (scores > 0) & labelled
    right = given.any(1) & ((similarity > RIGHT) | ~given).all(1)
    certain = rng.random(len(scores)) < np.where(right, CERTAIN_RIGHT, CERTAIN_WRONG)
    certain &= given.any(1)
    return np.where(certain[:, None], given, scores).astype(np.float32)
