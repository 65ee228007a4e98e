"""Plan batches of people, and collect their results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from posefix.core.people import People
from posefix.models.config import ModelConfig
from posefix.refine.rescoring import rescored, was_rescored
from posefix.refine.settings import RefineSettings
from posefix.refine.views import Views

BLOCK = 4096  # people planned at a time, so that little memory is needed in between
LEAST_SCORE = 1e-4  # of a keypoint: 0 would say that there is none


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The people who are to be refined, in batches: image by image, without those who were refined before.

    It depends on the people, the network and the batch size alone, so that a run can be continued at any batch.
    """

    views: Views  # of all these people, in order
    starts: np.ndarray  # (B + 1,) int64 first view of each batch, and the end of the last
    sizes: np.ndarray  # (B,) int64 people in each batch

    @classmethod
    def of(cls, people: People, config: ModelConfig, batch_size: int) -> BatchPlan:
        """Plan the work on people of the network's skeleton."""
        new = np.flatnonzero(~was_rescored(people))
        order = new[np.argsort(people.image_ids[new], kind="stable")]
        blocks = [order[i : i + BLOCK] for i in range(0, max(len(order), 1), BLOCK)]
        views = Views.joined([Views.of(people, rows, config.frame_size, config.box_padding) for rows in blocks])
        first = np.flatnonzero(np.diff(views.rows, prepend=-1))  # view of each person
        starts = np.append(first[::batch_size], len(views))
        sizes = np.diff(np.append(np.arange(0, len(first), batch_size), len(first)))
        return cls(views, starts, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Views]:
        """The views of one batch after another."""
        return (self.views.take(slice(*self.starts[i : i + 2])) for i in range(len(self)))

    def part(self, first: int, end: int | None = None) -> BatchPlan:
        """The plan of the batches from ``first`` on, to the last or to before ``end``."""
        sizes = self.sizes[first:end]
        starts = self.starts[first : first + len(sizes) + 1]
        return BatchPlan(self.views.take(slice(starts[0], starts[-1])), starts - starts[0], sizes)

    @property
    def people(self) -> int:
        """How many people are to be refined."""
        return int(self.sizes.sum())

    @property
    def contradicted_boxes(self) -> int:
        """How many of them have a box that is not where their pose is, or far larger."""
        return len(np.unique(self.views.rows[self.views.contradicted]))


@dataclass(frozen=True, eq=False)
class RefinedBatch:
    """The result for one batch of people."""

    rows: np.ndarray  # (B,) int64 positions, in the people that were given, of those who were refined
    keypoints: np.ndarray  # (B, K, 2) float32, pixels of the original image
    expected: np.ndarray  # (B,) float32 expected OKS, from the first pass: networks overrate what they have refined
    # (B, K) float32 expected similarity of each keypoint to the truth times the probability that it is in the image
    keypoint_scores: np.ndarray
    problems: list[tuple[int, str]]  # (row, sentence) of each other person: why the image could not be used

    @property
    def people(self) -> int:
        """How many people are done, refined or not."""
        return len(self.rows) + len(self.problems)


@dataclass(frozen=True, eq=False)
class Refinement:
    """The results for N people so far: arrays as in :class:`RefinedBatch`, in the order of the people."""

    keypoints: np.ndarray  # the input's for people who are not refined
    expected: np.ndarray  # NaN for people who are not refined, like ``keypoint_scores``
    keypoint_scores: np.ndarray
    problems: list[str]  # a sentence for each person whose image could not be used

    @classmethod
    def of(cls, people: People) -> Refinement:
        """Begin with unrefined people."""
        expected, scores = (np.full(shape, np.nan, np.float32) for shape in (len(people), people.scores.shape))
        return cls(people.keypoints.copy(), expected, scores, [])

    def add(self, batch: RefinedBatch) -> None:
        """Add the result of a batch."""
        self.keypoints[batch.rows], self.expected[batch.rows] = batch.keypoints, batch.expected
        self.keypoint_scores[batch.rows] = batch.keypoint_scores
        self.problems.extend(text for _, text in batch.problems)

    def apply(self, people: People, settings: RefineSettings) -> People:
        """Give the people their refined keypoints and, as the settings say, new scores of people and of keypoints.

        Keypoints of people who had a box and no pose always get scores: 0 would say that there are none.
        """
        scored = np.isfinite(self.keypoint_scores) & (settings.keypoint_scores | ~people.labelled.any(1, keepdims=True))
        scores = np.where(scored, np.maximum(self.keypoint_scores, LEAST_SCORE), people.scores)
        refined = people.with_keypoints(self.keypoints, scores)
        return rescored(refined, self.expected) if settings.rescore else refined
