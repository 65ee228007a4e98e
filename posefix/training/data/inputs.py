"""Draw the input poses of training people, and those of their neighbours."""

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

CORRECT_WITHIN = 0.6  # OKS scales; maximum error of corrected keypoints
SMALLER_WITHIN = 3.0  # OKS scales; only smaller errors can be reduced, larger ones are corrected or stay
MIN_QUALITY = 1e-3  # lower bound of an estimator's quality
QUALITIES = 7  # number of qualities from 0 to 1 whose accuracy is measured in each batch
BOX_PROBABILITY, BOX_NOISE = 0.65, 0.05  # probability that a box is given; std of its errors relative to its size
OTHER_NOISE = 1.0  # OKS scales; maximum std of the errors of neighbours' keypoints
OTHER_MISSING, ALL_MISSING = 0.25, 0.2  # probability that one neighbour is missing, and that all are


class Inputs(NamedTuple):
    """Input poses of B people, in image pixels."""

    keypoints: np.ndarray  # (B, K, 2) float32
    scores: np.ndarray  # (B, K) float32
    accuracy: np.ndarray  # (B,) float32, mean share of OKS thresholds that the estimator's poses pass


class InputPoses:
    """Draws input poses for people of ground truth, in image pixels.

    Args:
        config: probabilities of errors.
        people: N people of ground truth, of all data sources.
        sources: (N,) int64 data source of each person.
        local: (N,) int64 row of each person in the source.
        observed: per source, real estimators' keypoints (R, n, K, 2) and scores (R, n, K), or None.

    Attributes:
        boxes: (N, 4) xywh, as annotated, or else the extent of the pose.
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
        self._statistics.probabilities(zero, zero, people.skeleton)  # raises for keypoints that are not covered

    def draw(self, rows: np.ndarray, rng: np.random.Generator, guesses: np.ndarray | None = None) -> Inputs:
        """Draw input poses of the people at ``rows``; ``guesses`` (B, K, 3) are the backbone's estimates, if any."""
        config, people = self._config, self._people[rows]
        keypoints, scores = self._synthesized(rows, rng)
        kind, file_choice = rng.random(len(rows)), rng.random(len(rows))
        for source, estimates in enumerate(self._observed):
            selected = np.flatnonzero((kind < config.observed) & (self._sources[rows] == source))
            if estimates is None or not len(selected):
                continue
            local = self._local[rows[selected]]
            file = (file_choice[selected] * len(estimates[0])).astype(int)
            has_pose = (estimates[1][file, local] > 0).any(1)
            selected, local, file = selected[has_pose], local[has_pose], file[has_pose]
            keypoints[selected], scores[selected] = estimates[0][file, local], estimates[1][file, local]
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
        """Correct some of the keypoints (B, K, 2), to imitate estimators of any quality.

        The quality, drawn for each person, is the mean share of keypoints that the estimator gets right; the share for
        one person is a power of a uniform number. For half of the people corrected keypoints have errors of up to
        ``CORRECT_WITHIN`` OKS scales, with one distance per person and one direction per keypoint; for the other half
        their errors are scaled down.

        Returns:
            keypoints (B, K, 2), and (B,) the mean share of OKS thresholds that poses of such an estimator pass, before
            keypoints are dropped or faces misplaced.
        """
        people = self._people[rows]
        n, k = people.scores.shape
        scales = people.skeleton.scales(np.maximum(people.areas, 1))
        angle, fraction = rng.uniform(0, 2 * np.pi, (n, k)), rng.random((n, 1))
        distance = np.maximum(rng.uniform(-0.5, 1, (n, 1)), 0) * CORRECT_WITHIN * scales
        offset = distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        error = keypoints - people.keypoints
        smaller = (rng.random((n, 1)) < 0.5) & (np.linalg.norm(error, axis=-1) < SMALLER_WITHIN * scales)
        person_uniform, keypoint_uniform = rng.random((n, 1)), rng.random((n, k))

        def improved(quality: np.ndarray) -> np.ndarray:
            remaining = np.where(smaller[..., None], (fraction * (1 - quality))[..., None] * error, offset)
            share = person_uniform ** (1 / np.maximum(quality, MIN_QUALITY) - 1)
            correct = people.labelled & (keypoint_uniform < share)
            return np.where(correct[..., None], people.keypoints + remaining, keypoints)

        def accuracy(quality: float) -> float:
            corrected = improved(np.full((n, 1), quality))
            values = oks(corrected, people.keypoints, people.labelled, people.areas, people.skeleton.sigmas)
            return float(thresholds_passed(values).mean())

        quality, grid = rng.random((n, 1)), np.linspace(0, 1, QUALITIES)
        accuracies: np.ndarray = np.interp(quality[:, 0], grid, [accuracy(q) for q in grid])
        return improved(quality), accuracies

    def scales(self, rows: np.ndarray) -> np.ndarray:
        """Compute OKS scales s k (B, K) from the annotated boxes, in image pixels."""
        return self._people.skeleton.scales(geometry.areas_of(self.boxes[rows]))

    def draw_boxes(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the input boxes (B, 4) xywh, zeros if missing, and the boxes (B, 4) that give people's sizes.

        An input box is the annotated one, with errors for half of the people. Without it, the size is that of the
        pose's extent, or of the annotated box if there is no pose.
        """
        n, annotated = len(rows), self.boxes[rows]
        noise = BOX_NOISE * rng.standard_normal((n, 4)) * (rng.random((n, 1)) < 0.5)
        size = annotated[:, 2:] * np.exp(noise[:, 2:])
        centre = annotated[:, :2] + annotated[:, 2:] * (0.5 + noise[:, :2])
        noisy = np.concatenate([centre - size / 2, size], axis=1)
        has_box = rng.random((n, 1)) < BOX_PROBABILITY
        extents = geometry.pose_boxes(keypoints, scores > 0)
        posed = ((scores > 0).sum(1) >= geometry.MIN_KEYPOINTS)[:, None]
        return np.where(has_box, noisy, 0.0), np.where(has_box | ~posed, noisy, extents)

    def others(
        self, rows: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw keypoints (B, M, K, 2) and scores (B, M, K) of the nearest neighbours, with errors and omissions.

        ``keypoints`` (B, K, 2) and ``scores`` (B, K) are the input poses of the people at ``rows``.
        """
        scales = self.scales(rows)
        other_keypoints, other_scores = self._others.nearest(rows, keypoints, scores > 0, scales, self.boxes[rows])
        noise = rng.standard_normal(other_keypoints.shape) * OTHER_NOISE * rng.random((len(rows), COUNT, 1, 1))
        missing = (rng.random((len(rows), COUNT)) < OTHER_MISSING) | (rng.random((len(rows), 1)) < ALL_MISSING)
        valid = (other_scores > 0) & ~missing[..., None]
        noisy = other_keypoints + noise * scales[:, None, :, None]
        return np.where(valid[..., None], noisy, 0).astype(np.float32), valid.astype(np.float32)

    def _synthesized(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        config, people = self._config, self._people[rows]
        neighbours = neighbours_of(self._people, rows, self._others)
        synthesized = synthesize(people, neighbours, self._statistics, rng, dropout=config.dropout, clean=config.clean)
        keypoints, scores = synthesized.keypoints, synthesized.scores
        if config.inverted:
            keypoints, scores = invert_limbs(keypoints, scores, people.skeleton, rng, config.inverted)
        if config.neighbour:
            pose = people.keypoints, people.labelled, self.scales(rows), self.boxes[rows]
            keypoints, scores = take_neighbours(
                keypoints, scores, *self._others.nearest(rows, *pose), rng, config.neighbour
            )
        if config.warped:
            keypoints = warp_poses(keypoints, scores > 0, people.areas, rng, config.warped)
        if config.scores:  # keypoints on another person are as confident
            _, similarity = classify(keypoints, people, neighbours)
            scores = np.where(scores > 0, draw_scores(np.where(people.labelled, similarity, 0), rng), 0)
        return keypoints, scores
