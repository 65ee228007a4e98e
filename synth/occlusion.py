"""Lower-body occlusion: the part of the image where a counter or a shelf hides the legs."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton

LEG = ("hip", "knee", "ankle")
REGION_PADDING = 0.2  # widening of the hidden region to the sides and below, as a share of its larger side


def leg_regions(
    keypoints: np.ndarray,
    labelled: np.ndarray,
    skeleton: Skeleton,
    occluded: np.ndarray,
    rng: np.random.Generator,
    from_knees: float = 0.5,
) -> np.ndarray:
    """The rectangle of the image to cut out for each occluded person: the legs below the hips or below the knees.

    Args:
        keypoints: (N, K, 2) pixels, true poses in the coordinates of the image to be cut.
        labelled: (N, K) bool, which of them are annotated.
        skeleton: whose K keypoints.
        occluded: (N,) bool, whose legs are hidden.
        rng: source of randomness.
        from_knees: probability that the region begins at the knees where it could begin at the hips.

    Returns:
        (N, 4) float32 x0, y0, x1, y1 in pixels; all 0 where nothing is to be cut: not occluded, no leg annotated below
        the line, legs that point upwards.
    """
    low_line = rng.random(len(keypoints)) < from_knees
    named = [[side + part for part in LEG] for side in ("left_", "right_")]
    legs = [[skeleton.index(n) for n in leg] for leg in named if set(leg) <= set(skeleton.keypoint_names)]
    if not legs:
        return np.zeros((len(keypoints), 4), np.float32)
    valid = np.asarray(labelled, bool)[:, legs]
    x, y = np.where(valid, np.moveaxis(np.asarray(keypoints, np.float64)[:, legs], -1, 0), np.nan)  # (N, L, 3)
    count = valid.sum(1)
    heights = np.where(count > 0, np.where(valid, y, 0).sum(1) / np.maximum(count, 1), np.nan)  # mean over the legs
    hips, knees = heights[:, 0], heights[:, 1]
    line = np.where((low_line | np.isnan(hips)) & ~np.isnan(knees), knees, hips)
    below = y >= line[:, None, None]
    x0, x1 = np.where(below, x, np.inf).min((1, 2)), np.where(below, x, -np.inf).max((1, 2))
    y1 = np.where(below, y, -np.inf).max((1, 2))
    pad = REGION_PADDING * np.maximum(x1 - x0, y1 - line)
    regions = np.stack([x0 - pad, line, x1 + pad, y1 + pad], axis=1)
    return np.where((occluded & (y1 > line))[:, None], regions, 0).astype(np.float32)
