"""What can be measured of poses that an estimator found, or synthesis drew, for people whose true pose is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core.people import People
from synth.errors import Candidates, ErrorType
from synth.neighbours import Neighbours
from synth.places import anchors_in_reach, centres_of, unit

VISIBLE = ((0, 5), (6, 10), (11, None))  # annotated keypoints of a person, as in the published table
OVERLAPS = ((0, 0), (1, 2), (3, None))  # people whose boxes overlap with theirs


@dataclass(frozen=True, eq=False)
class Observation:
    """N people with K keypoints each.

    Attributes:
        truth: the people as annotated.
        types: (N, K) int8 :class:`synth.errors.ErrorType`.
        possible: (N, K, 5) bool: which types could have been, from GOOD on.
        distance: (N, K) float32 to the anchor of the type, in sqrt(2 s^2 k^2); NaN where there is no type.
        direction: (N, K, 2) float32 unit vectors from the anchor; 0 where there is none.
        inward: (N, K, 2) float32 unit vectors from the anchor to the person's centre.
        neighbour: (N, K) int64, whose keypoint a Swap is; -1 for the others.
        coincidence: (N, 2) float64: how probable it is that two Swaps go to the same neighbour if they are drawn apart,
            and if both go to one that was chosen for the person wherever they can.
        visible: (N,) int64 annotated keypoints.
        overlaps: (N,) int64.
        given: (N, K) bool, whether there is a keypoint at all: its score is above 0, as everywhere. One that was
            withheld has no type, wherever its coordinates are.
        scores: (N, K) float32 confidences, or None.
    """

    truth: People
    types: np.ndarray
    possible: np.ndarray
    distance: np.ndarray
    direction: np.ndarray
    inward: np.ndarray
    neighbour: np.ndarray
    coincidence: np.ndarray
    visible: np.ndarray
    overlaps: np.ndarray
    given: np.ndarray
    scores: np.ndarray | None = None

    @classmethod
    def of(
        cls, truth: People, keypoints: np.ndarray, neighbours: Neighbours, scores: np.ndarray | None = None
    ) -> Observation:
        """Measure found keypoints (N, K, 2), row by row those of ``truth``; ``scores`` (N, K) are their confidences."""
        keypoints = np.asarray(keypoints, np.float32)
        candidates = Candidates.of(truth, neighbours)
        decided, _ = candidates.decide(keypoints[..., 0], keypoints[..., 1])
        given = np.ones(decided.shape, bool) if scores is None else np.asarray(scores) > 0
        types = np.where(truth.labelled & given, decided, np.int8(ErrorType.UNLABELLED))
        anchors = anchors_in_reach(candidates, truth.areas)
        possible = np.ones((*types.shape, 5), bool)
        possible[..., ErrorType.INVERSION] = anchors[1]
        possible[..., ErrorType.SWAP] = anchors[2:].any(0)
        np.put_along_axis(possible, np.maximum(types, 0)[..., None].astype(int), True, axis=-1)

        offsets = np.stack([keypoints[..., 0] - candidates.x, keypoints[..., 1] - candidates.y], axis=-1)
        with np.errstate(invalid="ignore", over="ignore"):
            exponents = (offsets**2).sum(-1) * candidates.inverse_scale
        nearest = 2 + exponents[2:].argmin(0) if len(exponents) > 2 else np.zeros(types.shape, int)
        anchor = np.zeros(types.shape, int)
        anchor[types == ErrorType.INVERSION] = 1
        anchor = np.where(types == ErrorType.SWAP, nearest, anchor)[None]
        known = types >= 0
        exponent = np.take_along_axis(exponents, anchor, 0)[0]
        offset = np.take_along_axis(offsets, anchor[..., None], 0)[0]
        x, y = (np.take_along_axis(v, anchor, 0)[0] for v in (candidates.x, candidates.y))
        place = np.where(known[..., None], np.stack([x, y], -1), 0)
        m = max((len(candidates.x) - 2) // 2, 1)
        return cls(
            truth=truth,
            types=types,
            possible=possible,
            distance=np.where(known, np.sqrt(np.where(known, exponent, 0)), np.nan).astype(np.float32),
            direction=unit(np.where(known[..., None], offset, 0)),
            inward=unit((centres_of(truth)[:, None] - place) * known[..., None]),
            neighbour=np.where(types == ErrorType.SWAP, (anchor[0] - 2) % m, -1),
            coincidence=_coincidence(anchors[2:]),
            visible=truth.labelled.sum(1),
            overlaps=neighbours.overlaps,
            given=given,
            scores=None if scores is None else np.asarray(scores, np.float32),
        )

    def cells(self) -> np.ndarray:
        """(N,) int64 condition of each person: the place in ``VISIBLE`` times three and that in ``OVERLAPS``."""
        row = np.searchsorted([low for low, _ in VISIBLE], self.visible, "right") - 1
        return len(OVERLAPS) * row + np.searchsorted([low for low, _ in OVERLAPS], self.overlaps, "right") - 1

    def cosine(self) -> np.ndarray:
        """(N, K) float32 of the angle between a keypoint's direction and inward; NaN where there is none."""
        has = (self.direction != 0).any(-1) & (self.inward != 0).any(-1)
        return np.where(has, (self.direction * self.inward).sum(-1), np.nan)


def _coincidence(anchors: np.ndarray) -> np.ndarray:
    """(N, 2) from the anchors (2M, N, K) of M neighbours in reach; 1 where there are none."""
    m, n = len(anchors) // 2, anchors.shape[1]
    if not m:
        return np.ones((n, 2))
    reached = anchors.reshape(2, m, n, -1).any(0)
    weights = reached.sum(-1).astype(np.float64)
    total, swappable = weights.sum(0), reached.any(0).sum(-1)
    shares = weights / np.maximum(total, 1)
    apart = (shares**2).sum(0)
    chosen = weights / np.maximum(swappable, 1)
    together = (shares * (chosen**2 + (1 - chosen) ** 2 * apart)).sum(0)
    return np.where(total[:, None] > 0, np.stack([apart, together], axis=1), 1.0)
