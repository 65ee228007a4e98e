"""Measure an estimator's errors: a table in the form of the published one, from results on people of known poses.

Counted is how often each error happens to each part of the body in nine conditions (annotated keypoints x overlapping
people), among the errors that can happen to it. Rare cells are drawn towards the same part with as many annotated
keypoints, those towards the part in all conditions, and those towards the whole body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from posefix.core.people import People
from posefix.core.skeleton import GROUPS, Skeleton
from synth.errors import Candidates, ErrorType
from synth.neighbours import Neighbours
from synth.places import RINGS, anchors_in_reach
from synth.statistics import DEFAULT, ERRORS, Condition, Distance, Rule, Statistics

VISIBLE = ((0, 5), (6, 10), (11, None))  # annotated keypoints of a person
OVERLAPS = ((0, 0), (1, 2), (3, None))  # people whose boxes overlap with theirs
WIDER_COUNT = 20.0  # keypoints that a wider cell of the table counts as
ITERATIONS = 100
KINDS = 1 + len(ERRORS)

# What can happen to a keypoint, (4, 5) bool: everything but Inversion, but Swap, but both; by 2 * inversion + swap.
POSSIBLE = np.ones((4, KINDS), bool)
POSSIBLE[:2, ErrorType.INVERSION], POSSIBLE[::2, ErrorType.SWAP] = False, False


class Observation(NamedTuple):
    """What an estimator found of N people.

    Attributes:
        truth: N people as annotated.
        keypoints: (N, K, 2) pixels, its keypoints, row by row those of ``truth``.
        given: (N, K) bool, which of them it gave at all; the others are not counted.
        neighbours: the other people in their images.
    """

    truth: People
    keypoints: np.ndarray
    given: np.ndarray
    neighbours: Neighbours


def fit_statistics(observations: Iterable[Observation], description: str = "") -> Statistics:
    """Statistics from which a synthesis would have drawn these errors.

    Args:
        observations: results of one estimator or several, all in one skeleton.
        description: where they come from.

    Raises:
        ValueError: when no keypoint is annotated.
    """
    observations = list(observations)
    skeleton = observations[0].truth.skeleton
    counts, places = np.zeros(()), np.zeros((2, KINDS))
    for seen in observations:
        types, possible, exponents = _diagnosed(seen)
        counts = counts + _counts(seen, types, possible)
        for kind in (ErrorType.JITTER, ErrorType.MISS):
            inner, outer = RINGS[kind]
            values = np.clip((np.sqrt(exponents[types == kind]) - inner) / (outer - inner), 0, 1)
            places[:, kind] += len(values), values.sum()
    if not counts.any():
        raise ValueError("no keypoint is annotated: there is nothing to fit")
    means = (places[1] + WIDER_COUNT / 2) / (places[0] + WIDER_COUNT)  # drawn towards the published 0.5
    jitter, miss = (round(float(means[kind]), 4) for kind in (ErrorType.JITTER, ErrorType.MISS))
    rules = _rules(_table(counts), skeleton)
    return Statistics(description=description, distance=Distance(jitter=jitter, miss=miss), **rules)


def _diagnosed(seen: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Error types (N, K), rows (N, K) of ``POSSIBLE``, and the exponent u (N, K) of the best candidate."""
    truth, points = seen.truth, np.asarray(seen.keypoints, np.float32)
    candidates = Candidates.of(truth, seen.neighbours)
    decided, exponents = candidates.decide(points[..., 0], points[..., 1])
    types = np.where(truth.labelled & seen.given, decided, np.int8(ErrorType.UNLABELLED))
    anchors = anchors_in_reach(candidates, truth.areas)
    inversion = anchors[1] | (types == ErrorType.INVERSION)
    swap = anchors[2:].any(0) | (types == ErrorType.SWAP)
    return types, 2 * inversion + swap, exponents


def _counts(seen: Observation, types: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """(3, 3, parts, 4, 5) keypoints by visibility, overlaps, part, what can happen and what happened."""
    skeleton = seen.truth.skeleton
    _, part = np.unique(skeleton.parts(), return_inverse=True)
    visible, overlaps = (
        np.searchsorted([low for low, _ in ranges], values, "right") - 1
        for ranges, values in ((VISIBLE, seen.truth.labelled.sum(1)), (OVERLAPS, seen.neighbours.overlaps))
    )
    counts = np.zeros((len(VISIBLE), len(OVERLAPS), part.max() + 1, len(POSSIBLE), KINDS))
    person, keypoint = np.nonzero(types >= 0)
    cell = visible[person], overlaps[person], part[keypoint], possible[person, keypoint], types[person, keypoint]
    np.add.at(counts, cell, 1)
    return counts


def _table(counts: np.ndarray) -> np.ndarray:
    """(3, 3, parts, 5) probabilities, each level of cells drawn towards the wider one."""
    body = _frequencies(counts.sum((0, 1, 2)), np.full(KINDS, 1 / KINDS))
    part = _frequencies(counts.sum((0, 1)), body)
    visible = _frequencies(counts.sum(1), part)
    return _frequencies(counts, visible[:, None])


def _frequencies(counts: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """Probabilities (..., 5) that make counts (..., 4, 5) likeliest, beside ``WIDER_COUNT`` keypoints of ``wider``.

    An error that cannot happen gives its probability to the others in proportion, so this is iterative scaling
    (Darroch and Ratcliff, "Generalized iterative scaling for log-linear models", 1972).
    """
    drawn, seen = counts.sum(-2) + WIDER_COUNT * wider, counts.sum(-1, keepdims=True)
    table = np.broadcast_to(wider, drawn.shape)
    for _ in range(ITERATIONS):
        weights = table[..., None, :] * POSSIBLE
        expected = (seen * weights / weights.sum(-1, keepdims=True)).sum(-2) + WIDER_COUNT * table
        table = table * drawn / expected
        table = table / table.sum(-1, keepdims=True)
    return table


def _rules(table: np.ndarray, skeleton: Skeleton) -> dict[str, tuple[Rule, ...]]:
    """A rule for each error and condition: by part, and for other skeletons by the mean of a group and of everything.

    Probabilities are rounded down, so that they never sum to more than 1.
    """
    names, first = np.unique(skeleton.parts(), return_index=True)
    groups = np.array(skeleton.groups)[first]
    rows = {str(name): names == name for name in names}
    rows |= {group: groups == group for group in GROUPS if (groups == group).any()} | {DEFAULT: np.full(len(names), 1)}
    rules: dict[str, list[Rule]] = {error.name.lower(): [] for error in ERRORS}
    for v, visible in enumerate(VISIBLE):
        for o, overlaps in enumerate(OVERLAPS):
            when = Condition(visible=visible, overlaps=overlaps)
            for error in ERRORS:
                column = table[v, o, :, error]
                means = {name: column[chosen.astype(bool)].mean() for name, chosen in rows.items()}
                probability = {name: float(np.floor(mean * 1e4) / 1e4) for name, mean in means.items()}
                rules[error.name.lower()].append(Rule(when=when, probability=probability))
    return {name: tuple(found) for name, found in rules.items()}
