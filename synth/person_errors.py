"""Draw errors of whole poses, which real estimators make and errors drawn for each keypoint never amount to.

Left and right exchanged in legs, arms or everything; a pose that is displaced, scaled or turned as one; a pose that is
another person's; faces that an estimator does not know.

All functions take ``keypoints`` (N, K, 2) pixels, mostly ``scores`` (N, K), 0 where there is no input, and the
``probability`` that a person has the error; and return the same, changed, as new arrays.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton

WARP_SCALE, WARP_SHIFT, WARP_TURN = 0.15, 0.1, 8.0  # spread of log size, place in sqrt(area), direction in degrees
PLACEHOLDER_SCORES = 0.003, 0.03
PLACEHOLDER_SPREAD = 4.0  # OKS scales from where the face is, at most


def invert_limbs(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton, rng: np.random.Generator, probability: float
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right of some people's legs, arms or all keypoints, a third each."""
    n, k = scores.shape
    parts = np.zeros((3, k), bool)
    parts[0, skeleton.group("lower")], parts[1, skeleton.group("upper")], parts[2] = True, True, True
    chosen = rng.random((n, 1)) < probability
    inverted = chosen & parts[rng.integers(0, 3, n)]
    source = np.where(inverted, skeleton.flip, np.arange(k))
    return np.take_along_axis(keypoints, source[..., None], axis=1), np.take_along_axis(scores, source, axis=1)


def warp_poses(
    keypoints: np.ndarray, given: np.ndarray, areas: np.ndarray, rng: np.random.Generator, probability: float
) -> np.ndarray:
    """Displace, scale and turn some people's poses as a whole, about the middle of the ``given`` (N, K) keypoints.

    Displacements go with ``areas`` (N,) px^2.
    """
    n = len(keypoints)
    weight = given[..., None]
    middle = (keypoints * weight).sum(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1)
    scale = np.exp(WARP_SCALE * rng.standard_normal((n, 1)))
    angle = np.deg2rad(WARP_TURN) * rng.standard_normal((n, 1))
    shift = WARP_SHIFT * np.sqrt(areas)[:, None] * rng.standard_normal((n, 2))
    x, y = np.moveaxis(keypoints - middle, -1, 0)
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    warped = middle + scale[..., None] * turned + shift[:, None]
    return np.where((rng.random(n) < probability)[:, None, None], warped, keypoints)


def take_neighbours(
    keypoints: np.ndarray,
    scores: np.ndarray,
    others: np.ndarray,
    other_scores: np.ndarray,
    rng: np.random.Generator,
    probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give some of the people who have a neighbour the pose of the nearest, as a whole.

    ``others`` (N, M, K, 2) and ``other_scores`` (N, M, K) are neighbours, the nearest first.
    """
    chosen = (rng.random(len(scores)) < probability) & (other_scores[:, 0] > 0).any(1)
    taken = np.where(chosen[:, None, None], others[:, 0], keypoints)
    return taken, np.where(chosen[:, None], other_scores[:, 0], scores)


def place_faces(
    keypoints: np.ndarray,
    scores: np.ndarray,
    scales: np.ndarray,
    skeleton: Skeleton,
    rng: np.random.Generator,
    probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Give some people placeholders for the face, with a confidence near 0: all in one place, or each a little off.

    How far off goes with ``scales`` (N, K), OKS scales s k in pixels. People without any keypoint of a face have none.
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
