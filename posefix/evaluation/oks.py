"""Object keypoint similarity (OKS), COCO's measure of how near a pose is to the annotated one."""

from __future__ import annotations

import numpy as np


def keypoint_similarity(keypoints: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Measure each keypoint by ``exp(-d^2 / (2 s^2 k^2))`` with ``k = 2 sigma``; all arguments broadcast.

    Args:
        keypoints: (..., K, 2) pixels.
        truth: (..., K, 2) pixels, annotated.
        areas: (...) px^2, the annotated person's area s^2.
        sigmas: (K,) the skeleton's OKS sigmas.

    Returns:
        (..., K) float64 in [0, 1].
    """
    offset = np.asarray(keypoints, np.float64) - np.asarray(truth, np.float64)
    variance = (2.0 * np.asarray(sigmas, np.float64)) ** 2
    scale = np.asarray(areas, np.float64)[..., None] + np.spacing(1)
    with np.errstate(over="ignore"):
        return np.exp(-(offset**2).sum(-1) / variance / scale / 2)


def oks(
    keypoints: np.ndarray, truth: np.ndarray, labelled: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Average the similarity over the annotated keypoints, as pycocotools' ``computeOks``; all arguments broadcast.

    Args:
        keypoints: (..., K, 2) pixels.
        truth: (..., K, 2) pixels, annotated.
        labelled: (..., K) bool, which keypoints are annotated.
        areas: (...) px^2, the annotated person's area.
        sigmas: (K,) the skeleton's OKS sigmas.

    Returns:
        (...) float64 in [0, 1]; 0 for a person without annotated keypoints.
    """
    labelled = np.asarray(labelled, bool)
    similarity = keypoint_similarity(keypoints, truth, areas, sigmas)
    return np.where(labelled, similarity, 0.0).sum(-1) / np.maximum(labelled.sum(-1), 1)
