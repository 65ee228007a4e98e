"""Lower-body occlusion as published: legs that a counter or a shelf hides, shortened in the input pose."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton

LEG = ("hip", "knee", "ankle")
FEET = ("big_toe", "small_toe", "heel")  # move with the ankle where a skeleton has them
SHORTEST = 0.8  # least share of its length that a segment keeps
REGION_PADDING = 0.2  # widening of the hidden region to the sides and below, as a share of its larger side


def leg_indices(skeleton: Skeleton) -> np.ndarray:
    """(L, 3) int64 indices of hip, knee and ankle of each leg; L = 0 for skeletons that lack one of them."""
    legs = [[side + part for part in LEG] for side in ("left_", "right_")]
    found = [[skeleton.index(n) for n in leg] for leg in legs if set(leg) <= set(skeleton.keypoint_names)]
    return np.array(found, np.int64).reshape(-1, len(LEG))


def shorten_legs(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton, rng: np.random.Generator, probability: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shorten the thighs and shanks of some input poses.

    Each segment is scaled towards its upper end by a factor of its own, uniform in [``SHORTEST``, 1]; ankles follow the
    knees and feet the ankles. A segment of which one end has no input keeps its length.

    Args:
        keypoints: (N, K, 2) pixels, input poses.
        scores: (N, K), 0 where there is no input.
        skeleton: whose K keypoints.
        rng: source of randomness.
        probability: that a person's legs are shortened.

    Returns:
        (N, K, 2) float32 keypoints and (N,) bool, whose legs were shortened.
    """
    names, legs, given = skeleton.keypoint_names, leg_indices(skeleton), np.asarray(scores) > 0
    occluded = rng.random(len(keypoints)) < probability
    factors = rng.uniform(SHORTEST, 1.0, (len(keypoints), len(legs), 2))
    segments = given[:, legs[:, :-1]] & given[:, legs[:, 1:]]  # (N, L, 2) thigh and shank
    occluded &= segments.any((1, 2))
    shortening = np.where(occluded[:, None, None] & segments, factors - 1, 0)[..., None]
    shortening = shortening * np.diff(np.asarray(keypoints, np.float64)[:, legs], axis=2)
    shift = np.zeros(keypoints.shape)
    shift[:, legs[:, 1]] = shortening[:, :, 0]
    shift[:, legs[:, 2]] = np.where(given[:, legs[:, 2], None], shortening.sum(2), 0)
    for ankle in legs[:, 2]:
        side = names[ankle].removesuffix("ankle")
        feet = [names.index(side + part) for part in FEET if side + part in names]
        shift[:, feet] = np.where(given[:, feet, None], shift[:, [ankle]], 0)
    return (np.asarray(keypoints, np.float32) + shift).astype(np.float32), occluded


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
        occluded: (N,) bool, from :func:`shorten_legs`.
        rng: source of randomness.
        from_knees: probability that the region begins at the knees where it could begin at the hips.

    Returns:
        (N, 4) float32 x0, y0, x1, y1 in pixels; all 0 where nothing is to be cut: not occluded, no leg annotated below
        the line, legs that point upwards.
    """
    low_line = rng.random(len(keypoints)) < from_knees
    legs = leg_indices(skeleton)
    if not len(legs):
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
