"""Decisions take what more is expected of, and leave alone what is good."""

from __future__ import annotations

import numpy as np
import torch

from posefix.models.interface import InputPose
from posefix.refine.decisions import Proposal, best_views, decide, further_passes, most_passed

EXPECTED = torch.tensor([0.9, 0.8, 0.6, 0.3])


def pose() -> InputPose:
    n, k = len(EXPECTED), 3
    keypoints = torch.arange(n * k * 2, dtype=torch.float32).view(n, k, 2)
    others = torch.zeros(n, 1, k, 2), torch.zeros(n, 1, k)
    return InputPose(keypoints, torch.ones(n, k), torch.ones(n, k), *others, torch.zeros(n, 4), torch.zeros(n))


class Shift:
    """In place of a network: each pass moves every keypoint by a pixel."""

    def __init__(self, expected: torch.Tensor = EXPECTED) -> None:
        self.expected, self.asked = expected, []

    def __call__(self, given: InputPose) -> tuple[Proposal, None]:
        self.asked.append(len(given.keypoints))
        expected = self.expected[: len(given.keypoints)]
        return Proposal(given.keypoints + 1, given.scores, expected, expected), None

    def of(self, rows: torch.Tensor) -> Shift:
        part = Shift(self.expected[rows])
        part.asked = self.asked
        return part


def passes_of(proposal: Proposal) -> list[float]:
    return (proposal.keypoints - pose().keypoints)[:, 0, 0].tolist()


def test_only_people_of_whom_little_is_expected_are_refined_again() -> None:
    forward = Shift()
    once, _ = forward(pose())
    thrice = further_passes(once, forward, pose(), (0.85, 0.7))
    assert passes_of(thrice) == [1, 2, 3, 3]
    assert forward.asked == [4, 3, 2]
    torch.testing.assert_close(thrice.expected, EXPECTED)
    assert passes_of(further_passes(once, forward, pose(), (0.85,))) == [1, 2, 2, 2]
    assert passes_of(further_passes(once, forward, pose(), ())) == [1] * 4
    assert passes_of(further_passes(once, forward, pose(), (0.1, 0.1))) == [1] * 4
    assert passes_of(once) == [1] * 4
    kept = torch.tensor([False, False, True, False])
    assert passes_of(further_passes(once, forward, pose(), (0.85, 0.7), kept)) == [1, 2, 1, 3]


def test_a_whole_person_is_taken_from_the_proposal_that_promises_most() -> None:
    def proposal(shift: float, passed: list[float]) -> Proposal:
        return Proposal(pose().keypoints + shift, pose().scores, EXPECTED + shift, torch.tensor(passed))

    chosen = most_passed(
        [proposal(1, [0.5, 0.5, 0.5, 0.1]), proposal(2, [0.4, 0.6, 0.5, 0.1]), proposal(3, [0, 0, 0.7, 0])]
    )
    assert passes_of(chosen) == [1, 2, 3, 1]
    assert (chosen.keypoints == chosen.keypoints[:, :1] + pose().keypoints - pose().keypoints[:, :1]).all()
    torch.testing.assert_close(chosen.expected, EXPECTED + torch.tensor([1.0, 2, 3, 1]))


def test_a_strong_estimators_pose_stays_unless_another_promises_much_more() -> None:
    passed = torch.tensor([0.75, 0.75, 0.95, -1])  # of the refined poses; -1 of the input: there is none

    def forward(given: InputPose) -> tuple[Proposal, Proposal]:
        refined = Proposal(given.keypoints + 1, given.scores, EXPECTED, passed.clamp(min=0))
        return refined, Proposal(given.keypoints, given.scores, EXPECTED, torch.tensor([0.7, 0.7, 0.7, -1]))

    accuracies = torch.tensor([0.55, 0.9, 0.9, 1.0])
    assert passes_of(decide(forward, pose()._replace(accuracy=accuracies), passes=1)) == [1, 0, 1, 1]


def test_of_two_views_the_second_must_be_much_better() -> None:
    rows = np.array([5, 3, 3, 1, 1, 2])
    expected = np.array([0.1, 0.5, 0.6, 0.5, 0.9, 0.2])
    assert best_views(rows, expected).tolist() == [0, 1, 4, 5]
    assert best_views(rows[:0], expected[:0]).tolist() == []
