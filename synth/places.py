"""Where a keypoint with an error of some type may lie: in the published rings, or as fitted statistics have it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from posefix.core.people import People
from synth import distribution
from synth.correlation import normal_cdf, shared_normals
from synth.displacement import Displacement
from synth.errors import FAR_EXPONENT, GOOD_EXPONENT, MIN_AREA, NEAR_EXPONENT, Candidates, ErrorType

REACH = 1.5  # sqrt(area); a neighbour's keypoint this near can be swapped in, as nearly all that are
MISS_AT_OWN = 0.8  # share of Misses drawn around the keypoint's own truth; the rest around any candidate in reach
ATTEMPTS = (1, 3, 12, 48, 192)  # positions drawn a round for the keypoints that are still without one
SHORTEST = 1e-4  # px, of a vector that has a direction

# The types along the unit interval from which they are drawn. The rarest stand at its ends, so that keypoints which
# share a number share those errors too, however likely the others are.
ORDER = np.array([ErrorType.SWAP, ErrorType.GOOD, ErrorType.JITTER, ErrorType.MISS, ErrorType.INVERSION])

# Inner and outer radius of each type's ring in units of sqrt(2 s^2 k^2), in the order of ErrorType from GOOD on.
_RINGS = np.sqrt(
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


def anchors_in_reach(candidates: Candidates, areas: np.ndarray, reach: float = REACH) -> np.ndarray:
    """(C, N, K) bool: the candidates to draw errors around; neighbours' only within ``reach`` sqrt(area)."""
    anchors = candidates.labelled
    with np.errstate(invalid="ignore"):
        x, y = candidates.x[2:] - candidates.x[0], candidates.y[2:] - candidates.y[0]
        anchors[2:] &= x**2 + y**2 <= reach**2 * np.maximum(areas, MIN_AREA)[:, None]
    return anchors


class Rings:
    """Positions as published: uniform between the radii of a type's ring, in any direction."""

    def propose(
        self,
        kinds: np.ndarray,
        candidates: Candidates,
        anchors: np.ndarray,
        rows: np.ndarray,
        attempts: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """x and y (P, attempts) float32 in the rings of ``kinds`` (P,), whoever else may be nearer."""
        shape = (len(kinds), attempts)
        anchor = _anchor_rows(kinds, anchors, attempts, rng)
        missed = kinds == ErrorType.MISS
        at_own = rng.random((int(missed.sum()), attempts)) < MISS_AT_OWN
        anchor[missed] = np.where(at_own, 0, _pick(anchors[:, missed], attempts, rng))

        row = np.arange(len(kinds))[:, None]
        inner, outer = _RINGS[kinds].T[..., None]
        radius = inner + (outer - inner) * rng.random(shape, np.float32)
        radius /= np.sqrt(candidates.inverse_scale[anchor, row])
        angle = np.float32(2 * np.pi) * rng.random(shape, np.float32)
        return candidates.x[anchor, row] + radius * np.cos(angle), candidates.y[anchor, row] + radius * np.sin(angle)

    def ranks(self, types: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Zeros: these distances go with nothing."""
        return np.zeros(shape, np.float32)


class Measured:
    """Positions as fitted statistics have them, displaced together within a person (:mod:`synth.displacement`).

    A position that another type would be found at is tried again, first in other directions, then at other distances.
    """

    def __init__(
        self, displacement: Mapping[ErrorType, Displacement], people: People, rng: np.random.Generator
    ) -> None:
        n, k = people.scores.shape
        parts = [displacement[ErrorType(kind)] for kind in range(len(_RINGS))]
        self._k = k
        self._quantiles = np.stack([part.quantiles(people.skeleton) for part in parts])
        self._inward = np.stack([part.inwardness(people.skeleton) for part in parts]).astype(np.float32)
        self._far_weights = np.stack([part.distance_together.weights() for part in parts])
        self._way_weights = np.stack([part.direction_together.weights() for part in parts])
        shared = shared_normals(rng, n, people.skeleton, 3).reshape(4, n * k, 3)
        self._far, self._way = shared[..., 0], shared[..., 1:]
        self._centres = centres_of(people)

    def propose(
        self,
        kinds: np.ndarray,
        candidates: Candidates,
        anchors: np.ndarray,
        rows: np.ndarray,
        attempts: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """x and y (P, attempts) float32 for the flattened keypoints ``rows`` (P,) of ``kinds`` (P,)."""
        shape = (len(kinds), attempts)
        anchor = _anchor_rows(kinds, anchors, attempts, rng)
        row = np.arange(len(kinds))[:, None]
        x, y = candidates.x[anchor, row], candidates.y[anchor, row]

        far, way = self._far_weights[kinds], self._way_weights[kinds]
        rank = np.repeat(np.einsum("pw,wp->p", far, self._far[:, rows])[:, None], attempts, 1)
        if attempts > ATTEMPTS[1]:
            rank += far[:, 3:] * (rng.standard_normal(shape, np.float32) - self._far[3, rows, None])
        quantiles = self._quantiles[kinds, rows % self._k]
        shares = normal_cdf(rank)
        radius = distribution.at(np.repeat(quantiles, attempts, 0), shares.ravel()).reshape(shape)
        inner, outer = _RINGS[kinds].T[..., None]
        outer = np.where(kinds[:, None] == ErrorType.MISS, np.inf, outer)
        radius = np.clip(radius, inner, np.nextafter(outer, np.float32(0))) / np.sqrt(
            candidates.inverse_scale[anchor, row]
        )

        sway = np.repeat(np.einsum("pw,wpd->pd", way, self._way[:, rows])[:, None], attempts, 1)
        if attempts > ATTEMPTS[0]:
            sway += way[:, 3:, None] * (rng.standard_normal((*shape, 2), np.float32) - self._way[3, rows, None])
        inward = unit(self._centres[rows // self._k, None] - np.stack([x, y], axis=-1))
        direction = unit(self._inward[kinds, rows % self._k][:, None, None] * inward + sway)
        return x + radius * direction[..., 0], y + radius * direction[..., 1]

    def ranks(self, types: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(N, K) float32 normal ranks of the distances of keypoints of ``types`` (N*K,), as they were first tried."""
        weights = self._far_weights[np.maximum(types, 0)]
        return np.einsum("pw,wp->p", weights, self._far).reshape(shape).astype(np.float32)


def centres_of(people: People) -> np.ndarray:
    """(N, 2) float32 mean of each person's annotated keypoints; (0, 0) where there are none."""
    labelled = people.labelled[..., None]
    return (people.keypoints * labelled).sum(1) / np.maximum(labelled.sum(1), 1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 2) at length 1; those of hardly any length at 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > SHORTEST, vectors / np.maximum(length, SHORTEST), 0).astype(np.float32)


def _anchor_rows(kinds: np.ndarray, anchors: np.ndarray, attempts: int, rng: np.random.Generator) -> np.ndarray:
    """(P, attempts) candidates to draw around: the own truth, the counterpart, or a neighbour's keypoint in reach."""
    rows = np.zeros((len(kinds), attempts), np.intp)
    rows[kinds == ErrorType.INVERSION] = 1
    swapped = kinds == ErrorType.SWAP
    rows[swapped] = 2 + _pick(anchors[2:, swapped], attempts, rng)
    return rows


def _pick(options: np.ndarray, attempts: int, rng: np.random.Generator) -> np.ndarray:
    """(P, attempts) indices along the first axis of options (C, P) bool, uniform among the true ones."""
    rank = np.floor(rng.random((options.shape[1], attempts)) * options.sum(axis=0)[:, None])
    return (options.cumsum(axis=0)[..., None] <= rank).sum(axis=0)
