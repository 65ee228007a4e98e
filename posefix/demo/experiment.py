"""Draw typical errors on people whose pose is known, and measure poses of theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from posefix.core.people import People
from posefix.evaluation.matching import oks
from synth import Statistics, classify, draw_scores, neighbours_of, synthesize


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


def measure(keypoints: np.ndarray, truth: People) -> Poses:
    """Measure D poses of each of N people, (N * D, K, 2) pixels, those of one person together."""
    draws = len(keypoints) // len(truth)
    rows = np.repeat(np.arange(len(truth)), draws)
    everyone = truth[rows]
    similarity = oks(keypoints, everyone.keypoints, everyone.labelled, everyone.areas, truth.skeleton.sigmas)
    types, _ = classify(keypoints, everyone, neighbours_of(truth).take(rows))
    return Poses(*(values.reshape(-1, draws, *values.shape[1:]) for values in (keypoints, similarity, types)))


def median_draws(before: Poses, after: Poses) -> np.ndarray:
    """(N,) the draw of each person whose change of OKS is the median of that person's draws: the typical one.

    Of an even number of draws it is the lower of the middle two.
    """
    order = np.argsort(after.oks - before.oks, axis=1, kind="stable")
    return order[:, (order.shape[1] - 1) // 2]
