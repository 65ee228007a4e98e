"""Synthesize poses with the errors of an estimator from true poses (PoseFix, CVPR 2019, section 4).

For each keypoint an error type is drawn from the statistics, then a position: around the candidate that the type
implies, in the type's ring of keypoint similarity, with a distance uniform between the ring's radii (or as the
statistics say) and a uniform direction. Positions that :func:`synth.errors.classify` gives another type are rejected
and drawn again, so drawn and classified types always agree.
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
MISS_AT_OWN = 0.8  # share of Misses drawn around the keypoint's own truth; the others around any candidate in reach
ATTEMPTS = (1, 3, 12, 48, 192)  # positions per round, drawn for keypoints without an accepted one

# Inner and outer radius of each type's ring in units of sqrt(2 s^2 k^2), in the order of ErrorType from GOOD on.
RINGS = np.sqrt(np.array([0, GOOD_EXPONENT, NEAR_EXPONENT, FAR_EXPONENT], np.float32))[
    np.array([(0, 1), (1, 2), (0, 2), (0, 2), (2, 3)])
]


class Synthesized(NamedTuple):
    """Synthesized poses of N people."""

    keypoints: np.ndarray  # (N, K, 2) float32 pixels; (0, 0) for missing keypoints
    scores: np.ndarray  # (N, K) float32: 1, or 0 for missing keypoints
    types: np.ndarray  # (N, K) int8 :class:`ErrorType`, also of keypoints dropped out


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
    """Synthesize an input pose for each person.

    An error that cannot happen (no annotated counterpart, no annotated neighbour in reach, no space left by other
    candidates) gives its probability to the others in proportion; if none remains, the keypoint is Good.

    Args:
        people: N people of ground truth; keypoints of score 0 are not annotated and get type UNLABELLED.
        neighbours: the other people in their images, in the same coordinates.
        statistics: frequencies of the errors, depending on ``people`` and ``neighbours``.
        rng: random generator.
        dropout: probability that a keypoint is dropped.
        impute: probability per person that keypoints without annotation are imputed, by the skeleton's template fitted
            to the annotated ones, with noise.
        clean: probability per person that all annotated keypoints are Good: for half of these people exactly the
            truth, for the others with displacements scaled by a random factor below 1.

    Raises:
        InputError: when the statistics do not cover the skeleton.
    """
    chunks = [slice(start, start + CHUNK) for start in range(0, max(len(people), 1), CHUNK)]
    noise = np.ones(len(people), np.float32)
    if clean > 0:
        is_clean = rng.random(len(people)) < clean
        noise[is_clean] = np.maximum(rng.uniform(-1, 1, int(is_clean.sum())), 0)
    results = [_draw_errors(people[c], neighbours.take(c), statistics, rng, noise[c]) for c in chunks]
    keypoints, types = (np.concatenate(parts) for parts in zip(*results, strict=True))
    imputed = impute_positions(people, np.sqrt(np.maximum(people.areas, MIN_AREA)), impute, rng)
    keypoints = np.where(people.labelled[..., None], keypoints, imputed)
    valid = ~np.isnan(keypoints[..., 0]) & (rng.random(types.shape) >= dropout)
    keypoints[~valid] = 0
    return Synthesized(keypoints, valid.astype(np.float32), types)


def _draw_errors(
    people: People, neighbours: Neighbours, statistics: Statistics, rng: np.random.Generator, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw keypoints (N, K, 2) float32 and types (N, K) int8; keypoints without annotation stay as they are.

    ``noise`` (N,) is 1 for people with errors. People with less are all Good, with displacements scaled by it.
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
        drawn_types = _draw_types(table[pending], uniform[pending])
        positions, accepted = _draw_positions(drawn_types, candidates.take(pending), powers, noise[pending], rng)
        types[pending] = drawn_types
        keypoints[pending[accepted]] = positions[accepted]
        rejected = ~accepted & (drawn_types != ErrorType.GOOD)  # a Good keypoint without a position stays at the truth
        pending, drawn_types = pending[rejected], drawn_types[rejected]
        table[pending, drawn_types] = 0
        uniform[pending] = rng.random(len(pending))
    return keypoints.reshape(people.keypoints.shape), types.reshape(labelled.shape)


def _draw_types(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Select types (P,) int8 by uniform numbers (P,) and weights (P, 5) of any sum; GOOD where all weights are 0."""
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
    """Draw positions (P, 2) float32 of given types (P,), and a mask (P,) bool of those accepted."""
    positions = np.zeros((len(types), 2), np.float32)
    accepted = np.zeros(len(types), bool)
    pending = np.arange(len(types))
    for attempts in ATTEMPTS:
        x, y = _propose(types[pending], candidates, powers, noise[pending], attempts, rng)
        matches = candidates.decide(x, y)[0] == types[pending, None]
        hit = matches.any(axis=1)
        first = matches[hit].argmax(axis=1)[:, None]
        positions[pending[hit]] = np.concatenate([np.take_along_axis(v[hit], first, 1) for v in (x, y)], axis=1)
        accepted[pending[hit]] = True
        remaining = np.flatnonzero(~hit)
        if not len(remaining):
            break
        pending, candidates = pending[remaining], candidates.take(remaining)
    return positions, accepted


def _propose(
    types: np.ndarray,
    candidates: Candidates,
    powers: np.ndarray,
    noise: np.ndarray,
    attempts: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions in the rings of the error types (P,); another candidate may be nearer.

    A uniform number to the power ``powers`` (5,) of the type is the position between inner and outer radius, which are
    scaled by ``noise`` (P,). Returns x and y (P, attempts) float32 pixels.
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
    """Draw indices (P, attempts) along the first axis of options (C, P) bool, uniform among the true ones."""
    rank = np.floor(rng.random((options.shape[1], attempts)) * options.sum(axis=0)[:, None])
    picked: np.ndarray = (options.cumsum(axis=0)[..., None] <= rank).sum(axis=0)
    return picked
