"""How far poses in depth are from a reference.

``found`` and ``truth`` are (..., T, K, 3) metres in the same axes, each from the middle of its own hips; ``valid``
(..., T, K) says which keypoints count, as far as both are finite. A measure has one value for each frame, (..., T)
float64, the mean over the keypoints that count and NaN where none does; of a track it is the mean over its frames.
docs/depth.md says where each is from.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.lifting.poses import MILLIMETRES

PCK_LIMIT = 150.0  # mm, about half the size of a head
AUC_LIMITS = np.linspace(0.0, PCK_LIMIT, 31)
LEAST_KEYPOINTS = 3  # that fix a rotation


def mpjpe(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean distance of the keypoints."""
    return _mean(distances(found, truth, valid))


def p_mpjpe(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean distance after Procrustes alignment of each frame."""
    return mpjpe(aligned(found, truth, valid), truth, valid)


def n_mpjpe(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean distance after each frame is scaled by the factor with the least squared distance."""
    both = measured(found, truth, valid)[..., None]
    known, target = (np.where(both, points, 0).astype(np.float64) for points in (found, truth))
    scale = (known * target).sum((-2, -1)) / np.maximum((known**2).sum((-2, -1)), np.finfo(np.float64).tiny)
    return mpjpe(scale[..., None, None] * found, truth, valid)


def pa_track(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean distance after Procrustes alignment of the whole track, as one sees it who turns it once for all frames."""
    whole = (*found.shape[:-3], -1)
    both = measured(found, truth, valid)
    moved = aligned(found.reshape(*whole, 3), truth.reshape(*whole, 3), both.reshape(whole))
    return mpjpe(moved.reshape(found.shape), truth, valid)


def mpjve(
    found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, follows: np.ndarray | None = None
) -> np.ndarray:
    """Mean distance of the keypoints' velocities, mm per frame; NaN in each first frame.

    Args:
        found, truth, valid: as everywhere here.
        follows: (T,) bool frames that come right after the row before; all but the first, if not given.
    """
    both = measured(found, truth, valid)
    both[..., 1:, :] &= both[..., :-1, :]
    both[..., 0, :] = False
    if follows is not None:
        both &= follows[:, None]
    moved, real = (np.diff(points, axis=-3, prepend=points[..., :1, :, :]) for points in (found, truth))
    return mpjpe(moved, real, both)


def pck(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Share of the keypoints within 150 mm, in percent."""
    return _mean(_percent(distances(found, truth, valid), PCK_LIMIT))


def auc(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Area under the curve of the share of keypoints within 0 to 150 mm, in percent."""
    off = distances(found, truth, valid)
    area: np.ndarray = np.mean([_mean(_percent(off, limit)) for limit in AUC_LIMITS], axis=0)
    return area


def measured(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(..., K) bool: keypoints that count, a new array."""
    both: np.ndarray = np.isfinite(found).all(-1) & np.isfinite(truth).all(-1)
    return both if valid is None else both & valid


def distances(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(..., K) float64 mm between the keypoints; NaN of those that do not count."""
    apart = np.linalg.norm(np.subtract(found, truth, dtype=np.float64), axis=-1)
    return np.where(measured(found, truth, valid), MILLIMETRES * apart, np.nan)


def aligned(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Poses after the rotation, translation and scale that bring each closest to ``truth`` in least squares.

    Args:
        found, truth: (..., K, 3).
        valid: (..., K) bool keypoints that count.

    Returns:
        (..., K, 3) float64, all of ``found``; NaN of poses with fewer than three keypoints that count.
    """
    both = measured(found, truth, valid)[..., None]
    count = both.sum(-2, keepdims=True)
    middles = [
        np.where(both, points, 0).sum(-2, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
        for points in (found, truth)
    ]
    source, target = (np.where(both, p - m, 0) for p, m in zip((found, truth), middles, strict=True))
    u, stretch, vt = np.linalg.svd(np.swapaxes(source, -1, -2) @ target)
    proper = np.ones_like(stretch)
    proper[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * proper[..., None, :]) @ vt
    spread = np.maximum((source**2).sum((-2, -1)), np.finfo(np.float64).tiny)
    scale = ((stretch * proper).sum(-1) / spread)[..., None, None]
    moved = scale * ((found - middles[0]) @ rotation) + middles[1]
    return np.where(count >= LEAST_KEYPOINTS, moved, np.nan)


def bones(skeleton: Skeleton) -> np.ndarray:
    """(B, 2) int64 limbs that keep their length: those within arms and shoulders, and within legs and hips."""
    group = skeleton.groups[skeleton.limbs]
    rigid: np.ndarray = skeleton.limbs[(group[:, 0] == group[:, 1]) & (group[:, 0] != "face")]
    return rigid


def length_variation(lengths: np.ndarray) -> float:
    """Standard deviation of the lengths (T, B) of bones over a track, in percent of their mean; mean over the bones.

    NaN if no length is known.
    """
    sums, usual = length_sums(lengths)
    return float(variations(sums.sum(0, keepdims=True), usual)[0])


def length_sums(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the variation of the lengths (T, B) of bones follows from, summed over any frames; NaN is unknown.

    Returns:
        (T, 3 B) float64 how much longer than usual each bone is, the square of that, and whether it is known; and (B,)
        the usual lengths, their means.
    """
    there = np.isfinite(lengths)
    usual = np.where(there, lengths, 0).sum(0) / np.maximum(there.sum(0), 1)
    longer = np.where(there, lengths - usual, 0)
    return np.hstack([longer, longer**2, there]), usual


def variations(sums: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """(R,) as :func:`length_variation`, of R sums (R, 3 B) of what :func:`length_sums` gives."""
    longer, squares, count = np.split(sums, 3, axis=1)
    known = count > 0.5
    count = np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / count - (longer / count) ** 2, 0))
    shares = np.where(known, 100 * deviation / np.maximum(usual + longer / count, np.finfo(np.float64).tiny), 0)
    return np.where(known.any(1), shares.sum(1) / np.maximum(known.sum(1), 1), np.nan)


def _percent(off: np.ndarray, limit: float) -> np.ndarray:
    return np.where(np.isfinite(off), 100.0 * (off < limit), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(-1)
    mean: np.ndarray = np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)
    return mean


# Those that have a value for each frame.
MEASURES = {f.__name__: f for f in (mpjpe, p_mpjpe, n_mpjpe, pa_track, mpjve, pck, auc)}
