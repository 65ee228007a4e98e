"""Guess positions of keypoints that are not annotated: the skeleton's mean pose laid over those that are."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People

NOISE = 0.1  # standard deviation of an imputed coordinate, in sqrt(area)
SCALE_RANGE = (0.5, 2.0)  # a template's size in sqrt(area): a few bunched keypoints must not shrink or blow up the pose
COINCIDENT = 1e-6  # a fitted scale below this, in sqrt(area), says that the points are one point


def fit_template(keypoints: np.ndarray, weights: np.ndarray, template: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Lay a template over each pose by the weighted least-squares similarity transform.

    Points are complex numbers: the rotation and scale that carry the centred template t to the centred pose z are
    ``a = sum(w conj(t) z) / sum(w |t|^2)``. The template's mirror image (the person from behind) is tried too and the
    better of both is kept.

    Args:
        keypoints: (N, K, 2) pixels.
        weights: (N, K), 0 where a keypoint says nothing.
        template: (K, 2) in units of sqrt(area).
        sizes: (N,) sqrt(area) in pixels; the fitted scale stays within ``SCALE_RANGE`` of it.

    Returns:
        (N, K, 2) float64 pixels; NaN for poses with fewer than two distinct points of weight.
    """
    w = np.asarray(weights, np.float64)
    pose = np.where(w > 0, keypoints[..., 0] + 1j * keypoints[..., 1].astype(np.float64), 0)
    upright = (template[:, 0] + 1j * template[:, 1])[None]
    total = w.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        pose_mean = (w * pose).sum(1, keepdims=True) / total
        fits, misfits = [], []
        for shape in (upright, -upright.conj()):
            mean = (w * shape).sum(1, keepdims=True) / total
            spread = (w * abs(shape - mean) ** 2).sum(1, keepdims=True)
            map_ = (w * (shape - mean).conj() * (pose - pose_mean)).sum(1, keepdims=True) / spread
            length = abs(map_)
            length[length < COINCIDENT * sizes[:, None]] = np.nan
            map_ = map_ * (np.clip(length, *(b * sizes[:, None] for b in SCALE_RANGE)) / length)
            fits.append(pose_mean + map_ * (shape - mean))
            misfits.append((w * abs(fits[-1] - pose) ** 2).sum(1, keepdims=True))
    best = np.where(misfits[1] < misfits[0], fits[1], fits[0])
    return np.stack([best.real, best.imag], axis=-1)


def impute(people: People, sizes: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Positions for the keypoints of ``people`` that are not annotated.

    Args:
        people: N people of ground truth.
        sizes: (N,) sqrt(area) in pixels.
        probability: that a person's missing keypoints get a position at all.
        rng: source of randomness.

    Returns:
        (N, K, 2) float32 pixels; NaN where there is no input: annotated keypoints, people who drew none, people with
        fewer than two distinct annotated keypoints, skeletons without a template.
    """
    positions = np.full(people.keypoints.shape, np.nan, np.float32)
    chosen = np.flatnonzero((rng.random(len(people)) < probability) & ~people.labelled.all(1))
    if people.skeleton.template is None or not len(chosen):
        return positions
    labelled, size = people.labelled[chosen], sizes[chosen]
    fitted = fit_template(people.keypoints[chosen], labelled, people.skeleton.template, size)
    fitted += rng.normal(0.0, NOISE, fitted.shape) * size[:, None, None]
    positions[chosen] = np.where(labelled[..., None], np.nan, fitted)
    return positions
