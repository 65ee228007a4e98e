"""The learning rate over time."""

from __future__ import annotations

import math

from posefix.training.config import OptimizerConfig


def rate_at(config: OptimizerConfig, step: int, epoch_steps: int, epochs: int) -> float:
    """Learning-rate factor at a step: linear warm-up, then a tenth at each milestone or half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return float(0.1 ** sum(step >= milestone * epoch_steps for milestone in config.milestones))
    total = max(epochs * epoch_steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / total, 1)))
