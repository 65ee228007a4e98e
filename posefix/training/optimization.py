"""The optimizer and its learning rate over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from posefix.training.config import OptimizerConfig


def rate_at(config: OptimizerConfig, step: int, epoch_steps: int, epochs: int) -> float:
    """Learning-rate factor at a step: linear warm-up, then ``decay`` at each milestone or half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return float(config.decay ** sum(step >= milestone * epoch_steps for milestone in config.milestones))
    total = max(epochs * epoch_steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / total, 1)))


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make the optimizer of all weights that are trained."""
    make = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    trained = [p for p in network.parameters() if p.requires_grad]
    return make(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
