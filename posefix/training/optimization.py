"""How weights move: the learning rate over time, the optimizer, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from posefix.training.config import OptimizerConfig


def rate_at(config: OptimizerConfig, step: int, epoch_steps: int, epochs: int) -> float:
    """Learning-rate factor at a step: linear warm-up, then ``decay`` at each milestone or half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.decay ** sum(step >= milestone * epoch_steps for milestone in config.milestones)
    total = max(epochs * epoch_steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / total, 1)))


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer, with the weights of the backbone and of the head in groups of their own (key ``factor``)."""
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    groups = [
        {"params": backbone, "factor": config.backbone_factor},
        {"params": list(network.head.parameters()), "factor": 1.0},
    ]
    make = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return make(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def averaged_model(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network that averages its weights, and the statistics of its batch norms, over the steps."""
    return AveragedModel(network, multi_avg_fn=warmed_average(decay), use_buffers=True)


def warmed_average(decay: float) -> Callable[[list, list, torch.Tensor | int], None]:
    """Exponential moving average whose decay grows with the steps taken, ``min(decay, (1 + n) / (10 + n))``.

    Without the warm-up the first weights, which are far from any good ones, weigh on the average for long. Whole
    numbers, such as indices and counts, are taken over as they are.
    """

    def update(averaged: list, current: list, count: torch.Tensor | int) -> None:
        n = int(count)
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    return update
