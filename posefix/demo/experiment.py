"""Draw typical errors on people whose pose is known, refine them, and measure both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from posefix.core.people import People
from posefix.evaluation.diagnosis import KINDS
from posefix.evaluation.oks import oks
from synth import ErrorType, Statistics, classify, draw_scores, neighbours_of, synthesize


class RefinesPeople(Protocol):
    """Anything that makes better poses out of poses and images, as :class:`posefix.Refiner` does."""

    def refine(self, people: People, images: Mapping[int, np.ndarray], /) -> People: ...


class Poses(NamedTuple):
    """D poses of each of N people of K keypoints, and how good they are.

    Attributes:
        keypoints: (N, D, K, 2) float32 pixels.
        oks: (N, D) float64 in [0, 1].
        types: (N, D, K) int8 :class:`synth.ErrorType` of each keypoint.
    """

    keypoints: np.ndarray
    oks: np.ndarray
    types: np.ndarray


class Trial(NamedTuple):
    """The same draws before and after refinement."""

    before: Poses
    after: Poses

    def median_draws(self) -> np.ndarray:
        """(N,) the draw of each person whose change of OKS is the median of that person's draws: the typical one (of an
        even number, the lower of the middle two)."""
        order = np.argsort(self.after.oks - self.before.oks, axis=1, kind="stable")
        return order[:, (order.shape[1] - 1) // 2]

    def transitions(self) -> np.ndarray:
        """(5, 5) counts of keypoints by error type before (rows) and after (columns), in the order of ``KINDS``."""
        known = self.before.types != ErrorType.UNLABELLED
        counts = np.zeros((len(KINDS), len(KINDS)), np.int64)
        np.add.at(counts, (self.before.types[known], self.after.types[known]), 1)
        return counts


def erroneous(truth: People, statistics: Statistics, draws: int, rng: np.random.Generator) -> People:
    """Draw ``draws`` erroneous poses of each of N people, with confidences: N x draws people, each one's together.

    Keypoints that are not annotated get no estimate. Boxes and areas of the truth are not handed on.

    Args:
        truth: N annotated people.
        statistics: how often which error happens.
        draws: poses of each person.
        rng: source of the errors.
    """
    rows = np.repeat(np.arange(len(truth)), draws)
    neighbours = neighbours_of(truth).take(rows)
    drawn = synthesize(truth[rows], neighbours, statistics, rng, impute=0.0)
    _, similarity = classify(drawn.keypoints, truth[rows], neighbours)
    n = len(rows)
    return replace(
        truth[rows],
        keypoints=drawn.keypoints,
        scores=np.where(drawn.scores > 0, draw_scores(similarity, rng), 0),
        boxes=np.zeros((n, 4)),
        areas=np.zeros(n),
        person_scores=np.ones(n),
    )


def run_trial(
    truth: People,
    images: Mapping[int, np.ndarray],
    refiner: RefinesPeople,
    statistics: Statistics,
    draws: int,
    rng: np.random.Generator,
) -> Trial:
    """Draw erroneous poses (:func:`erroneous`), refine them all, and measure both.

    Args:
        truth: N annotated people.
        images: image id to (H, W, 3) uint8 RGB.
        refiner: what is tried.
        statistics: how often which error happens.
        draws: D, poses drawn of each person.
        rng: source of the errors.
    """
    estimated = erroneous(truth, statistics, draws, rng)
    refined = refiner.refine(estimated, images)
    return Trial(measure(estimated.keypoints, truth), measure(refined.keypoints, truth))


def measure(keypoints: np.ndarray, truth: People) -> Poses:
    """Measure D poses of each of N people, (N * D, K, 2) pixels, those of one person together."""
    draws = len(keypoints) // len(truth)
    rows = np.repeat(np.arange(len(truth)), draws)
    everyone = truth[rows]
    similarity = oks(keypoints, everyone.keypoints, everyone.labelled, everyone.areas, truth.skeleton.sigmas)
    types, _ = classify(keypoints, everyone, neighbours_of(truth).take(rows))
    return Poses(*(values.reshape(-1, draws, *values.shape[1:]) for values in (keypoints, similarity, types)))
