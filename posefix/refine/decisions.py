"""Decide which keypoints move.

Each view has three proposals: the refined pose, the input pose, and the pose estimated from the image alone. The
proposal expected to pass most of COCO's OKS thresholds wins as a whole; the input pose of a strong estimator has an
advantage. Views with a low expected OKS are then refined again, and the better view of each person is kept.
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

SECOND_VIEW_COST = 0.25  # expected OKS by which the view of the pose must exceed the view of the box
# Share of OKS thresholds by which another pose must exceed the input pose of a strong estimator. The best of several
# uncertain expectations tends to be overestimated, which costs more the fewer poses are wrong. The margin grows from 0
# to its maximum between these accuracies of the estimator.
STAY_MARGIN, MARGIN_ACCURACIES = 0.1, (0.6, 0.8)
PASS_BELOW = (0.85, 0.7)  # expected OKS below which a second and a third pass are run


class Proposal(NamedTuple):
    """Candidate poses of V views."""

    keypoints: torch.Tensor  # (V, K, 2) pixels of the frame
    keypoint_scores: torch.Tensor  # (V, K) expected KS times the probability that the keypoint is in the image
    expected: torch.Tensor  # (V,) expected OKS after refinement
    passed: torch.Tensor  # (V,) share of COCO's OKS thresholds that the pose is expected to pass


@dataclass(frozen=True)
class Forward:
    """Runs the network on the crops of V views with a given input pose, and decodes the output."""

    engine: Engine | RefinementNetwork
    evidence: Evidence  # encoded crops
    margin: float  # expected KS gain above which a keypoint moves

    def __call__(self, pose: InputPose) -> tuple[Proposal, Proposal | None]:
        """Propose the refined pose and, if the network estimates pose quality, the input pose.

        The second proposal moves only keypoints without an input estimate.
        """
        decoded, quality = self.engine.locate(self.evidence, pose)
        valid = pose.scores > 0
        keypoints, similarity = decode.move_or_stay(decoded, pose.keypoints, valid, self.margin)
        scores = similarity.nan_to_num(0)  # NaN outside the crop
        if quality is None:
            oks = expected_oks(similarity.cpu().numpy(), pose.scores.cpu().numpy())
            expected = torch.from_numpy(oks).to(similarity.device)
            return Proposal(keypoints, scores, expected, expected), None
        scores = scores * quality.presence
        stayed = torch.where(valid[..., None], pose.keypoints, keypoints)
        stayed_scores = torch.where(valid, quality.input_similarity * quality.presence, scores)
        passed = torch.where(valid.any(1), quality.stay, -1)
        return (
            Proposal(keypoints, scores, quality.person, quality.move),
            Proposal(stayed, stayed_scores, quality.person, passed),
        )

    def of(self, rows: torch.Tensor) -> Forward:
        """Restrict to the views at ``rows``."""
        return Forward(self.engine, take(self.evidence, rows), self.margin)


def decide(forward: Forward, pose: InputPose, passes: int) -> Proposal:
    """Choose the refined pose of V views, in at most ``passes`` passes."""
    refined, kept = forward(pose)
    if kept is None:
        return further_passes(refined, forward, pose, PASS_BELOW[: passes - 1])
    from_image, _ = forward(pose.without_estimates())
    kept = kept._replace(passed=kept.passed + stay_margin(pose.accuracy))
    best = most_passed([refined, kept, from_image])
    return further_passes(best, forward, pose, PASS_BELOW[: passes - 1], best.passed == kept.passed)


def stay_margin(accuracy: torch.Tensor) -> torch.Tensor:
    """Return the advantage (V,) of input poses by estimators of this accuracy (V,), in shares of OKS thresholds."""
    low, high = MARGIN_ACCURACIES
    return STAY_MARGIN * ((accuracy - low) / (high - low)).clamp(0, 1)


def most_passed(proposals: Sequence[Proposal]) -> Proposal:
    """Choose per view the proposal expected to pass most OKS thresholds; the first one wins ties."""
    best = torch.stack([proposal.passed for proposal in proposals]).argmax(0)

    def select(fields: Sequence[torch.Tensor]) -> torch.Tensor:
        index = best.view(1, -1, *[1] * (fields[0].dim() - 1))
        return torch.stack([*fields]).gather(0, index.expand(1, *fields[0].shape))[0]

    return Proposal(*(select(fields) for fields in zip(*proposals, strict=True)))


def further_passes(
    proposal: Proposal,
    forward: Forward,
    pose: InputPose,
    below: Sequence[float] = PASS_BELOW,
    kept: torch.Tensor | None = None,
) -> Proposal:
    """Refine again the poses whose expected OKS is below a threshold, one pass per threshold in ``below``.

    Kept input poses (``kept``, (V,) bool) are not refined again. The expected OKS remains that of the first pass.
    """
    keypoints = proposal.keypoints.clone()
    expected = proposal.expected if kept is None else proposal.expected.masked_fill(kept, 1)
    for threshold in below:
        rows = torch.nonzero(expected < threshold)[:, 0]
        if not len(rows):
            break
        input_pose = take(pose, rows)._replace(keypoints=keypoints[rows])
        keypoints[rows] = forward.of(rows)(input_pose)[0].keypoints
    return proposal._replace(keypoints=keypoints)


def best_views(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Choose the view with the best expected OKS of each person.

    Args:
        rows: (V,) int64 person of each view; views of one person are adjacent.
        expected: (V,) expected OKS.

    Returns:
        (B,) int64 indices of the chosen views, in the order of the B people.
    """
    first = np.diff(rows, prepend=-1) != 0
    score = expected - SECOND_VIEW_COST * ~first
    order = np.lexsort((score, np.cumsum(first)))
    best: np.ndarray = order[np.diff(rows, append=-1) != 0]  # the last view of each person scores best
    return best
