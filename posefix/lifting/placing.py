"""Place lifted poses in front of the camera so that they project to their 2D keypoints."""

from __future__ import annotations

import numpy as np

from posefix.core.errors import require
from posefix.lifting.body import limb_lengths

MIN_KEYPOINTS = 4  # keypoints that determine pose and distance
DISTANCE_SIGMA = 0.15  # seconds, standard deviation of the Gaussian that smooths the distance
UPPER, LOWER = [0, 1, 4, 5], [2, 3, 6, 7]  # limbs: upper arms and thighs; forearms and shanks


def root_of(keypoints: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the least-squares positions (..., 3) of poses (..., K, 3) seen along ``rays`` (..., K, 3).

    Rays have depth 1; ``weights`` (..., K) are 0 for missing keypoints. NaN with fewer than four, or behind the camera.
    """
    u, v, w = rays[..., 0], rays[..., 1], weights / np.maximum(weights.sum(-1, keepdims=True), 1e-12)
    points = np.where(w[..., None] > 0, keypoints, 0)
    right, down = u * points[..., 2] - points[..., 0], v * points[..., 2] - points[..., 1]
    s, su, sv, s2 = ((w * value).sum(-1) for value in (np.ones_like(u), u, v, u**2 + v**2))
    zero = np.zeros_like(s)
    matrix = np.stack([s, zero, -su, zero, s, -sv, -su, -sv, s2], axis=-1).reshape(*s.shape, 3, 3)
    target = -np.stack([(w * value).sum(-1) for value in (-right, -down, u * right + v * down)], axis=-1)
    solvable = (np.count_nonzero(w, axis=-1) >= MIN_KEYPOINTS) & (np.linalg.det(matrix) > 1e-12)
    matrix[~solvable] = np.eye(3)
    root = np.linalg.solve(matrix, target[..., None])[..., 0]
    root[~solvable | (root[..., 2] <= 0)] = np.nan
    return np.asarray(root)


def smoothed_distance(root: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Smooth the distance of roots (T, 3) over time with a Gaussian, along their lines of sight.

    Distance depends on the apparent size, which is noisy. ``times`` (T,) are seconds, about evenly spaced.
    """
    valid = np.isfinite(root).all(1)
    if len(root) < 2 or not valid.any():
        return root
    smooth = require("scipy.ndimage", "video", "lifting").gaussian_filter1d
    frames = DISTANCE_SIGMA / float(np.median(np.diff(times)))
    distance = np.where(valid, np.linalg.norm(np.where(valid[:, None], root, 1), axis=1), 1)
    total, weight = (
        smooth(values, frames, mode="constant") for values in (valid * np.log(distance), valid.astype(float))
    )
    factor = np.exp(total / np.maximum(weight, 1e-12)) / distance
    return np.asarray(root * np.where(valid, factor, 1)[:, None])


def with_constant_limbs(keypoints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """Give upper arms, forearms, thighs and shanks their median length over the T frames of a track.

    Left and right get the same length. Joints move along their limb, together with the limbs below.

    Args:
        keypoints: (..., T, K, 3), NaN where unknown.
        limbs: as returned by :func:`posefix.lifting.body.limbs_of`.

    Returns:
        (..., T, K, 3).
    """
    result, vectors = keypoints.copy(), keypoints[..., limbs[:, 1], :] - keypoints[..., limbs[:, 0], :]
    lengths = limb_lengths(keypoints, limbs)
    sides = lengths.reshape(*lengths.shape[:-1], len(limbs) // 2, 2)
    sides = np.where(np.isfinite(sides).any((-3, -1), keepdims=True), sides, 0)  # always unknown: stays NaN
    medians = np.repeat(np.nanmedian(sides, axis=(-3, -1)), 2, axis=-1)[..., None, :]  # (..., 1, L)
    vectors = vectors * (medians / np.maximum(lengths, 1e-6))[..., None]
    for part in (UPPER, LOWER):
        start, end = limbs[part].T
        result[..., end, :] = result[..., start, :] + vectors[..., part, :]
    return np.asarray(result)
