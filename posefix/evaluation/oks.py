"""Object keypoint similarity (OKS), COCO's measure of how near a pose is to the annotated one."""

from __future__ import annotations

import numpy as np


def keypoint_similarity(keypoints: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Similarity of each keypoint, ``exp(-d^2 / (2 s^2 k^2))`` with ``k = 2 sigma``; all arguments broadcast.

    Args:
        keypoints: (..., K, 2) pixels.
        truth: (..., K, 2) pixels, annotated.
        areas: (...) px^2, the annotated person's area s^2.
        sigmas: (K,) the skeleton's OKS sigmas.

    Returns:
        (..., K) float64 in [0, 1].
    """
    offset = np.asarray(keypoints, np.float64) - np.asarray(truth, np.float64)
    return _similarity(offset, areas, sigmas)


def oks(
    keypoints: np.ndarray,
    truth: np.ndarray,
    labelled: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    boxes: np.ndarray | None = None,
) -> np.ndarray:
    """Mean similarity over the annotated keypoints, as pycocotools' ``computeOks``; all arguments broadcast.

    A person without any annotated keypoint is measured, as there, by how far each keypoint lies outside the person's
    box enlarged by its own size on every side; without ``boxes`` the similarity to such a person is 0.

    Args:
        keypoints: (..., K, 2) pixels.
        truth: (..., K, 2) pixels, annotated.
        labelled: (..., K) bool, which keypoints are annotated.
        areas: (...) px^2, the annotated person's area.
        sigmas: (K,) the skeleton's OKS sigmas.
        boxes: (..., 4) xywh pixels, the annotated person's box.

    Returns:
        (...) float64 in [0, 1].
    """
    labelled = np.asarray(labelled, bool)
    similarity = keypoint_similarity(keypoints, truth, areas, sigmas)
    count = labelled.sum(-1)
    value = np.where(labelled, similarity, 0.0).sum(-1) / np.maximum(count, 1)
    if boxes is None or count.all():
        return value
    return np.where(count > 0, value, _similarity(_outside(keypoints, boxes), areas, sigmas).mean(-1))


def _similarity(offset: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    variance = (2.0 * np.asarray(sigmas, np.float64)) ** 2
    scale = np.asarray(areas, np.float64)[..., None] + np.spacing(1)
    with np.errstate(over="ignore"):
        return np.exp(-(offset**2).sum(-1) / variance / scale / 2)


def _outside(keypoints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(..., K, 2) how far points lie outside boxes (..., 4) enlarged threefold about their centres."""
    keypoints = np.asarray(keypoints, np.float64)
    boxes = np.asarray(boxes, np.float64)[..., None, :]
    low, high = boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + 2 * boxes[..., 2:]
    return np.maximum(low - keypoints, 0) + np.maximum(keypoints - high, 0)
