"""Draw the poses that an estimator might have found for people whose true pose is known (PoseFix, CVPR 2019, sec. 4).

For each keypoint an error type is drawn from the statistics, then a position that carries it: around the point that the
type means, in its ring of keypoint similarity, with a distance uniform between the ring's two radii and a uniform
direction. A position that the diagnosis gives to another type is rejected and drawn anew, so the type that is drawn is
the type that :func:`synth.errors.classify` finds, always.

Statistics that were fitted to an estimator (:mod:`synth.fit`) say more, and then more is drawn: what kind of person it
is, how far and which way its keypoints are displaced together, which neighbour it is confused with, and confidences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from posefix.people import People
from synth import distribution
from synth.correlation import limbs_of, normal_cdf, shared_normals
from synth.displacement import Displacement
from synth.errors import FAR_EXPONENT, GOOD_EXPONENT, MIN_AREA, NEAR_EXPONENT, Candidates, ErrorType
from synth.imputation import impute as impute_positions
from synth.names import spread
from synth.neighbours import Neighbours
from synth.statistics import Statistics

REACH = (
    1.5  # sqrt(area); a neighbour's keypoint this near can be swapped in: nearly all swaps of top-down estimators are
)
MISS_AT_OWN = 0.8  # share of Misses drawn around the keypoint's own truth; the rest around any candidate in reach
ATTEMPTS = (1, 3, 12, 48, 192)  # positions drawn a round for the keypoints that are still without one
LEAST_SCORE = np.float32(1e-4)  # of a keypoint that is given; 0 says that it is not
SHORTEST = 1e-4  # px, of a vector that has a direction
CHUNK = 512  # people at a time, so that the candidates stay in the cache

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


class Synthesized(NamedTuple):
    """Input poses of N people.

    Attributes:
        keypoints: (N, K, 2) float32 pixels; (0, 0) where there is no input.
        scores: (N, K) float32: the confidence that was drawn, or 1 where the statistics have none; 0 where there is no
            input.
        types: (N, K) int8 :class:`ErrorType` of each keypoint, also of those that were withheld.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    types: np.ndarray


def synthesize(
    people: People,
    neighbours: Neighbours,
    statistics: Statistics,
    rng: np.random.Generator,
    *,
    dropout: float = 0.0,
    impute: float = 0.5,
    clean: float = 0.0,
    reach: float = REACH,
) -> Synthesized:
    """Draw an input pose for each person.

    An error that cannot happen (no annotated counterpart, no annotated neighbour in reach, no room left by other
    candidates) gives its probability to the others in proportion; where none remains, the keypoint is Good.

    Args:
        people: N people of ground truth; keypoints of score 0 are not annotated and get type UNLABELLED.
        neighbours: the other people of their images, in the same coordinates.
        statistics: how often which error happens; conditions are counted on ``people`` and ``neighbours``.
        rng: source of randomness; the same state gives the same result.
        dropout: probability that a keypoint's input is withheld.
        impute: probability, by person, that keypoints which are not annotated get an input: the skeleton's template
            fitted to the annotated ones, with noise.
        clean: probability, by person, that every annotated keypoint is Good: half of these people exactly at the
            truth, the others at a fraction, drawn for the person, of a Good keypoint's usual displacement.
        reach: how near, in sqrt(area), an annotated keypoint of a neighbour must be to be swapped in.

    Raises:
        InputError: when the statistics do not cover the skeleton.
    """
    chunks = [slice(start, start + CHUNK) for start in range(0, len(people), CHUNK)]
    noise = np.ones(len(people), np.float32)
    if clean > 0:
        chosen = rng.random(len(people)) < clean
        noise[chosen] = np.maximum(rng.uniform(-1, 1, int(chosen.sum())), 0)
    drawn = [_draw_errors(people[c], neighbours.take(c), statistics, rng, reach, noise[c]) for c in chunks]
    shape = people.scores.shape
    empty = (people.keypoints.copy(), np.full(shape, ErrorType.UNLABELLED, np.int8), np.zeros(shape, np.float32))
    keypoints, types, ranks = (np.concatenate(parts) for parts in zip(*drawn, strict=True)) if drawn else empty
    imputed = impute_positions(people, np.sqrt(np.maximum(people.areas, MIN_AREA)), impute, rng)
    keypoints = np.where(people.labelled[..., None], keypoints, imputed)
    given = ~np.isnan(keypoints[..., 0]) & (rng.random(types.shape) >= dropout)
    if statistics.withheld is not None:
        given &= rng.random(shape) >= np.array(spread(statistics.withheld, people.skeleton))
    scores = np.ones(shape, np.float32)
    if statistics.confidence is not None:
        scores = statistics.confidence.draw(types, ranks, people.skeleton, rng)
        scores = np.maximum(scores, LEAST_SCORE)
    keypoints[~given] = 0
    return Synthesized(keypoints, np.where(given, scores, np.float32(0)), types)


def _draw_errors(
    people: People,
    neighbours: Neighbours,
    statistics: Statistics,
    rng: np.random.Generator,
    reach: float,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) float32, types (N, K) int8 and the normal ranks (N, K) float32 of their distances.

    What is not annotated stays where it is. ``noise`` (N,) is 1 for people with errors; people below have none, and
    their displacements are so much smaller.
    """
    labelled = people.labelled
    candidates = Candidates.of(people, neighbours)
    anchors = anchors_in_reach(candidates, people.areas, reach)
    visible, skeleton = labelled.sum(1), people.skeleton
    if statistics.kinds is None:
        table = statistics.probabilities(visible, neighbours.overlaps, skeleton)
    else:
        kinds = statistics.kinds.draw(len(people), rng)
        table = statistics.probabilities_by_kind(visible, neighbours.overlaps, skeleton, kinds)
    if statistics.same_neighbour > 0:
        _stay_with_one_neighbour(anchors[2:], statistics.same_neighbour, rng)
    table[..., ErrorType.INVERSION] *= anchors[1]
    table[..., ErrorType.SWAP] *= anchors[2:].any(0)
    places = _Rings() if statistics.displacement is None else _Measured(statistics.displacement, people, rng)
    clean = noise < 1
    table[clean] = np.eye(1, table.shape[-1])

    table = table.reshape(-1, table.shape[-1])
    uniform = _uniforms(people, statistics.same_on_limb, rng)
    anchors = anchors.reshape(len(anchors), -1)
    candidates = candidates.flatten()
    keypoints = people.keypoints.reshape(-1, 2).copy()
    types = np.full(len(keypoints), ErrorType.UNLABELLED, np.int8)
    pending = np.flatnonzero(labelled)
    while len(pending):
        kinds = _draw_types(table[pending], uniform[pending])
        positions, found = _draw_positions(kinds, candidates.take(pending), anchors[:, pending], pending, places, rng)
        types[pending] = kinds
        keypoints[pending[found]] = positions[found]
        stuck = ~found & (kinds != ErrorType.GOOD)  # a Good keypoint without room stays at its truth
        pending, kinds = pending[stuck], kinds[stuck]
        table[pending, kinds] = 0
        uniform[pending] = rng.random(len(pending))
    if clean.any():
        _shrink_displacements(keypoints, np.flatnonzero(labelled & clean[:, None]), noise, candidates)
    return keypoints.reshape(people.keypoints.shape), types.reshape(labelled.shape), places.ranks(types, labelled.shape)


def _shrink_displacements(keypoints: np.ndarray, rows: np.ndarray, noise: np.ndarray, candidates: Candidates) -> None:
    """Draw the Good keypoints at ``rows`` of (N*K, 2) nearer to their truth, in place; never into another's reach."""
    own = candidates.take(rows)
    truth = np.stack([own.x[0], own.y[0]], axis=-1)
    share = np.repeat(noise, len(keypoints) // len(noise))[rows, None]
    nearer = truth + share * (keypoints[rows] - truth)
    good = own.decide(nearer[:, 0], nearer[:, 1])[0] == ErrorType.GOOD
    keypoints[rows] = np.where(good[:, None], nearer, truth)


def anchors_in_reach(candidates: Candidates, areas: np.ndarray, reach: float = REACH) -> np.ndarray:
    """(C, N, K) bool: the candidates to draw errors around; neighbours' only within ``reach`` sqrt(area)."""
    anchors = candidates.labelled
    with np.errstate(invalid="ignore"):
        x, y = candidates.x[2:] - candidates.x[0], candidates.y[2:] - candidates.y[0]
        anchors[2:] &= x**2 + y**2 <= reach**2 * np.maximum(areas, MIN_AREA)[:, None]
    return anchors


def _stay_with_one_neighbour(anchors: np.ndarray, probability: float, rng: np.random.Generator) -> None:
    """Leave, for a share of the keypoints, only one neighbour's anchors, the same for the whole person; in place.

    ``anchors`` (2M, N, K) are of the M neighbours' same keypoints, then of their counterparts. A neighbour is drawn in
    proportion to the keypoints that could be swapped to it; a keypoint that could not keeps all its anchors.
    """
    m, n, k = len(anchors) // 2, *anchors.shape[1:]
    if m < 2 or not n:
        return
    by_neighbour = anchors.reshape(2, m, n, k)
    weights = by_neighbour.any(0).sum(-1).T.astype(np.float32)
    chosen = (rng.random((n, 1)) * weights.sum(1, keepdims=True) < weights.cumsum(1)).argmax(1)
    theirs = by_neighbour & (np.arange(m)[:, None] == chosen)[..., None]
    stay = theirs.any((0, 1)) & (rng.random((n, k)) < probability)
    by_neighbour &= ~stay | theirs


def _uniforms(people: People, same_on_limb: float, rng: np.random.Generator) -> np.ndarray:
    """(N*K,) uniform numbers, of which a share is the same for all keypoints of a limb."""
    shape = people.scores.shape
    uniform = rng.random(shape)
    if same_on_limb > 0:
        limbs = limbs_of(people.skeleton)
        shared = rng.random((shape[0], limbs.max() + 1))[:, limbs]
        uniform = np.where(rng.random(shape) < same_on_limb, shared, uniform)
    return uniform.ravel()


def _draw_types(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """(P,) int8 types that uniform numbers (P,) fall on with weights (P, 5) of any sum; GOOD where all are 0."""
    cumulative = weights[:, ORDER].cumsum(axis=1)
    below = uniform[:, None] * cumulative[:, -1:] < cumulative
    return np.where(below.any(axis=1), ORDER[below.argmax(axis=1)], ErrorType.GOOD).astype(np.int8)


def _draw_positions(
    kinds: np.ndarray,
    candidates: Candidates,
    anchors: np.ndarray,
    rows: np.ndarray,
    places: _Rings | _Measured,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (P, 2) float32 that carry the types ``kinds`` (P,), and (P,) bool where one was found."""
    positions = np.zeros((len(kinds), 2), np.float32)
    found = np.zeros(len(kinds), bool)
    pending = np.arange(len(kinds))
    for attempts in ATTEMPTS:
        x, y = places.propose(kinds[pending], candidates, anchors, rows[pending], attempts, rng)
        carried = candidates.decide(x, y)[0] == kinds[pending, None]
        hit = carried.any(axis=1)
        first = carried[hit].argmax(axis=1)[:, None]
        positions[pending[hit]] = np.concatenate([np.take_along_axis(v[hit], first, 1) for v in (x, y)], axis=1)
        found[pending[hit]] = True
        left = np.flatnonzero(~hit)
        if not len(left):
            break
        pending, candidates, anchors = pending[left], candidates.take(left), anchors[:, left]
    return positions, found


class _Rings:
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
        anchor = np.zeros(shape, np.intp)
        anchor[kinds == ErrorType.INVERSION] = 1
        swapped = kinds == ErrorType.SWAP
        anchor[swapped] = 2 + _pick(anchors[2:, swapped], attempts, rng)
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


class _Measured:
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
        anchor = np.zeros(shape, np.intp)
        anchor[kinds == ErrorType.INVERSION] = 1
        swapped = kinds == ErrorType.SWAP
        anchor[swapped] = 2 + _pick(anchors[2:, swapped], attempts, rng)
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


def _pick(options: np.ndarray, attempts: int, rng: np.random.Generator) -> np.ndarray:
    """(P, attempts) indices along the first axis of options (C, P) bool, uniform among the true ones."""
    rank = np.floor(rng.random((options.shape[1], attempts)) * options.sum(axis=0)[:, None])
    return (options.cumsum(axis=0)[..., None] <= rank).sum(axis=0)
