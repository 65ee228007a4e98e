"""Measure the distance of 3D poses from a reference.

``predicted`` and ``truth`` are (..., T, K, 3) metres in the same axes, each relative to its own mid-hip. Keypoints
count if both are finite and, if given, ``valid`` (..., T, K). Measures return one value per frame, (..., T) float64:
the mean over the keypoints that count, or NaN without any. See docs/depth.md for references.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.lifting.poses import MILLIMETRES

PCK_LIMIT = 150.0  # mm, about half the size of a head
AUC_LIMITS = np.linspace(0.0, PCK_LIMIT, 31)
MIN_KEYPOINTS = 3  # for a rotation


def mpjpe(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the mean distance of the keypoints, mm."""
    return _mean(distances(predicted, truth, valid))


def p_mpjpe(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the mean distance after Procrustes alignment of each frame, mm."""
    return mpjpe(aligned(predicted, truth, valid), truth, valid)


def n_mpjpe(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the mean distance after least-squares scaling of each frame, mm."""
    mask = measured(predicted, truth, valid)[..., None]
    source, target = (np.where(mask, points, 0).astype(np.float64) for points in (predicted, truth))
    scale = (source * target).sum((-2, -1)) / np.maximum((source**2).sum((-2, -1)), np.finfo(np.float64).tiny)
    return mpjpe(scale[..., None, None] * predicted, truth, valid)


def pa_track(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the mean distance after one Procrustes alignment of the whole track, mm."""
    flat = (*predicted.shape[:-3], -1)
    mask = measured(predicted, truth, valid)
    aligned_points = aligned(predicted.reshape(*flat, 3), truth.reshape(*flat, 3), mask.reshape(flat))
    return mpjpe(aligned_points.reshape(predicted.shape), truth, valid)


def mpjve(
    predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, follows: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean distance of the keypoints' velocities, mm per frame; NaN in the first frame.

    Args:
        predicted, truth, valid: as for all measures.
        follows: (T,) bool frames that directly follow the row before; by default all but the first.
    """
    mask = measured(predicted, truth, valid)
    mask[..., 1:, :] &= mask[..., :-1, :]
    mask[..., 0, :] = False
    if follows is not None:
        mask &= follows[:, None]
    velocity, true_velocity = (np.diff(points, axis=-3, prepend=points[..., :1, :, :]) for points in (predicted, truth))
    return mpjpe(velocity, true_velocity, mask)


def pck(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the percentage of keypoints within 150 mm."""
    return _mean(_percent(distances(predicted, truth, valid), PCK_LIMIT))


def auc(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the curve of the percentage of keypoints within 0 to 150 mm."""
    distance = distances(predicted, truth, valid)
    area: np.ndarray = np.mean([_mean(_percent(distance, limit)) for limit in AUC_LIMITS], axis=0)
    return area


def measured(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return (..., K) bool, a new array: keypoints that count."""
    finite: np.ndarray = np.isfinite(predicted).all(-1) & np.isfinite(truth).all(-1)
    return finite if valid is None else finite & valid


def distances(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the distances (..., K) float64 mm of the keypoints; NaN for those that do not count."""
    metres = np.linalg.norm(np.subtract(predicted, truth, dtype=np.float64), axis=-1)
    return np.where(measured(predicted, truth, valid), MILLIMETRES * metres, np.nan)


def aligned(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Align poses to ``truth`` by rotation, translation and scale in least squares (Procrustes).

    Args:
        predicted, truth: (..., K, 3).
        valid: (..., K) bool keypoints that count.

    Returns:
        (..., K, 3) float64, all of ``predicted``; NaN for poses with fewer than three keypoints that count.
    """
    mask = measured(predicted, truth, valid)[..., None]
    count = mask.sum(-2, keepdims=True)
    middles = [
        np.where(mask, points, 0).sum(-2, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
        for points in (predicted, truth)
    ]
    source, target = (np.where(mask, p - m, 0) for p, m in zip((predicted, truth), middles, strict=True))
    u, stretch, vt = np.linalg.svd(np.swapaxes(source, -1, -2) @ target)
    proper = np.ones_like(stretch)
    proper[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * proper[..., None, :]) @ vt
    spread = np.maximum((source**2).sum((-2, -1)), np.finfo(np.float64).tiny)
    scale = ((stretch * proper).sum(-1) / spread)[..., None, None]
    result = scale * ((predicted - middles[0]) @ rotation) + middles[1]
    return np.where(count >= MIN_KEYPOINTS, result, np.nan)


def bones(skeleton: Skeleton) -> np.ndarray:
    """Return (B, 2) int64 limbs of constant length: those within arms and shoulders, and within legs and hips."""
    group = skeleton.groups[skeleton.limbs]
    rigid: np.ndarray = skeleton.limbs[(group[:, 0] == group[:, 1]) & (group[:, 0] != "face")]
    return rigid


def length_variation(lengths: np.ndarray) -> float:
    """Return the mean coefficient of variation of the bone lengths (T, B) over a track, in percent; NaN without any."""
    sums, mean_lengths = length_sums(lengths)
    return float(variations(sums.sum(0, keepdims=True), mean_lengths)[0])


def length_sums(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms, additive over frames, from which :func:`variations` computes the variation of lengths (T, B).

    Returns:
        (T, 3 B) float64 deviations from the mean, their squares, and 1 where known; and (B,) the mean lengths.
    """
    valid = np.isfinite(lengths)
    mean_lengths = np.where(valid, lengths, 0).sum(0) / np.maximum(valid.sum(0), 1)
    deviations = np.where(valid, lengths - mean_lengths, 0)
    return np.hstack([deviations, deviations**2, valid]), mean_lengths


def variations(sums: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return :func:`length_variation` (R,) from R sums (R, 3 B) of the rows of :func:`length_sums`."""
    offsets, squares, count = np.split(sums, 3, axis=1)
    valid = count > 0.5
    count = np.maximum(count, 1)
    spread = np.sqrt(np.maximum(squares / count - (offsets / count) ** 2, 0))
    percent = np.where(valid, 100 * spread / np.maximum(means + offsets / count, np.finfo(np.float64).tiny), 0)
    return np.where(valid.any(1), percent.sum(1) / np.maximum(valid.sum(1), 1), np.nan)


def _percent(distance: np.ndarray, limit: float) -> np.ndarray:
    return np.where(np.isfinite(distance), 100.0 * (distance < limit), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the finite values along the last axis; NaN without any."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(-1)
    mean: np.ndarray = np.where(finite.any(-1), total / np.maximum(finite.sum(-1), 1), np.nan)
    return mean


# Measures with a value per frame.
MEASURES = {f.__name__: f for f in (mpjpe, p_mpjpe, n_mpjpe, pa_track, mpjve, pck, auc)}
