"""Plan batches of people, and collect their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from posefix.core.people import People
from posefix.models.config import ModelConfig
from posefix.refine.rescoring import rescored, was_rescored
from posefix.refine.settings import RefineSettings
from posefix.refine.views import Views

BLOCK = 4096  # people planned at a time; bounds the memory of temporary arrays
MIN_SCORE = 1e-4  # lower bound of keypoint scores; 0 would mean "no estimate"


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """People to refine, sorted by image and split into batches; people refined before are left out.

    The plan depends only on the people, the network and the batch size, so a run can resume at any batch.
    """

    views: Views  # of all people to refine, in order
    starts: np.ndarray  # (B + 1,) int64 first view of each batch, then the number of views
    sizes: np.ndarray  # (B,) int64 people in each batch

    @classmethod
    def of(cls, people: People, config: ModelConfig, batch_size: int) -> BatchPlan:
        """Plan the batches of people with the network's skeleton."""
        pending = np.flatnonzero(~was_rescored(people))
        order = pending[np.argsort(people.image_ids[pending], kind="stable")]
        blocks = [order[i : i + BLOCK] for i in range(0, max(len(order), 1), BLOCK)]
        views = Views.joined([Views.of(people, rows, config.frame_size, config.box_padding) for rows in blocks])
        first = np.flatnonzero(np.diff(views.rows, prepend=-1))  # first view of each person
        starts = np.append(first[::batch_size], len(views))
        sizes = np.diff(np.append(np.arange(0, len(first), batch_size), len(first)))
        return cls(views, starts, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Views]:
        """Iterate over the views of each batch."""
        return (self.views.take(slice(*self.starts[i : i + 2])) for i in range(len(self)))

    def part(self, first: int, end: int | None = None) -> BatchPlan:
        """Return the plan of batches ``first`` to ``end`` (exclusive; by default all the rest)."""
        sizes = self.sizes[first:end]
        starts = self.starts[first : first + len(sizes) + 1]
        return BatchPlan(self.views.take(slice(starts[0], starts[-1])), starts - starts[0], sizes)

    @property
    def people(self) -> int:
        """Number of people to refine."""
        return int(self.sizes.sum())

    @property
    def contradicted_boxes(self) -> int:
        """Number of people whose box is away from their pose, or far larger than it."""
        return len(np.unique(self.views.rows[self.views.contradicted]))


@dataclass(frozen=True, eq=False)
class RefinedBatch:
    """Result of one batch."""

    rows: np.ndarray  # (B,) int64 indices of the refined people in the input
    keypoints: np.ndarray  # (B, K, 2) float32, pixels of the original image
    expected: np.ndarray  # (B,) float32 expected OKS of the first pass: networks overrate poses they refined themselves
    keypoint_scores: np.ndarray  # (B, K) float32 expected KS times the probability that the keypoint is in the image
    problems: list[tuple[int, str]]  # (row, message) of people whose image could not be used

    @property
    def people(self) -> int:
        """Number of people processed, refined or not."""
        return len(self.rows) + len(self.problems)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Results collected for N people: arrays as in :class:`RefinedBatch`, in input order."""

    keypoints: np.ndarray  # input keypoints where not refined
    expected: np.ndarray  # NaN where not refined
    keypoint_scores: np.ndarray  # NaN where not refined
    problems: list[str]  # one message per person whose image could not be used

    @classmethod
    def of(cls, people: People, batches: Iterable[RefinedBatch] = ()) -> Refinement:
        """Collect the results of batches; more can be added."""
        expected, scores = (np.full(shape, np.nan, np.float32) for shape in (len(people), people.scores.shape))
        refinement = cls(people.keypoints.copy(), expected, scores, [])
        for batch in batches:
            refinement.add(batch)
        return refinement

    def add(self, batch: RefinedBatch) -> None:
        """Add the result of a batch."""
        self.keypoints[batch.rows], self.expected[batch.rows] = batch.keypoints, batch.expected
        self.keypoint_scores[batch.rows] = batch.keypoint_scores
        self.problems.extend(text for _, text in batch.problems)

    def apply(self, people: People, settings: RefineSettings) -> People:
        """Return people with refined keypoints and, depending on the settings, new person and keypoint scores.

        Keypoints without an input estimate always get scores, since 0 would mean "no estimate".
        """
        scored = np.isfinite(self.keypoint_scores) & (settings.keypoint_scores | ~people.labelled)
        scores = np.where(scored, np.maximum(self.keypoint_scores, MIN_SCORE), people.scores)
        refined = people.with_keypoints(self.keypoints, scores)
        return rescored(refined, self.expected) if settings.rescore else refined
