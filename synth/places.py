"""Propose positions of keypoints with errors: in a ring of keypoint similarity around one of their candidates."""

from __future__ import annotations

import numpy as np

from synth.errors import FAR_EXPONENT, GOOD_EXPONENT, MIN_AREA, NEAR_EXPONENT, Candidates, ErrorType

REACH = 1.5  # sqrt(area); a neighbour's keypoint this near can be swapped in, as nearly all that are
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


def anchors_in_reach(candidates: Candidates, areas: np.ndarray) -> np.ndarray:
    """(C, N, K) bool: the candidates to draw errors around; neighbours' only within ``REACH`` sqrt(area)."""
    anchors = candidates.labelled
    with np.errstate(invalid="ignore"):
        x, y = candidates.x[2:] - candidates.x[0], candidates.y[2:] - candidates.y[0]
        anchors[2:] &= x**2 + y**2 <= REACH**2 * np.maximum(areas, MIN_AREA)[:, None]
    return anchors


def propose(
    types: np.ndarray,
    candidates: Candidates,
    anchors: np.ndarray,
    powers: np.ndarray,
    noise: np.ndarray,
    attempts: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions in the rings of the error types, in any direction; another candidate may be nearer.

    Args:
        types: (P,) error types of P keypoints.
        candidates: (C, P) points that they can belong to.
        anchors: (C, P) bool, the candidates to draw around.
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
    anchor[swapped] = 2 + _pick(anchors[2:, swapped], attempts, rng)
    at_own = rng.random((int(missed.sum()), attempts)) < MISS_AT_OWN
    anchor[missed] = np.where(at_own, 0, _pick(anchors[:, missed], attempts, rng))

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
