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
    names = set(skeleton.keypoint_names)
    legs = [[side + part for part in LEG] for side in ("left_", "right_")]
    return np.array(
        [[skeleton.index(n) for n in leg] for leg in legs if names.issuperset(leg)], dtype=np.int64
    ).reshape(-1, len(LEG))


def shorten_legs(
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    rng: np.random.Generator,
    probability: float,
    shortest: float = SHORTEST,
) -> tuple[np.ndarray, np.ndarray]:
    """Shorten the thighs and shanks of some input poses.

    Each segment is scaled towards its upper end by a factor of its own, uniform in [shortest, 1]; ankles follow the
    knees and feet the ankles. A segment of which one end has no input keeps its length.

    Args:
        keypoints: (N, K, 2) pixels, input poses.
        scores: (N, K), 0 where there is no input.
        skeleton: whose K keypoints.
        rng: source of randomness.
        probability: that a person's legs are shortened.
        shortest: least factor.

    Returns:
        (N, K, 2) float32 keypoints and (N,) bool, whose legs were shortened.
    """
    moved = np.array(keypoints, np.float32)
    occluded = rng.random(len(moved)) < probability
    legs = leg_indices(skeleton)
    factors = rng.uniform(shortest, 1.0, (len(moved), len(legs), 2))
    given = np.asarray(scores) > 0
    if not len(legs):
        return moved, np.zeros(len(moved), bool)
    hip, knee, ankle = (np.asarray(keypoints, np.float64)[:, i] for i in legs.T)
    has_hip, has_knee, has_ankle = (given[:, i] for i in legs.T)
    occluded &= ((has_hip & has_knee) | (has_knee & has_ankle)).any(1)
    thigh, shank = (
        np.where((occluded[:, None] & there)[..., None], factor[..., None] - 1, 0) * (lower - upper)
        for there, factor, upper, lower in (
            (has_hip & has_knee, factors[..., 0], hip, knee),
            (has_knee & has_ankle, factors[..., 1], knee, ankle),
        )
    )
    shift = np.zeros(moved.shape)
    shift[:, legs[:, 1]] = thigh
    shift[:, legs[:, 2]] = np.where(has_ankle[..., None], thigh + shank, 0)
    for foot, of_ankle in _feet(skeleton):
        shift[:, foot] = np.where(given[:, foot, None], shift[:, of_ankle], 0)
    return (moved + shift).astype(np.float32), occluded


def hidden_keypoints(keypoints: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N, K) bool: the keypoints (N, K, 2) of each person that lie in its region (N, 4) x0, y0, x1, y1."""
    x, y = keypoints[..., 0], keypoints[..., 1]
    x0, y0, x1, y1 = regions.T[..., None]
    inside: np.ndarray = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) & (x1 > x0) & (y1 > y0)
    return inside


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
    regions = np.zeros((len(keypoints), 4), np.float32)
    low_line = rng.random(len(keypoints)) < from_knees
    legs = leg_indices(skeleton)
    if not len(legs) or not len(keypoints):
        return regions
    valid = np.asarray(labelled, bool)[:, legs]
    points = np.where(valid[..., None], np.asarray(keypoints, np.float64)[:, legs], np.nan)
    heights = _mean_over_legs(points[..., 1], valid)
    line = np.where(low_line | np.isnan(heights[:, 0]), heights[:, 1], heights[:, 0])
    line = np.where(np.isnan(line), heights[:, 0], line)
    x, y = points[..., 0].reshape(len(points), -1), points[..., 1].reshape(len(points), -1)
    below = y >= line[:, None]
    some = occluded & below.any(1)
    x0, x1 = np.where(below, x, np.inf).min(1), np.where(below, x, -np.inf).max(1)
    y1 = np.where(below, y, -np.inf).max(1)
    some &= y1 > line
    x0, line, x1, y1 = x0[some], line[some], x1[some], y1[some]
    pad = REGION_PADDING * np.maximum(x1 - x0, y1 - line)
    regions[some] = np.stack([x0 - pad, line, x1 + pad, y1 + pad], axis=1)
    return regions


def _feet(skeleton: Skeleton) -> list[tuple[int, int]]:
    """(foot keypoint, ankle of its side) for each that the skeleton has."""
    sides = [s for s in ("left_", "right_") if f"{s}ankle" in skeleton.keypoint_names]
    return [
        (skeleton.index(f"{side}{part}"), skeleton.index(f"{side}ankle"))
        for side in sides
        for part in FEET
        if f"{side}{part}" in skeleton.keypoint_names
    ]


def _mean_over_legs(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean of values (N, L, J) over the legs where valid: (N, J), NaN where none is."""
    count = valid.sum(1)
    sums: np.ndarray = np.where(valid, values, 0).sum(1)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
