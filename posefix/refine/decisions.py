"""Which keypoints move: everything that is decided between the network's heatmaps and the answer.

Each step takes what the one before proposes for V views and proposes something better: decode the heatmaps
(:class:`Forward`), put the input pose aside where an alternative promises more (:func:`choose_alternatives`), refine
once more those of whom little is expected (:func:`further_passes`), take the better one of two views
(:func:`best_views`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from posefix.engines import Engine
from posefix.models import decode
from posefix.models.interface import Evidence, InputPose, take
from posefix.refine.rescoring import expected_oks

SECOND_VIEW_COST = 0.25  # expected OKS by which the place of a pose must be better than that of the person's box
PASS_BELOW = (0.85, 0.7)  # expected OKS below which a person is refined a second and a third time


class Proposal(NamedTuple):
    """Where the keypoints of V views would go.

    Attributes:
        keypoints: (V, K, 2) pixels of the frame.
        keypoint_scores: (V, K) expected similarity to the truth times the probability of being in the image.
        expected: (V,) expected OKS.
    """

    keypoints: torch.Tensor
    keypoint_scores: torch.Tensor
    expected: torch.Tensor

    def where(self, chosen: torch.Tensor, other: Proposal) -> Proposal:
        """This proposal where ``chosen`` (V,), the other elsewhere."""
        return Proposal(
            *(
                torch.where(chosen.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)
                for mine, theirs in zip(self, other, strict=True)
            )
        )


@dataclass(frozen=True)
class Alternative:
    """Another input pose that might be the better one to start from.

    Attributes:
        change: makes it from the input pose of V views.
        cost: expected OKS by which it must promise more to be taken.
    """

    change: Callable[[InputPose], InputPose]
    cost: float


ALTERNATIVES = (Alternative(InputPose.without_estimates, 0.1),)  # the image alone


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

    def __call__(self, pose: InputPose) -> Proposal:
        """Propose where the keypoints go from an input pose."""
        output = self.engine.predict(self.evidence, pose)
        size = self.engine.network.config.frame_size
        decoded = decode.expected_oks_decode(output.posterior, pose.scales, size, pose.keypoints)
        keypoints, similarity = decode.move_or_stay(decoded, pose.keypoints, pose.scores > 0, self.margin)
        expected = output.person
        if expected is None:
            mean = expected_oks(similarity.cpu().numpy(), pose.scores.cpu().numpy())
            expected = torch.from_numpy(mean).to(similarity.device)
        scores = similarity.nan_to_num(0)  # outside the crop nothing is known
        return Proposal(keypoints, scores if output.presence is None else scores * output.presence, expected)

    def of(self, rows: torch.Tensor) -> Forward:
        """The same for the views at ``rows``."""
        return Forward(self.engine, take(self.evidence, rows), self.margin)


def decide(forward: Forward, pose: InputPose, passes: int) -> Proposal:
    """Decide where the keypoints of V views go; up to which view is taken of people who have two."""
    proposal = forward(pose)
    if forward.engine.network.image_first:  # else each alternative costs as much as all of the work so far
        proposal = choose_alternatives(proposal, forward, pose)
    return further_passes(proposal, forward, pose, PASS_BELOW[: passes - 1])


def choose_alternatives(
    proposal: Proposal,
    forward: Callable[[InputPose], Proposal],
    pose: InputPose,
    alternatives: Sequence[Alternative] = ALTERNATIVES,
) -> Proposal:
    """Start from another input pose where much more is expected of it, view by view."""
    for alternative in alternatives:
        other = forward(alternative.change(pose))
        proposal = other.where(other.expected > proposal.expected + alternative.cost, proposal)
    return proposal


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
        keypoints[again] = forward.of(again)(refined).keypoints
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
