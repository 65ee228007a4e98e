"""Which keypoints move: everything that is decided between the network's heatmaps and the answer.

A person moves as a whole or stays as a whole. Of what is proposed for V views (the refined pose, the input pose as it
is, the pose that is estimated from the image alone: :class:`Forward`, :func:`decide`) the one is taken that is expected
to pass most of COCO's OKS thresholds; then those of whom little is expected are refined once more
(:func:`further_passes`), and the better one of two views is taken (:func:`best_views`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from posefix.engines import Engine
from posefix.models import decode
from posefix.models.interface import Evidence, InputPose, take
from posefix.refine.rescoring import expected_oks

SECOND_VIEW_COST = 0.25  # expected OKS by which the place of a pose must be better than that of the person's box
IMAGE_ALONE_COST = 0.0  # share of OKS thresholds by which the image alone must promise more for a pose to be put aside
PASS_BELOW = (0.85, 0.7)  # expected OKS below which a person is refined a second and a third time


class Proposal(NamedTuple):
    """Where the keypoints of V views would go.

    Attributes:
        keypoints: (V, K, 2) pixels of the frame.
        keypoint_scores: (V, K) expected similarity to the truth times the probability of being in the image.
        expected: (V,) expected OKS after refinement.
        passed: (V,) share of COCO's OKS thresholds that the pose is expected to pass.
    """

    keypoints: torch.Tensor
    keypoint_scores: torch.Tensor
    expected: torch.Tensor
    passed: torch.Tensor


@dataclass(frozen=True)
class Forward:
    """Runs the network on the crops of V views with any input pose, and decodes its output.

    Attributes:
        engine: runs the network.
        evidence: what it computed of the crops.
        margin: expected gain in KS up to which a keypoint stays where it is.
    """

    engine: Engine
    evidence: Evidence
    margin: float

    def __call__(self, pose: InputPose) -> tuple[Proposal, Proposal | None]:
        """Propose where the keypoints go from an input pose; and, if the network tells how good that is, to stay.

        Who stays has only those keypoints placed that have no estimate.
        """
        output = self.engine.predict(self.evidence, pose)
        size = self.engine.network.config.frame_size
        decoded = decode.expected_oks_decode(output.posterior, pose.scales, size, pose.keypoints)
        keypoints, similarity = decode.move_or_stay(decoded, pose.keypoints, pose.scores > 0, self.margin)
        expected = output.person
        if expected is None:
            mean = expected_oks(similarity.cpu().numpy(), pose.scores.cpu().numpy())
            expected = torch.from_numpy(mean).to(similarity.device)
        scores = similarity.nan_to_num(0)  # outside the crop nothing is known
        if output.presence is None or output.stay is None or output.move is None or output.input_similarity is None:
            return Proposal(keypoints, scores, expected, expected), None
        scores = scores * output.presence
        given = pose.scores > 0
        stayed = torch.where(given[..., None], pose.keypoints, keypoints)
        stayed_scores = torch.where(given, output.input_similarity * output.presence, scores)
        passed = torch.where(given.any(1), output.stay, -torch.ones_like(output.stay))
        return Proposal(keypoints, scores, expected, output.move), Proposal(stayed, stayed_scores, expected, passed)

    def of(self, rows: torch.Tensor) -> Forward:
        """The same for the views at ``rows``."""
        return Forward(self.engine, take(self.evidence, rows), self.margin)


def decide(forward: Forward, pose: InputPose, passes: int) -> Proposal:
    """Decide where the keypoints of V views go; up to which view is taken of people who have two."""
    moved, stayed = forward(pose)
    if stayed is not None:
        alone, _ = forward(pose.without_estimates())
        moved = most_passed([moved, stayed, alone._replace(passed=alone.passed - IMAGE_ALONE_COST)])
    return further_passes(moved, forward, pose, PASS_BELOW[: passes - 1])


def most_passed(proposals: Sequence[Proposal]) -> Proposal:
    """Choose for each view the proposal that is expected to pass most OKS thresholds, the first of equal ones."""
    choice = torch.stack([proposal.passed for proposal in proposals]).argmax(0)
    rows = torch.arange(len(choice), device=choice.device)
    return Proposal(*(torch.stack(options)[choice, rows] for options in zip(*proposals, strict=True)))


def further_passes(
    proposal: Proposal, forward: Forward, pose: InputPose, below: Sequence[float] = PASS_BELOW
) -> Proposal:
    """Refine the refined pose once more where less is expected than ``below`` says, one pass for each number.

    What is expected stays what the first pass said.
    """
    keypoints = proposal.keypoints.clone()
    for least in below:
        again = torch.nonzero(proposal.expected < least)[:, 0]
        if not len(again):
            break
        refined = take(pose, again)._replace(keypoints=keypoints[again])
        keypoints[again] = forward.of(again)(refined)[0].keypoints
    return proposal._replace(keypoints=keypoints)


def best_views(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Choose one view of each person: the one of which more is expected.

    Args:
        rows: (V,) int64 person of each view; the views of one person follow each other.
        expected: (V,) expected OKS.

    Returns:
        (B,) int64 views, of B people in order.
    """
    first = np.diff(rows, prepend=-1) != 0
    worth = expected - SECOND_VIEW_COST * ~first
    order = np.lexsort((worth, np.cumsum(first)))
    return order[np.diff(rows, append=-1) != 0]  # the last, and best, of each person
