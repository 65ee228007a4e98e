"""Lower-body occlusion, as by a counter or a shelf."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton

LEG = ("hip", "knee", "ankle")
REGION_PADDING = 0.2  # padding of the hidden region at the sides and below, as a share of its larger side


def leg_regions(
    keypoints: np.ndarray,
    labelled: np.ndarray,
    skeleton: Skeleton,
    occluded: np.ndarray,
    rng: np.random.Generator,
    from_knees: float = 0.5,
) -> np.ndarray:
    """Draw the region that hides each occluded person's legs, below the hips or below the knees.

    Args:
        keypoints: (N, K, 2) pixels, true poses.
        labelled: (N, K) bool, mask of annotated keypoints.
        skeleton: of the K keypoints.
        occluded: (N,) bool, mask of people whose legs are hidden.
        rng: random generator.
        from_knees: probability that the region begins at the knees instead of the hips.

    Returns:
        (N, 4) float32 x0, y0, x1, y1 in pixels; all 0 for people who are not occluded, or have no annotated leg
        keypoint below hips or knees.
    """
    knee_line = rng.random(len(keypoints)) < from_knees
    named = [[side + part for part in LEG] for side in ("left_", "right_")]
    legs = [[skeleton.index(n) for n in leg] for leg in named if set(leg) <= set(skeleton.keypoint_names)]
    if not legs:
        return np.zeros((len(keypoints), 4), np.float32)
    valid = np.asarray(labelled, bool)[:, legs]
    x, y = np.where(valid, np.moveaxis(np.asarray(keypoints, np.float64)[:, legs], -1, 0), np.nan)  # (N, L, 3)
    count = valid.sum(1)
    heights = np.where(count > 0, np.where(valid, y, 0).sum(1) / np.maximum(count, 1), np.nan)  # mean over the legs
    hips, knees = heights[:, 0], heights[:, 1]
    top = np.where((knee_line | np.isnan(hips)) & ~np.isnan(knees), knees, hips)
    below = y >= top[:, None, None]
    x0, x1 = np.where(below, x, np.inf).min((1, 2)), np.where(below, x, -np.inf).max((1, 2))
    y1 = np.where(below, y, -np.inf).max((1, 2))
    pad = REGION_PADDING * np.maximum(x1 - x0, y1 - top)
    regions = np.stack([x0 - pad, top, x1 + pad, y1 + pad], axis=1)
    return np.where((occluded & (y1 > top))[:, None], regions, 0).astype(np.float32)
