"""Decisions take what more is expected of, and leave alone what is good."""

from __future__ import annotations

import numpy as np
import torch

from posefix.models.interface import InputPose
from posefix.refine.decisions import Alternative, Proposal, best_views, choose_alternatives, further_passes

EXPECTED = torch.tensor([0.9, 0.8, 0.6, 0.3])


def pose() -> InputPose:
    n, k = len(EXPECTED), 3
    keypoints = torch.arange(n * k * 2, dtype=torch.float32).view(n, k, 2)
    return InputPose(keypoints, torch.ones(n, k), torch.ones(n, k), torch.zeros(n, 1, k, 2), torch.zeros(n, 1, k))


class Shift:
    """In place of a network: each pass moves every keypoint by a pixel."""

    def __init__(self, expected: torch.Tensor = EXPECTED) -> None:
        self.expected, self.asked = expected, []

    def __call__(self, given: InputPose) -> Proposal:
        self.asked.append(len(given.keypoints))
        return Proposal(given.keypoints + 1, given.scores, self.expected[: len(given.keypoints)])

    def of(self, rows: torch.Tensor) -> Shift:
        part = Shift(self.expected[rows])
        part.asked = self.asked
        return part


def passes_of(proposal: Proposal) -> list[float]:
    return (proposal.keypoints - pose().keypoints)[:, 0, 0].tolist()


def test_only_people_of_whom_little_is_expected_are_refined_again() -> None:
    forward = Shift()
    once = forward(pose())
    thrice = further_passes(once, forward, pose(), (0.85, 0.7))
    assert passes_of(thrice) == [1, 2, 3, 3]
    assert forward.asked == [4, 3, 2]
    torch.testing.assert_close(thrice.expected, EXPECTED)
    assert passes_of(further_passes(once, forward, pose(), (0.85,))) == [1, 2, 2, 2]
    assert passes_of(further_passes(once, forward, pose(), ())) == [1] * 4
    assert passes_of(further_passes(once, forward, pose(), (0.1, 0.1))) == [1] * 4
    assert passes_of(once) == [1] * 4


def test_an_alternative_is_taken_where_it_promises_more_than_it_costs() -> None:
    def forward(given: InputPose) -> Proposal:
        return Proposal(given.keypoints, given.scores, torch.where(given.scores[:, 0] > 0, EXPECTED, 0.75))

    alternatives = [Alternative(InputPose.without_estimates, 0.2)]
    chosen = choose_alternatives(forward(pose()), forward, pose(), alternatives)
    assert (chosen.keypoint_scores[:, 0] == 0).tolist() == [False, False, False, True]
    torch.testing.assert_close(chosen.expected, torch.tensor([0.9, 0.8, 0.6, 0.75]))


def test_of_two_views_the_second_must_be_much_better() -> None:
    rows = np.array([5, 3, 3, 1, 1, 2])
    expected = np.array([0.1, 0.5, 0.6, 0.5, 0.9, 0.2])
    assert best_views(rows, expected).tolist() == [0, 1, 4, 5]
    assert best_views(rows[:0], expected[:0]).tolist() == []
