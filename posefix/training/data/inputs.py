"""Draw the input poses of training people, as an estimator might have found them, and those of the people near them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from posefix.core import geometry
from posefix.core.neighbours import COUNT, OtherPeople
from posefix.core.people import People
from posefix.evaluation.matching import keypoint_similarity, oks, thresholds_passed
from posefix.refine.settings import ESTIMATOR_AP
from posefix.training.config import SynthesisConfig
from synth import (
    Statistics,
    claim_certainty,
    classify,
    draw_scores,
    invert_limbs,
    neighbours_of,
    place_faces,
    synthesize,
    take_neighbours,
    warp_poses,
)

RIGHT_WITHIN = 0.6  # OKS scales, at most, that right keypoints are off
SMALLER_WITHIN = 3.0  # OKS scales; errors up to this can become smaller, larger ones are gone or stay
LEAST_QUALITY = 1e-3  # of estimators, whose quality lower ones count as
QUALITIES = 7  # from the worst to the best, whose accuracy is measured in each batch
BOX_TOLD, BOX_NOISE = 0.65, 0.05  # probability that a box comes with a pose; its errors, in its sizes
LEAST_POSED = 3  # keypoints, from which on a pose has an extent
OTHER_NOISE = 1.0  # OKS scales, at most, that other people's keypoints are off
OTHER_MISSING, ALL_MISSING = 0.25, 0.2  # probability that one neighbour was not found, and that none was


class Inputs(NamedTuple):
    """Input poses of B people, in pixels of their original images."""

    keypoints: np.ndarray  # (B, K, 2) float32
    scores: np.ndarray  # (B, K) float32
    accuracy: np.ndarray  # (B,) float32, share of OKS thresholds that the estimator's people pass on average


class InputPoses:
    """Draws input poses for people of ground truth, in pixels of their original images.

    Args:
        config: what is drawn how often.
        people: N people of ground truth, of all sources.
        sources: (N,) int64 data source of each, and ``local`` (N,) int64 row in it.
        observed: per source, real estimators' keypoints (R, n, K, 2) and scores (R, n, K), or None.

    Attributes:
        boxes: (N, 4) xywh, as annotated, or the extent of the pose where no box is annotated.
    """

    def __init__(
        self,
        config: SynthesisConfig,
        people: People,
        sources: np.ndarray,
        local: np.ndarray,
        observed: Sequence[tuple[np.ndarray, np.ndarray] | None],
    ) -> None:
        self._config, self._people, self._sources, self._local = config, people, sources, local
        self._observed = observed
        self.boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
        self._others = OtherPeople(people)
        self._statistics = Statistics.load(config.statistics)
        zero = np.zeros(1, int)
        self._statistics.probabilities(zero, zero, people.skeleton)  # raises for keypoints that they do not cover

    def draw(self, rows: np.ndarray, rng: np.random.Generator, guesses: np.ndarray | None = None) -> Inputs:
        """Draw the input poses of the people at ``rows``.

        ``guesses`` (B, K, 3) are what the network's backbone finds, if it was asked.
        """
        config, people = self._config, self._people[rows]
        keypoints, scores = self._synthesized(rows, rng)
        kind, which = rng.random(len(rows)), rng.random(len(rows))
        for source, found in enumerate(self._observed):
            chosen = np.flatnonzero((kind < config.observed) & (self._sources[rows] == source))
            if found is None or not len(chosen):
                continue
            local = self._local[rows[chosen]]
            result = (which[chosen] * len(found[0])).astype(int)
            there = (found[1][result, local] > 0).any(1)
            chosen, local, result = chosen[there], local[there], result[there]
            keypoints[chosen], scores[chosen] = found[0][result, local], found[1][result, local]
        if guesses is not None:
            guessed = (kind >= config.observed) & (kind < config.observed + config.guessed)
            keypoints[guessed], scores[guessed] = guesses[guessed, :, :2], guesses[guessed, :, 2]
        accuracy = np.full(len(rows), ESTIMATOR_AP / 100)
        if config.improved:
            keypoints, accuracy = self._improved(rows, keypoints, rng)
        if config.placeholder:
            scales = self.scales(rows)
            keypoints, scores = place_faces(keypoints, scores, scales, self._people.skeleton, rng, config.placeholder)
        if config.scores:
            similarity = keypoint_similarity(keypoints, people.keypoints, people.areas, people.skeleton.sigmas)
            scores = claim_certainty(similarity, scores, people.labelled, rng)
        scores[rng.random(len(rows)) < config.empty] = 0
        keypoints[scores <= 0] = 0
        return Inputs(keypoints.astype(np.float32), scores.astype(np.float32), accuracy.astype(np.float32))

    def _improved(
        self, rows: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put keypoints (B, K, 2) at their truth or near it, as many as estimators of other quality would.

        The quality, drawn for each person, is the share of the keypoints that the estimator puts right, on average over
        people: of a person it is a power of a uniform number. In half of the people right keypoints are off by at
        most ``RIGHT_WITHIN`` OKS scales, the distance drawn for the person and the direction for each keypoint; in the
        other half they are off by a part of what they were off before.

        Returns:
            keypoints (B, K, 2), and (B,) the share of OKS thresholds that people of such an estimator pass on average,
            before keypoints are withheld or faces misplaced.
        """
        people = self._people[rows]
        n, k = people.scores.shape
        scales = people.skeleton.scales(np.maximum(people.areas, 1))
        angle, part = rng.uniform(0, 2 * np.pi, (n, k)), rng.random((n, 1))
        distance = np.maximum(rng.uniform(-0.5, 1, (n, 1)), 0) * RIGHT_WITHIN * scales
        near = distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        error = keypoints - people.keypoints
        smaller = (rng.random((n, 1)) < 0.5) & (np.linalg.norm(error, axis=-1) < SMALLER_WITHIN * scales)
        chance, spot = rng.random((n, 1)), rng.random((n, k))

        def improved(quality: np.ndarray) -> np.ndarray:
            left = np.where(smaller[..., None], (part * (1 - quality))[..., None] * error, near)
            share = chance ** (1 / np.maximum(quality, LEAST_QUALITY) - 1)
            right = people.labelled & (spot < share)
            return np.where(right[..., None], people.keypoints + left, keypoints)

        def accuracy(quality: float) -> float:
            found = improved(np.full((n, 1), quality))
            reached = oks(found, people.keypoints, people.labelled, people.areas, people.skeleton.sigmas)
            return float(thresholds_passed(reached).mean())

        quality, grid = rng.random((n, 1)), np.linspace(0, 1, QUALITIES)
        accuracies: np.ndarray = np.interp(quality[:, 0], grid, [accuracy(q) for q in grid])
        return improved(quality), accuracies

    def scales(self, rows: np.ndarray) -> np.ndarray:
        """(B, K) OKS scales s k as the annotated boxes tell, in original pixels."""
        return self._people.skeleton.scales(geometry.areas_of(self.boxes[rows]))

    def told_boxes(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (B, 4) xywh that come with input poses, zeros for those without; and what people's sizes are told by.

        A box is the annotated one, in half of the people a little wrong, as detectors' are. Without a box the pose's
        extent tells the size, or for want of a pose the annotated box.
        """
        n, annotated = len(rows), self.boxes[rows]
        noise = BOX_NOISE * rng.standard_normal((n, 4)) * (rng.random((n, 1)) < 0.5)
        size = annotated[:, 2:] * np.exp(noise[:, 2:])
        middle = annotated[:, :2] + annotated[:, 2:] * (0.5 + noise[:, :2])
        given = np.concatenate([middle - size / 2, size], axis=1)
        told = rng.random((n, 1)) < BOX_TOLD
        extents = geometry.pose_boxes(keypoints, scores > 0)
        posed = ((scores > 0).sum(1) >= LEAST_POSED)[:, None]
        return np.where(told, given, 0.0), np.where(told | ~posed, given, extents)

    def others(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (B, M, K, 2) and scores (B, M, K) of the others nearest to input poses, as estimators find them.

        ``keypoints`` (B, K, 2) and ``scores`` (B, K) are the input poses of the people at ``rows``.
        """
        scales = self.scales(rows)
        theirs, given = self._others.nearest(rows, keypoints, scores > 0, scales, self.boxes[rows])
        noise = rng.standard_normal(theirs.shape) * OTHER_NOISE * rng.random((len(rows), COUNT, 1, 1))
        missing = (rng.random((len(rows), COUNT)) < OTHER_MISSING) | (rng.random((len(rows), 1)) < ALL_MISSING)
        found = (given > 0) & ~missing[..., None]
        moved = theirs + noise * scales[:, None, :, None]
        return np.where(found[..., None], moved, 0).astype(np.float32), found.astype(np.float32)

    def _synthesized(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        config, people = self._config, self._people[rows]
        neighbours = neighbours_of(self._people, rows, self._others)
        drawn = synthesize(people, neighbours, self._statistics, rng, dropout=config.dropout, clean=config.clean)
        keypoints, scores = drawn.keypoints, drawn.scores
        if config.inverted:
            keypoints, scores = invert_limbs(keypoints, scores, people.skeleton, rng, config.inverted)
        if config.neighbour:
            pose = people.keypoints, people.labelled, self.scales(rows), self.boxes[rows]
            keypoints, scores = take_neighbours(
                keypoints, scores, *self._others.nearest(rows, *pose), rng, config.neighbour
            )
        if config.warped:
            keypoints = warp_poses(keypoints, scores > 0, people.areas, rng, config.warped)
        if config.scores:  # an estimator is as sure of a keypoint that is on another person
            _, similarity = classify(keypoints, people, neighbours)
            scores = np.where(scores > 0, draw_scores(np.where(people.labelled, similarity, 0), rng), 0)
        return keypoints, scores
