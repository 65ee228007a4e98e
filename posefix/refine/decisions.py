"""Decide which keypoints move.

For each view there are three proposals: the refined pose, the input pose as it is, and the pose that the network
estimates from the image alone. The one that is expected to pass most of COCO's OKS thresholds is taken as a whole; then
views with a low expected OKS are refined once more, and the better view of each person is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from posefix.engines import Engine
from posefix.models import decode
from posefix.models.interface import Evidence, InputPose, RefinementNetwork, take
from posefix.refine.rescoring import expected_oks

SECOND_VIEW_COST = 0.25  # expected OKS by which the view of the pose must be better than that of the person's box
PASS_BELOW = (0.85, 0.7)  # expected OKS below which a person is refined a second and a third time


class Proposal(NamedTuple):
    """Where the keypoints of V views would go."""

    keypoints: torch.Tensor  # (V, K, 2) pixels of the frame
    keypoint_scores: torch.Tensor  # (V, K) expected similarity to the truth times the probability of being in the image
    expected: torch.Tensor  # (V,) expected OKS after refinement
    passed: torch.Tensor  # (V,) share of COCO's OKS thresholds that the pose is expected to pass


@dataclass(frozen=True)
class Forward:
    """Runs the network on the crops of V views with any input pose, and decodes its output."""

    engine: Engine | RefinementNetwork  # locates keypoints
    evidence: Evidence  # what it computed of the crops
    margin: float  # expected gain in KS up to which a keypoint stays where it is

    def __call__(self, pose: InputPose) -> tuple[Proposal, Proposal | None]:
        """Propose where the keypoints go; and, if the network estimates how good the input pose is, to keep that.

        The second proposal places only those keypoints that have no estimate.
        """
        decoded, quality = self.engine.locate(self.evidence, pose)
        given = pose.scores > 0
        keypoints, similarity = decode.move_or_stay(decoded, pose.keypoints, given, self.margin)
        scores = similarity.nan_to_num(0)  # outside the crop nothing is known
        if quality is None:
            mean = expected_oks(similarity.cpu().numpy(), pose.scores.cpu().numpy())
            expected = torch.from_numpy(mean).to(similarity.device)
            return Proposal(keypoints, scores, expected, expected), None
        scores = scores * quality.presence
        stayed = torch.where(given[..., None], pose.keypoints, keypoints)
        stayed_scores = torch.where(given, quality.input_similarity * quality.presence, scores)
        passed = torch.where(given.any(1), quality.stay, -1)
        return (
            Proposal(keypoints, scores, quality.person, quality.move),
            Proposal(stayed, stayed_scores, quality.person, passed),
        )

    def of(self, rows: torch.Tensor) -> Forward:
        """The same for the views at ``rows``."""
        return Forward(self.engine, take(self.evidence, rows), self.margin)


def decide(forward: Forward, pose: InputPose, passes: int) -> Proposal:
    """Decide where the keypoints of V views go, in at most ``passes`` passes."""
    moved, stayed = forward(pose)
    if stayed is None:
        return further_passes(moved, forward, pose, PASS_BELOW[: passes - 1])
    alone, _ = forward(pose.without_estimates())
    chosen = most_passed([moved, stayed, alone])
    return further_passes(chosen, forward, pose, PASS_BELOW[: passes - 1], chosen.passed == stayed.passed)


def most_passed(proposals: Sequence[Proposal]) -> Proposal:
    """Choose for each view the proposal that is expected to pass most OKS thresholds, the first of equal ones."""
    choice = torch.stack([proposal.passed for proposal in proposals]).argmax(0)

    def chosen(options: Sequence[torch.Tensor]) -> torch.Tensor:
        index = choice.view(1, -1, *[1] * (options[0].dim() - 1))
        return torch.stack([*options]).gather(0, index.expand(1, *options[0].shape))[0]

    return Proposal(*(chosen(options) for options in zip(*proposals, strict=True)))


def further_passes(
    proposal: Proposal,
    forward: Forward,
    pose: InputPose,
    below: Sequence[float] = PASS_BELOW,
    kept: torch.Tensor | None = None,
) -> Proposal:
    """Refine once more the poses whose expected OKS is under a threshold, one pass for each of ``below``.

    Input poses that were kept, ``kept`` (V,) bool, stay kept. The expected OKS stays that of the first pass.
    """
    keypoints = proposal.keypoints.clone()
    expected = proposal.expected if kept is None else proposal.expected.masked_fill(kept, 1)
    for threshold in below:
        again = torch.nonzero(expected < threshold)[:, 0]
        if not len(again):
            break
        refined = take(pose, again)._replace(keypoints=keypoints[again])
        keypoints[again] = forward.of(again)(refined)[0].keypoints
    return proposal._replace(keypoints=keypoints)


def best_views(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Choose one view of each person, by the expected OKS.

    Args:
        rows: (V,) int64 person of each view; the views of one person follow each other.
        expected: (V,) expected OKS.

    Returns:
        (B,) int64 views, of B people in order.
    """
    first = np.diff(rows, prepend=-1) != 0
    worth = expected - SECOND_VIEW_COST * ~first
    order = np.lexsort((worth, np.cumsum(first)))
    best: np.ndarray = order[np.diff(rows, append=-1) != 0]  # the last, and best, of each person
    return best
