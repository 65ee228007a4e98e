"""The losses count what is annotated and inside, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from posefix.models.fusion import FusionOutput
from posefix.models.interface import InputPose, Quality
from posefix.models.losses import fusion_losses, refinement_losses

CROP, MAP = (64, 48), (16, 12)


def test_a_uniform_map_costs_the_logarithm_of_its_pixels() -> None:
    cross_entropy, _ = refinement_losses(
        torch.zeros(2, 3, *MAP), torch.full((2, 3, 2), 20.0), torch.ones(2, 3, dtype=torch.bool), CROP
    )
    assert cross_entropy.item() == pytest.approx(math.log(MAP[0] * MAP[1]), rel=1e-5)


def test_a_map_that_points_at_the_target_costs_no_distance() -> None:
    logits = torch.full((1, 1, *MAP), -50.0)
    logits[0, 0, 5, 7] = 50.0
    target = torch.tensor([[[7 * 47 / 11, 5 * 63 / 15]]])
    cross_entropy, coordinate = refinement_losses(logits, target, torch.ones(1, 1, dtype=torch.bool), CROP)
    assert cross_entropy.item() < 1e-3
    assert coordinate.item() < 1e-4


def test_keypoints_without_annotation_or_outside_the_crop_have_no_gradient() -> None:
    logits = torch.randn(2, 3, *MAP, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.full((2, 3, 2), 20.0)
    target[1, 1] = torch.tensor([-3.0, 20.0])
    labelled = torch.tensor([[True, False, True], [True, True, False]])
    sum(refinement_losses(logits, target, labelled, CROP)).backward()
    counted = logits.grad.flatten(2).abs().sum(2) > 0
    assert counted.tolist() == [[True, False, True], [True, False, False]]


def test_a_batch_in_which_nothing_is_annotated_costs_nothing() -> None:
    losses = refinement_losses(torch.randn(1, 2, *MAP), torch.zeros(1, 2, 2), torch.zeros(1, 2, dtype=torch.bool), CROP)
    assert [loss.item() for loss in losses] == [0.0, 0.0]


def test_a_fusion_head_learns_what_staying_and_moving_reach() -> None:
    """The posterior points at the truth; the input of the first person is there, too, that of the second far off."""
    truth = torch.tensor([[[20.0, 12.0], [32.0, 40.0]]]).expand(2, -1, -1)
    offset = torch.tensor([0.0, -12.0])[:, None, None]
    log_posterior = torch.full((2, 2, *MAP), -60.0)
    log_posterior[:, 0, 3, 5] = log_posterior[:, 1, 10, 8] = 0.0
    ones = torch.ones(2, 2)
    nothing = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2), torch.zeros(2, 4), torch.zeros(2)
    pose = InputPose(truth + offset, ones, 4 * ones, *nothing)
    seen = {"target": truth, "target_scales": 4 * ones, "labelled": ones.bool(), "annotated": ones.bool()}

    def losses(stay: list[float], move: list[float]) -> dict[str, float]:
        sure = torch.full((2, 2), 20.0)
        quality = Quality(
            sure, sure[:, 0], torch.tensor(stay), torch.tensor(move), torch.tensor([[20.0], [-20]]) * ones
        )
        size = (4 * (MAP[0] - 1) + 1, 4 * (MAP[1] - 1) + 1)
        found = fusion_losses(FusionOutput(log_posterior, quality), pose, seen, size, margin=0.005)
        return {name: value.item() for name, value in found.items()}

    right = losses(stay=[20.0, -20.0], move=[20.0, 20.0])
    assert all(value < 1e-3 for value in right.values()), right
    assert losses(stay=[20.0, 20.0], move=[20.0, 20.0])["stay"] > 1
    assert losses(stay=[-20.0, -20.0], move=[20.0, 20.0])["stay"] > 1
    assert losses(stay=[20.0, -20.0], move=[20.0, -20.0])["move"] > 1
