"""Impute keypoints that are not annotated, by fitting the skeleton's mean pose to the others."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People

NOISE = 0.1  # standard deviation of an imputed coordinate, in sqrt(area)
SCALE_RANGE = (0.5, 2.0)  # scale of a template in sqrt(area), limited since few keypoints determine it badly
COINCIDENT = 1e-6  # in sqrt(area); with a smaller fitted scale all points coincide


def fit_template(keypoints: np.ndarray, weights: np.ndarray, template: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Fit a template to each pose by a weighted least-squares similarity transform.

    With points as complex numbers, rotation and scale from the centred template t to the centred pose z are
    ``a = sum(w conj(t) z) / sum(w |t|^2)``. The mirrored template (the person from behind) is fitted too, and the
    better fit is kept.

    Args:
        keypoints: (N, K, 2) pixels.
        weights: (N, K), 0 for keypoints to ignore.
        template: (K, 2) in units of sqrt(area).
        sizes: (N,) sqrt(area) in pixels; the fitted scale stays within ``SCALE_RANGE`` of it.

    Returns:
        (N, K, 2) float64 pixels; NaN for poses with fewer than two distinct points of positive weight.
    """
    w = np.asarray(weights, np.float64)
    pose = np.where(w > 0, keypoints[..., 0] + 1j * keypoints[..., 1].astype(np.float64), 0)
    upright = (template[:, 0] + 1j * template[:, 1])[None]
    total = w.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        pose_mean = (w * pose).sum(1, keepdims=True) / total
        fits, residuals = [], []
        for shape in (upright, -upright.conj()):
            mean = (w * shape).sum(1, keepdims=True) / total
            spread = (w * abs(shape - mean) ** 2).sum(1, keepdims=True)
            factor = (w * (shape - mean).conj() * (pose - pose_mean)).sum(1, keepdims=True) / spread
            scale = abs(factor)
            scale[scale < COINCIDENT * sizes[:, None]] = np.nan
            factor = factor * (np.clip(scale, *(b * sizes[:, None] for b in SCALE_RANGE)) / scale)
            fits.append(pose_mean + factor * (shape - mean))
            residuals.append((w * abs(fits[-1] - pose) ** 2).sum(1, keepdims=True))
    best = np.where(residuals[1] < residuals[0], fits[1], fits[0])
    return np.stack([best.real, best.imag], axis=-1)


def impute(people: People, sizes: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Impute positions of keypoints that are not annotated.

    Args:
        people: N people of ground truth.
        sizes: (N,) sqrt(area) in pixels.
        probability: probability that a person's missing keypoints are imputed.
        rng: random generator.

    Returns:
        (N, K, 2) float32 pixels; NaN for annotated keypoints, people not drawn, people with fewer than two distinct
        annotated keypoints, and skeletons without a template.
    """
    positions = np.full(people.keypoints.shape, np.nan, np.float32)
    rows = np.flatnonzero((rng.random(len(people)) < probability) & ~people.labelled.all(1))
    if people.skeleton.template is None or not len(rows):
        return positions
    labelled, size = people.labelled[rows], sizes[rows]
    fitted = fit_template(people.keypoints[rows], labelled, people.skeleton.template, size)
    fitted += rng.normal(0.0, NOISE, fitted.shape) * size[:, None, None]
    positions[rows] = np.where(labelled[..., None], np.nan, fitted)
    return positions
