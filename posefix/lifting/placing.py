"""Place lifted poses before the camera, where their keypoints are seen."""

from __future__ import annotations

import numpy as np

from posefix.core.errors import require
from posefix.lifting.body import limb_lengths

FEWEST = 4  # keypoints that say what a person does, and how far away
SMOOTHED = 0.15  # seconds, standard deviation of the Gaussian over which the distance is averaged
UPPER, LOWER = [0, 1, 4, 5], [2, 3, 6, 7]  # of the limbs: upper arms and thighs; what hangs on them


def root_of(keypoints: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(..., 3) where poses are, by least squares, whose keypoints (..., K, 3) are seen along rays (..., K, 3).

    Rays have depth 1. ``weights`` (..., K) are 0 where a keypoint is not seen. NaN with fewer than four, or if they are
    behind the camera.
    """
    u, v, w = rays[..., 0], rays[..., 1], weights / np.maximum(weights.sum(-1, keepdims=True), 1e-12)
    points = np.where(w[..., None] > 0, keypoints, 0)
    right, down = u * points[..., 2] - points[..., 0], v * points[..., 2] - points[..., 1]
    s, su, sv, s2 = ((w * value).sum(-1) for value in (np.ones_like(u), u, v, u**2 + v**2))
    zero = np.zeros_like(s)
    matrix = np.stack([s, zero, -su, zero, s, -sv, -su, -sv, s2], axis=-1).reshape(*s.shape, 3, 3)
    target = -np.stack([(w * value).sum(-1) for value in (-right, -down, u * right + v * down)], axis=-1)
    solvable = (np.count_nonzero(w, axis=-1) >= FEWEST) & (np.linalg.det(matrix) > 1e-12)
    matrix[~solvable] = np.eye(3)
    root = np.linalg.solve(matrix, target[..., None])[..., 0]
    root[~solvable | (root[..., 2] <= 0)] = np.nan
    return np.asarray(root)


def smoothed_distance(root: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(T, 3) roots at the distances that a Gaussian over time gives; their lines of sight stay as they are.

    How far away somebody is rests on their apparent size, which is noisy; where they are in the image is not.
    ``times`` (T,) are seconds, at about even distances.
    """
    known = np.isfinite(root).all(1)
    if len(root) < 2 or not known.any():
        return root
    smooth = require("scipy.ndimage", "video", "lifting").gaussian_filter1d
    frames = SMOOTHED / float(np.median(np.diff(times)))
    distance = np.where(known, np.linalg.norm(np.where(known[:, None], root, 1), axis=1), 1)
    total, weight = (
        smooth(values, frames, mode="constant") for values in (known * np.log(distance), known.astype(float))
    )
    factor = np.exp(total / np.maximum(weight, 1e-12)) / distance
    return np.asarray(root * np.where(known, factor, 1)[:, None])


def with_constant_limbs(keypoints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(..., T, K, 3) poses whose upper arms, forearms, thighs and shanks have the median length of their T frames.

    Left and right are of one length. Joints move along their limb, with what hangs on them.

    Args:
        keypoints: (..., T, K, 3), NaN where nothing is known.
        limbs: as :func:`posefix.lifting.body.limbs_of` gives them.
    """
    found, vectors = keypoints.copy(), keypoints[..., limbs[:, 1], :] - keypoints[..., limbs[:, 0], :]
    lengths = limb_lengths(keypoints, limbs)
    sides = lengths.reshape(*lengths.shape[:-1], len(limbs) // 2, 2)
    sides = np.where(np.isfinite(sides).any((-3, -1), keepdims=True), sides, 0)  # what is never known stays NaN
    usual = np.repeat(np.nanmedian(sides, axis=(-3, -1)), 2, axis=-1)[..., None, :]  # (..., 1, L)
    vectors = vectors * (usual / np.maximum(lengths, 1e-6))[..., None]
    for part in (UPPER, LOWER):
        start, end = limbs[part].T
        found[..., end, :] = found[..., start, :] + vectors[..., part, :]
    return np.asarray(found)
