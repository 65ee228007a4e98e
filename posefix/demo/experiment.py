"""Typical errors on people whose pose is known, refined and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from posefix.core.people import People
from posefix.evaluation.oks import oks
from synth import ErrorType, Neighbours, Statistics, classify, neighbours_of, synthesize

RESAMPLES = 2000


class RefinesPeople(Protocol):
    """Anything that makes better poses out of poses and images, as :class:`posefix.Refiner` does."""

    def refine(self, people: People, images: Mapping[int, np.ndarray]) -> People:
        """The same people in the same order, with other keypoints."""


@dataclass(frozen=True, eq=False)
class Poses:
    """D poses of each of N people of K keypoints, and how good they are.

    Attributes:
        keypoints: (N, D, K, 2) float32 pixels.
        oks: (N, D) float64 in [0, 1].
        types: (N, D, K) int8 :class:`synth.ErrorType` of each keypoint.
        offsets: (N, D, K) float64 distance from the truth as a share of the longer side of the person's box; NaN where
            the truth is not annotated.
    """

    keypoints: np.ndarray
    oks: np.ndarray
    types: np.ndarray
    offsets: np.ndarray

    def share_within(self, tolerance: float) -> float:
        """PCK (Yang and Ramanan, 2013): share of the annotated keypoints at most ``tolerance`` box sides off."""
        known = np.isfinite(self.offsets)
        return float((self.offsets[known] <= tolerance).mean())


@dataclass(frozen=True, eq=False)
class Trial:
    """The same draws before and after refinement."""

    before: Poses
    after: Poses

    def median_draws(self) -> np.ndarray:
        """(N,) the draw of each person whose change of OKS is the median of that person's draws (of an even number, the
        lower of the middle two): the typical one, neither the best nor the worst."""
        order = np.argsort(self.after.oks - self.before.oks, axis=1, kind="stable")
        return order[:, (order.shape[1] - 1) // 2]

    def transitions(self) -> np.ndarray:
        """(5, 5) counts of keypoints by error type before (rows) and after (columns), in the order of ErrorType."""
        known = self.before.types != ErrorType.UNLABELLED
        kinds = len(ErrorType) - 1
        pairs = self.before.types[known].astype(np.int64) * kinds + self.after.types[known]
        return np.bincount(pairs, minlength=kinds * kinds).reshape(kinds, kinds)


def run_trial(
    truth: People,
    images: Mapping[int, np.ndarray],
    refiner: RefinesPeople,
    statistics: Statistics,
    draws: int,
    rng: np.random.Generator,
) -> Trial:
    """Draw ``draws`` erroneous poses of each person, refine them all, and measure both.

    Keypoints that are not annotated get no input. The refiner is told the drawn poses and nothing else: neither the
    boxes nor the areas of the truth.

    Args:
        truth: N annotated people.
        images: image id to (H, W, 3) uint8 RGB.
        refiner: what is tried.
        statistics: how often which error happens.
        draws: D, poses drawn for each person.
        rng: source of the errors.
    """
    rows = np.repeat(np.arange(len(truth)), draws)
    repeated, neighbours = truth[rows], neighbours_of(truth).take(rows)
    drawn = synthesize(repeated, neighbours, statistics, rng, impute=0.0)
    n = len(rows)
    estimated = replace(
        repeated,
        keypoints=drawn.keypoints,
        scores=drawn.scores,
        boxes=np.zeros((n, 4)),
        areas=np.zeros(n),
        person_scores=np.ones(n),
    )
    refined = refiner.refine(estimated, images)
    return Trial(*(_measured(p.keypoints, repeated, neighbours, draws) for p in (estimated, refined)))


def _measured(keypoints: np.ndarray, truth: People, neighbours: Neighbours, draws: int) -> Poses:
    similarity = oks(keypoints, truth.keypoints, truth.labelled, truth.areas, truth.skeleton.sigmas)
    types, _ = classify(keypoints, truth, neighbours)
    distance = np.linalg.norm(keypoints.astype(np.float64) - truth.keypoints, axis=-1)
    offsets = np.where(truth.labelled, distance / truth.boxes[:, 2:].max(1, keepdims=True), np.nan)
    return Poses(*(values.reshape(-1, draws, *values.shape[1:]) for values in (keypoints, similarity, types, offsets)))


def interval(
    values: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the mean of values (N, D), drawn anew among the D of each person.

    It says how far the mean depends on which errors happened to be drawn on these N people, nothing about other people.
    """
    n, draws = values.shape
    chosen = rng.integers(draws, size=(resamples, n, draws))
    means = np.take_along_axis(np.broadcast_to(values, chosen.shape), chosen, axis=2).mean((1, 2))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
