"""The losses count what is annotated and inside, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from posefix.models.losses import refinement_losses

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
