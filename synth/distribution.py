"""Distributions as a few quantiles: measured, smoothed where there is little to measure, drawn from and inverted."""

from __future__ import annotations

import numpy as np

LEVELS = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1])
PSEUDO_COUNT = 20.0  # values that the wider distribution counts as


def measured(values: np.ndarray, wider: tuple[float, ...] | None) -> tuple[float, ...]:
    """Quantiles at ``LEVELS`` of values (P,), drawn towards those of a wider group as if that had ``PSEUDO_COUNT``."""
    if not len(values):
        return wider if wider is not None else (0.0,) * len(LEVELS)
    own = np.quantile(values, LEVELS)
    if wider is not None:
        own = (len(values) * own + PSEUDO_COUNT * np.array(wider)) / (len(values) + PSEUDO_COUNT)
    return tuple(float(f"{value:.4g}") for value in own)


def at(quantiles: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Values (P,) at shares (P,) in [0, 1] of distributions (P, L), linear between the levels; float32."""
    place = np.clip(np.searchsorted(LEVELS, shares, side="right") - 1, 0, len(LEVELS) - 2)
    low, high = LEVELS[place], LEVELS[place + 1]
    rows = np.arange(len(shares))
    lower, upper = quantiles[rows, place], quantiles[rows, place + 1]
    return (lower + (upper - lower) * (shares - low) / (high - low)).astype(np.float32)


def share_of(quantiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Shares (P,) float32 of distributions (P, L) that lie below values (P,); the inverse of :func:`at`.

    A value that many have lies in the middle of its share.
    """
    return ((_below(quantiles, values, strictly=True) + _below(quantiles, values, strictly=False)) / 2).astype(
        np.float32
    )


def _below(quantiles: np.ndarray, values: np.ndarray, strictly: bool) -> np.ndarray:
    """(P,) the least or the greatest share at which a distribution has the value."""
    reached = quantiles < values[:, None] if strictly else quantiles <= values[:, None]
    place = np.clip(reached.sum(1) - 1, 0, len(LEVELS) - 2)
    rows = np.arange(len(values))
    lower, upper = quantiles[rows, place], quantiles[rows, place + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.nan_to_num(np.clip((values - lower) / (upper - lower), 0, 1), nan=0.0 if strictly else 1.0)
    return LEVELS[place] + within * (LEVELS[place + 1] - LEVELS[place])
