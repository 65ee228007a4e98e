"""Draw the poses that an estimator might have found for people whose true pose is known (PoseFix, CVPR 2019, sec. 4).

For each keypoint an error type is drawn from the statistics, then a position that carries it: around the point that the
type means, in its ring of keypoint similarity, with a distance uniform between the ring's two radii (or as the
statistics say) and a uniform direction. A position that the diagnosis gives to another type is rejected and drawn anew,
so the type that is drawn is the type that :func:`synth.errors.classify` finds, always.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.people import People
from synth.errors import FAR_EXPONENT, GOOD_EXPONENT, MIN_AREA, NEAR_EXPONENT, Candidates, ErrorType
from synth.imputation import impute as impute_positions
from synth.neighbours import Neighbours
from synth.statistics import Statistics

CHUNK = 512  # people at a time, so that the candidates stay in the cache
ORDER = np.array([ErrorType.SWAP, ErrorType.GOOD, ErrorType.JITTER, ErrorType.MISS, ErrorType.INVERSION])  # of drawing
MISS_AT_OWN = 0.8  # share of Misses drawn around the keypoint's own truth; the rest around any candidate in reach
ATTEMPTS = (1, 3, 12, 48, 192)  # positions drawn a round for the keypoints that are still without one

# Inner and outer radius of each type's ring in units of sqrt(2 s^2 k^2), in the order of ErrorType from GOOD on.
RINGS = np.sqrt(np.array([0, GOOD_EXPONENT, NEAR_EXPONENT, FAR_EXPONENT], np.float32))[
    np.array([(0, 1), (1, 2), (0, 2), (0, 2), (2, 3)])
]


class Synthesized(NamedTuple):
    """Input poses of N people."""

    keypoints: np.ndarray  # (N, K, 2) float32 pixels; (0, 0) where there is no input
    scores: np.ndarray  # (N, K) float32: 1, or 0 where there is no input
    types: np.ndarray  # (N, K) int8 :class:`ErrorType` of each keypoint, also of those that were withheld


def synthesize(
    people: People,
    neighbours: Neighbours,
    statistics: Statistics,
    rng: np.random.Generator,
    *,
    dropout: float = 0.0,
    impute: float = 0.5,
    clean: float = 0.0,
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

    Raises:
        InputError: when the statistics do not cover the skeleton.
    """
    chunks = [slice(start, start + CHUNK) for start in range(0, max(len(people), 1), CHUNK)]
    noise = np.ones(len(people), np.float32)
    if clean > 0:
        chosen = rng.random(len(people)) < clean
        noise[chosen] = np.maximum(rng.uniform(-1, 1, int(chosen.sum())), 0)
    drawn = [_draw_errors(people[c], neighbours.take(c), statistics, rng, noise[c]) for c in chunks]
    keypoints, types = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    imputed = impute_positions(people, np.sqrt(np.maximum(people.areas, MIN_AREA)), impute, rng)
    keypoints = np.where(people.labelled[..., None], keypoints, imputed)
    given = ~np.isnan(keypoints[..., 0]) & (rng.random(types.shape) >= dropout)
    keypoints[~given] = 0
    return Synthesized(keypoints, given.astype(np.float32), types)


def _draw_errors(
    people: People, neighbours: Neighbours, statistics: Statistics, rng: np.random.Generator, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) float32 and types (N, K) int8; what is not annotated stays where it is.

    ``noise`` (N,) is 1 for people with errors; people below have none, and their displacements are so much smaller.
    """
    labelled = people.labelled
    candidates = Candidates.of(people, neighbours)
    table = statistics.probabilities(labelled.sum(1), neighbours.overlaps, people.skeleton) * candidates.possible
    table[noise < 1] = np.eye(1, table.shape[-1])
    noise = np.repeat(noise, labelled.shape[1])

    table, powers = table.reshape(-1, table.shape[-1]), statistics.powers()
    uniform = rng.random(labelled.size)
    keypoints = people.keypoints.reshape(-1, 2).copy()
    types = np.full(len(keypoints), ErrorType.UNLABELLED, np.int8)
    pending = np.flatnonzero(labelled)
    while len(pending):
        drawn = _draw_types(table[pending], uniform[pending])
        positions, found = _draw_positions(drawn, candidates.take(pending), powers, noise[pending], rng)
        types[pending] = drawn
        keypoints[pending[found]] = positions[found]
        stuck = ~found & (drawn != ErrorType.GOOD)  # a Good keypoint without room stays at its truth
        pending, drawn = pending[stuck], drawn[stuck]
        table[pending, drawn] = 0
        uniform[pending] = rng.random(len(pending))
    return keypoints.reshape(people.keypoints.shape), types.reshape(labelled.shape)


def _draw_types(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """(P,) int8 types that uniform numbers (P,) fall on with weights (P, 5) of any sum; GOOD where all are 0."""
    cumulative = weights[:, ORDER].cumsum(axis=1)
    below = uniform[:, None] * cumulative[:, -1:] < cumulative
    return np.where(below.any(axis=1), ORDER[below.argmax(axis=1)], ErrorType.GOOD).astype(np.int8)


def _draw_positions(
    types: np.ndarray,
    candidates: Candidates,
    powers: np.ndarray,
    noise: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (P, 2) float32 that carry the types (P,), and (P,) bool where one was found."""
    positions = np.zeros((len(types), 2), np.float32)
    found = np.zeros(len(types), bool)
    pending = np.arange(len(types))
    for attempts in ATTEMPTS:
        x, y = _propose(types[pending], candidates, powers, noise[pending], attempts, rng)
        carried = candidates.decide(x, y)[0] == types[pending, None]
        hit = carried.any(axis=1)
        first = carried[hit].argmax(axis=1)[:, None]
        positions[pending[hit]] = np.concatenate([np.take_along_axis(v[hit], first, 1) for v in (x, y)], axis=1)
        found[pending[hit]] = True
        left = np.flatnonzero(~hit)
        if not len(left):
            break
        pending, candidates = pending[left], candidates.take(left)
    return positions, found


def _propose(
    types: np.ndarray,
    candidates: Candidates,
    powers: np.ndarray,
    noise: np.ndarray,
    attempts: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions in the rings of the error types (P,), in any direction; another candidate may be nearer.

    A uniform number to the type's ``powers`` (5,) is the place between inner and outer radius, which are multiplied by
    ``noise`` (P,). Returns x and y (P, attempts) float32 pixels.
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
    picked: np.ndarray = (options.cumsum(axis=0)[..., None] <= rank).sum(axis=0)
    return picked
