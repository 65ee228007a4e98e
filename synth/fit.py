"""Fit error statistics, in the form of the published table, to an estimator's results on people of known poses.

Errors are counted for each body part in nine conditions (annotated keypoints x overlapping people), among the errors
that can happen there. Rare cells are shrunk towards the same part with as many annotated keypoints, those towards the
part in all conditions, and those towards the whole body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from posefix.core.people import People
from synth.errors import Candidates, ErrorType
from synth.neighbours import Neighbours
from synth.sampler import RINGS
from synth.statistics import DEFAULT, ERRORS, Condition, Distance, Rule, Statistics

VISIBLE = ((0, 5), (6, 10), (11, None))  # annotated keypoints of a person
OVERLAPS = ((0, 0), (1, 2), (3, None))  # people whose boxes overlap the person's
PRIOR_COUNT = 20.0  # weight of the prior, in keypoints
ALWAYS = [ErrorType.GOOD, ErrorType.JITTER, ErrorType.MISS]  # error types that every keypoint can have


class Observation(NamedTuple):
    """An estimator's results for N people."""

    truth: People  # N annotated people
    keypoints: np.ndarray  # (N, K, 2) pixels, the estimates for ``truth``
    valid: np.ndarray  # (N, K) bool, mask of valid estimates; the others are not counted
    neighbours: Neighbours  # the other people in their images


def fit_statistics(observations: Iterable[Observation], description: str = "") -> Statistics:
    """Estimate the statistics of observed errors.

    Args:
        observations: results of one or several estimators, all in one skeleton.
        description: origin of the observations.

    Raises:
        ValueError: when no keypoint is annotated and estimated.
    """
    observations = list(observations)
    if not any((observation.truth.labelled & observation.valid).any() for observation in observations):
        raise ValueError("no keypoint is annotated and estimated: there is nothing to fit")
    parts, part = np.unique(observations[0].truth.skeleton.parts(), return_inverse=True)
    counts = np.zeros((len(VISIBLE), len(OVERLAPS), len(parts), 1 + len(ERRORS)))
    possible_counts = np.zeros_like(counts)  # keypoints of a type in ALWAYS that could have had each type
    distances: dict[ErrorType, list[np.ndarray]] = {ErrorType.JITTER: [], ErrorType.MISS: []}
    for observation in observations:
        points = np.asarray(observation.keypoints, np.float32)
        candidates = Candidates.of(observation.truth, observation.neighbours)
        all_types, exponents = candidates.decide(points[..., 0], points[..., 1])
        types = np.where(observation.truth.labelled & observation.valid, all_types, np.int8(ErrorType.UNLABELLED))
        visible = np.digitize(observation.truth.labelled.sum(1), [low for low, _ in VISIBLE[1:]])
        overlaps = np.digitize(observation.neighbours.overlaps, [low for low, _ in OVERLAPS[1:]])
        for mask, table, values in (
            (types >= 0, counts, np.eye(1 + len(ERRORS))[types]),
            (np.isin(types, ALWAYS), possible_counts, candidates.possible),
        ):
            person, keypoint = np.nonzero(mask)
            np.add.at(table, (visible[person], overlaps[person], part[keypoint]), values[mask])
        for error, samples in distances.items():
            inner, outer = RINGS[error]
            samples.append(np.clip((np.sqrt(exponents[types == error]) - inner) / (outer - inner), 0, 1))
    means = {error.name.lower(): _mean(np.concatenate(samples)) for error, samples in distances.items()}
    rules = _rules(_frequencies(counts, possible_counts), [str(name) for name in parts])
    return Statistics(description=description, distance=Distance(**means), **rules)


def _mean(distances: np.ndarray) -> float:
    """Average distances in a ring, shrunk towards the published 0.5."""
    return round(float((distances.sum() + PRIOR_COUNT / 2) / (len(distances) + PRIOR_COUNT)), 4)


def _frequencies(counts: np.ndarray, possible_counts: np.ndarray) -> np.ndarray:
    """Estimate probabilities (3, 3, P, 5) from counts (3, 3, P, 5), shrinking each level of cells towards the next.

    A type that cannot happen gives its probability to the others in proportion. So its odds against the types that can
    always happen are the same wherever it can happen, and they are estimated there.
    """
    table = np.full(counts.shape[-1], 1 / counts.shape[-1])
    for axes in ((0, 1, 2), (0, 1), (1,), ()):
        prior_possible = table[..., ALWAYS].sum(-1, keepdims=True)
        odds = counts.sum(axes, keepdims=True) + PRIOR_COUNT * table
        odds = odds / (possible_counts.sum(axes, keepdims=True) + PRIOR_COUNT * prior_possible)
        table = odds / odds.sum(-1, keepdims=True)
    return table


def _rules(table: np.ndarray, parts: list[str]) -> dict[str, tuple[Rule, ...]]:
    """Build a rule for each error and condition, by part, with the mean of all parts as default.

    Probabilities are rounded down, so that they never sum to more than 1.
    """
    table = np.floor(1e4 * np.concatenate([table, table.mean(2, keepdims=True)], axis=2)) / 1e4
    conditions = [(v, o) for v in range(len(VISIBLE)) for o in range(len(OVERLAPS))]
    return {
        error.name.lower(): tuple(
            Rule(
                when=Condition(visible=VISIBLE[v], overlaps=OVERLAPS[o]),
                probability=dict(zip([*parts, DEFAULT], table[v, o, :, error].tolist(), strict=True)),
            )
            for v, o in conditions
        )
        for error in ERRORS
    }
