"""Propose positions of keypoints with errors: in a ring of keypoint similarity around one of their candidates."""

from __future__ import annotations

import numpy as np

from synth.errors import FAR_EXPONENT, GOOD_EXPONENT, NEAR_EXPONENT, Candidates, ErrorType

MISS_AT_OWN = 0.8  # share of Misses drawn around the keypoint's own truth; the rest around any candidate in reach
ATTEMPTS = (1, 3, 12, 48, 192)  # positions drawn a round for the keypoints that are still without one

# Inner and outer radius of each type's ring in units of sqrt(2 s^2 k^2), in the order of ErrorType from GOOD on.
RINGS = np.sqrt(
    np.array(
        [
            (0, GOOD_EXPONENT),
            (GOOD_EXPONENT, NEAR_EXPONENT),
            (0, NEAR_EXPONENT),
            (0, NEAR_EXPONENT),
            (NEAR_EXPONENT, FAR_EXPONENT),
        ],
        np.float32,
    )
)


def propose(
    types: np.ndarray,
    candidates: Candidates,
    powers: np.ndarray,
    noise: np.ndarray,
    attempts: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions in the rings of the error types, in any direction; another candidate may be nearer.

    Args:
        types: (P,) error types of P keypoints.
        candidates: (C, P) points that they can belong to.
        powers: (5,) float32; a uniform number to this power is the place between a type's inner and outer radius.
        noise: (P,) float32 factor on the distance from the anchor.
        attempts: positions for each keypoint.
        rng: source of randomness.

    Returns:
        x and y, (P, attempts) float32 pixels.
    """
    shape = (len(types), attempts)
    anchor = np.zeros(shape, np.intp)  # the person's truth
    anchor[types == ErrorType.INVERSION] = 1
    swapped, missed = types == ErrorType.SWAP, types == ErrorType.MISS
    anchor[swapped] = 2 + _pick(candidates.anchors[2:, swapped], attempts, rng)
    at_own = rng.random((int(missed.sum()), attempts)) < MISS_AT_OWN
    anchor[missed] = np.where(at_own, 0, _pick(candidates.anchors[:, missed], attempts, rng))

    row = np.arange(len(types))[:, None]
    inner, outer = RINGS[types].T[..., None]
    radius = inner + (outer - inner) * rng.random(shape, np.float32) ** powers[types][:, None]
    radius *= noise[:, None] / np.sqrt(candidates.inverse_scale[anchor, row])
    angle = np.float32(2 * np.pi) * rng.random(shape, np.float32)
    return candidates.x[anchor, row] + radius * np.cos(angle), candidates.y[anchor, row] + radius * np.sin(angle)


def _pick(options: np.ndarray, attempts: int, rng: np.random.Generator) -> np.ndarray:
    """(P, attempts) indices along the first axis of options (C, P) bool, uniform among the true ones."""
    rank = np.floor(rng.random((options.shape[1], attempts)) * options.sum(axis=0)[:, None])
    return (options.cumsum(axis=0)[..., None] <= rank).sum(axis=0)
