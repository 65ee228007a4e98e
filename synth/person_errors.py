"""Draw errors of whole poses, which independent errors of single keypoints do not produce.

Left/right inversion of legs, arms or the whole pose; a pose displaced, scaled and rotated; the pose of another person;
placeholders for faces that an estimator does not detect.

All functions take ``keypoints`` (N, K, 2) pixels, mostly ``scores`` (N, K), 0 where there is no input, and the
``probability`` that a person has the error, and return modified copies.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton

WARP_SCALE, WARP_SHIFT, WARP_TURN = 0.15, 0.1, 8.0  # std of log scale, of shift in sqrt(area), of rotation in degrees
PLACEHOLDER_SCORES = 0.003, 0.03
PLACEHOLDER_SPREAD = 4.0  # maximum distance scale from the face, in OKS scales


def invert_limbs(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton, rng: np.random.Generator, probability: float
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right in the legs, arms or whole pose (a third each) of some people."""
    n, k = scores.shape
    parts = np.zeros((3, k), bool)
    parts[0, skeleton.group("lower")], parts[1, skeleton.group("upper")], parts[2] = True, True, True
    selected = rng.random((n, 1)) < probability
    inverted = selected & parts[rng.integers(0, 3, n)]
    source = np.where(inverted, skeleton.flip, np.arange(k))
    return np.take_along_axis(keypoints, source[..., None], axis=1), np.take_along_axis(scores, source, axis=1)


def warp_poses(
    keypoints: np.ndarray, valid: np.ndarray, areas: np.ndarray, rng: np.random.Generator, probability: float
) -> np.ndarray:
    """Shift, scale and rotate some people's poses about the centroid of the ``valid`` (N, K) keypoints.

    Shifts are proportional to the square root of ``areas`` (N,) px^2.
    """
    n = len(keypoints)
    weight = valid[..., None]
    centroid = (keypoints * weight).sum(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1)
    scale = np.exp(WARP_SCALE * rng.standard_normal((n, 1)))
    angle = np.deg2rad(WARP_TURN) * rng.standard_normal((n, 1))
    shift = WARP_SHIFT * np.sqrt(areas)[:, None] * rng.standard_normal((n, 2))
    x, y = np.moveaxis(keypoints - centroid, -1, 0)
    rotated = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    warped = centroid + scale[..., None] * rotated + shift[:, None]
    return np.where((rng.random(n) < probability)[:, None, None], warped, keypoints)


def take_neighbours(
    keypoints: np.ndarray,
    scores: np.ndarray,
    others: np.ndarray,
    other_scores: np.ndarray,
    rng: np.random.Generator,
    probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the poses of some people with neighbours by that of the nearest one.

    ``others`` (N, M, K, 2) and ``other_scores`` (N, M, K) are the neighbours, nearest first.
    """
    selected = (rng.random(len(scores)) < probability) & (other_scores[:, 0] > 0).any(1)
    replaced = np.where(selected[:, None, None], others[:, 0], keypoints)
    return replaced, np.where(selected[:, None], other_scores[:, 0], scores)


def place_faces(
    keypoints: np.ndarray,
    scores: np.ndarray,
    scales: np.ndarray,
    skeleton: Skeleton,
    rng: np.random.Generator,
    probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the face keypoints of some people by placeholders of low confidence, all in one place or scattered.

    Distances from the face are proportional to ``scales`` (N, K), OKS scales s k in pixels. People without any face
    keypoint get none.
    """
    keypoints, scores = keypoints.copy(), scores.copy()
    face = np.flatnonzero(skeleton.group("face"))
    valid = scores[:, face] > 0
    rows = np.flatnonzero((rng.random(len(scores)) < probability) & valid.any(1))
    if not len(rows):
        return keypoints, scores
    weight = valid[rows][..., None]
    centroid = (keypoints[np.ix_(rows, face)] * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    together = rng.random((len(rows), 1, 1)) < 0.5
    shape = len(rows), len(face), 2
    offset = np.where(together, rng.standard_normal((len(rows), 1, 2)), rng.standard_normal(shape))
    offset = offset * scales[np.ix_(rows, face)][..., None] * rng.uniform(0, PLACEHOLDER_SPREAD, (len(rows), 1, 1))
    keypoints[np.ix_(rows, face)] = centroid + offset
    scores[np.ix_(rows, face)] = rng.uniform(*PLACEHOLDER_SCORES, (len(rows), 1))
    return keypoints, scores
