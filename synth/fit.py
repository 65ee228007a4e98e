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
from synth.errors import Candidates, ErrorType
from synth.neighbours import Neighbours
from synth.sampler import RINGS
from synth.statistics import DEFAULT, ERRORS, Condition, Distance, Rule, Statistics

VISIBLE = ((0, 5), (6, 10), (11, None))  # annotated keypoints of a person
OVERLAPS = ((0, 0), (1, 2), (3, None))  # people whose boxes overlap with theirs
WIDER_COUNT = 20.0  # keypoints that a wider cell of the table counts as
ALWAYS = [ErrorType.GOOD, ErrorType.JITTER, ErrorType.MISS]  # the types that can happen to every keypoint


class Observation(NamedTuple):
    """What an estimator found of N people."""

    truth: People  # N people as annotated
    keypoints: np.ndarray  # (N, K, 2) pixels, its keypoints, row by row those of ``truth``
    given: np.ndarray  # (N, K) bool, which of them it gave at all; the others are not counted
    neighbours: Neighbours  # the other people in their images


def fit_statistics(observations: Iterable[Observation], description: str = "") -> Statistics:
    """Statistics from which a synthesis would have drawn these errors.

    Args:
        observations: results of one estimator or several, all in one skeleton.
        description: where they come from.

    Raises:
        ValueError: when no keypoint is annotated.
    """
    observations = list(observations)
    parts, part = np.unique(observations[0].truth.skeleton.parts(), return_inverse=True)
    happened = np.zeros((len(VISIBLE), len(OVERLAPS), len(parts), 1 + len(ERRORS)))
    chances = np.zeros_like(happened)  # keypoints with a type of ALWAYS to which each type could have happened
    places: dict[ErrorType, list[np.ndarray]] = {ErrorType.JITTER: [], ErrorType.MISS: []}
    for seen in observations:
        points, candidates = np.asarray(seen.keypoints, np.float32), Candidates.of(seen.truth, seen.neighbours)
        decided, exponents = candidates.decide(points[..., 0], points[..., 1])
        types = np.where(seen.truth.labelled & seen.given, decided, np.int8(ErrorType.UNLABELLED))
        visible = np.digitize(seen.truth.labelled.sum(1), [low for low, _ in VISIBLE[1:]])
        overlaps = np.digitize(seen.neighbours.overlaps, [low for low, _ in OVERLAPS[1:]])
        for chosen, counts, values in (
            (types >= 0, happened, np.eye(1 + len(ERRORS))[types]),
            (np.isin(types, ALWAYS), chances, candidates.possible),
        ):
            person, keypoint = np.nonzero(chosen)
            np.add.at(counts, (visible[person], overlaps[person], part[keypoint]), values[chosen])
        for error, found in places.items():
            inner, outer = RINGS[error]
            found.append(np.clip((np.sqrt(exponents[types == error]) - inner) / (outer - inner), 0, 1))
    if not happened.any():
        raise ValueError("no keypoint is annotated: there is nothing to fit")
    means = {error.name.lower(): _mean(np.concatenate(found)) for error, found in places.items()}
    rules = _rules(_frequencies(happened, chances), [str(name) for name in parts])
    return Statistics(description=description, distance=Distance(**means), **rules)


def _mean(places: np.ndarray) -> float:
    """Mean of places in a ring, drawn towards the published 0.5."""
    return round(float((places.sum() + WIDER_COUNT / 2) / (len(places) + WIDER_COUNT)), 4)


def _frequencies(happened: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """(3, 3, P, 5) probabilities from counts (3, 3, P, 5), each level of cells drawn towards the wider one.

    A type that cannot happen gives its probability to the others in proportion, so that its odds against the types that
    always can are the same wherever it can: they are counted there.
    """
    table = np.full(happened.shape[-1], 1 / happened.shape[-1])
    for axes in ((0, 1, 2), (0, 1), (1,), ()):
        wider_chances = table[..., ALWAYS].sum(-1, keepdims=True)
        odds = happened.sum(axes, keepdims=True) + WIDER_COUNT * table
        odds = odds / (chances.sum(axes, keepdims=True) + WIDER_COUNT * wider_chances)
        table = odds / odds.sum(-1, keepdims=True)
    return table


def _rules(table: np.ndarray, parts: list[str]) -> dict[str, tuple[Rule, ...]]:
    """A rule for each error and condition, by part, and by the mean of all parts for other skeletons.

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
