"""Filters of keypoints over time."""

from __future__ import annotations

import numpy as np


def interpolated(times: np.ndarray, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values with what is not known on straight lines between what is; before the first and after the last as these.

    Args:
        times: (T,) ascending.
        values: (T, K, D).
        known: (T, K) bool.

    Returns:
        (T, K, D) float64; keypoints that are never known stay as they are.
    """
    places = np.arange(len(times))[:, None]
    before = np.maximum.accumulate(np.where(known, places, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, places, len(times))[::-1], axis=0)[::-1]
    first, last = np.where(before < 0, after, before), np.where(after == len(times), before, after)
    first, last = np.where(known.any(0), first, places), np.where(known.any(0), last, places)
    span = np.where(last > first, times[last] - times[first], 1)
    share = ((times[:, None] - times[first]) / span * (last > first))[..., None]
    start, end = (np.take_along_axis(np.asarray(values, np.float64), rows[..., None], axis=0) for rows in (first, last))
    return (1 - share) * start + share * end
