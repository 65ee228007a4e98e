"""Confidences that an estimator might give: some know how right a keypoint is, some hardly, some say 1 throughout."""

from __future__ import annotations

import numpy as np

SILENT = 0.5  # share of people whose keypoints all have confidence 1
SLOPES, OFFSETS, NOISE = (0.0, 1.2), (-1.0, 2.0), 0.6  # of the logit of a confidence, each drawn for a person


def draw_scores(similarity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw confidences whose logit is linear in that of the keypoint similarity, with noise; each person's line is own.

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
    return np.where(rng.random((n, 1)) < SILENT, 1.0, drawn).astype(np.float32)
