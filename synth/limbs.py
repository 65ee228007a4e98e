"""Errors of a whole person: left and right exchanged in legs, arms or everything, and faces that an estimator lacks."""

from __future__ import annotations

import numpy as np

from posefix.skeleton import Skeleton

PLACEHOLDER_SCORES = 0.003, 0.03
PLACEHOLDER_SPREAD = 4.0  # OKS scales from where the face is, at most


def invert_limbs(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton, rng: np.random.Generator, probability: float
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right of some people's legs, arms or all keypoints, a third each.

    Args:
        keypoints: (N, K, 2).
        scores: (N, K).
        skeleton: of the K keypoints.
        rng: source of randomness.
        probability: of each person.

    Returns:
        Both, changed, as new arrays.
    """
    n, k = scores.shape
    parts = np.zeros((3, k), bool)
    parts[0, skeleton.group("lower")], parts[1, skeleton.group("upper")], parts[2] = True, True, True
    inverted = (rng.random(n) < probability)[:, None] & parts[rng.integers(0, 3, n)]
    source = np.where(inverted, skeleton.flip, np.arange(k))
    return np.take_along_axis(keypoints, source[..., None], axis=1), np.take_along_axis(scores, source, axis=1)


def place_faces(
    keypoints: np.ndarray,
    scores: np.ndarray,
    scales: np.ndarray,
    skeleton: Skeleton,
    rng: np.random.Generator,
    probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give some people placeholders for the face, with a confidence near 0: all in one place, or each a little off.

    Args:
        keypoints: (N, K, 2).
        scores: (N, K).
        scales: (N, K) OKS scales s k, in the keypoints' pixels.
        skeleton: of the K keypoints.
        rng: source of randomness.
        probability: of each person who has any keypoint of the face.

    Returns:
        Both, changed, as new arrays.
    """
    keypoints, scores = keypoints.copy(), scores.copy()
    face = np.flatnonzero(skeleton.group("face"))
    given = scores[:, face] > 0
    rows = np.flatnonzero((rng.random(len(scores)) < probability) & given.any(1))
    if not len(rows):
        return keypoints, scores
    weight = given[rows][..., None]
    middle = (keypoints[np.ix_(rows, face)] * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    together = rng.random((len(rows), 1, 1)) < 0.5
    shape = len(rows), len(face), 2
    offset = np.where(together, rng.standard_normal((len(rows), 1, 2)), rng.standard_normal(shape))
    offset = offset * scales[np.ix_(rows, face)][..., None] * rng.uniform(0, PLACEHOLDER_SPREAD, (len(rows), 1, 1))
    keypoints[np.ix_(rows, face)] = middle + offset
    scores[np.ix_(rows, face)] = rng.uniform(*PLACEHOLDER_SCORES, (len(rows), 1))
    return keypoints, scores
