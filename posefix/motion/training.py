"""Train the sequence denoiser on motion capture, projected by random cameras and corrupted with estimator errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from posefix.core.random import log_uniform
from posefix.core.resources import StrictModel
from posefix.core.skeleton import Skeleton
from posefix.motion.camera import project
from posefix.motion.denoise import normalized
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import MOTION, Denoised, MotionConfig
from posefix.training.sequence_trainer import SequenceExperiment, SequenceTrainer
from synth.tracks import corrupt_tracks

USUAL_RATES, USUAL_SHARE = (25.0, 30.0, 50.0), 0.6  # frames per second of most videos; their share
RATES = (15.0, 60.0)  # of the others
OUTSIDE_WEIGHT, UNSEEN_WEIGHT = 0.2, 0.3  # weights of keypoints outside the image, and of those without any estimate
EPSILON = 1e-6  # added under the square root, for finite gradients
STRETCH = 0.1  # spread of log width and log height, for more varied bodies than those recorded


class MotionLoss(StrictModel):
    """Weights of the terms of the loss, relative to the position error in units of the person's size."""

    velocity: float = Field(default=1.0, ge=0)
    acceleration: float = Field(default=1.0, ge=0)
    spread: float = Field(default=0.05, ge=0)
    depth: float = Field(default=0.2, ge=0)


class MotionExperiment(SequenceExperiment):
    """Configuration of a training of the sequence denoiser.

    In a share ``causal`` of the steps no frame sees later ones; in half of these, fits see up to ``latency`` of them.
    """

    motion: MotionConfig = MotionConfig()
    causal: float = Field(default=0.4, ge=0, le=1)
    latency: int = Field(default=8, ge=0)
    loss: MotionLoss = MotionLoss()


@dataclass(frozen=True)
class MotionBatch:
    """B windows of T frames and their ground truth, in the units of the input."""

    tracks: torch.Tensor  # (B, T, K, 3) x, y, score
    fps: torch.Tensor  # (B,)
    keypoints: torch.Tensor  # (B, T, K, 2)
    depths: torch.Tensor  # (B, T, K)
    sizes: torch.Tensor  # (B, T, 1)
    weights: torch.Tensor  # (B, T, K), 1 on average


def draw_rates(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw frames per second of ``count`` videos: (count,)."""
    usual = rng.random(count) < USUAL_SHARE
    return np.where(usual, rng.choice(USUAL_RATES, count), log_uniform(rng, RATES, count))


def draw_batch(
    motion: MotionCapture, skeleton: Skeleton, count: int, frames: int, rng: np.random.Generator
) -> MotionBatch:
    """Draw windows of motion, project them by random cameras, and corrupt the projections."""
    fps = draw_rates(count, rng)
    points, root = motion.draw(fps, frames, rng)
    hips = [skeleton.index("left_hip"), skeleton.index("right_hip")]
    truth = project(points, root, fps, hips, rng)
    truth = truth._replace(keypoints=truth.keypoints * np.exp(rng.normal(0, STRETCH, (count, 1, 1, 2)).astype("f4")))
    corrupted = corrupt_tracks(truth.keypoints, truth.sizes, skeleton, rng)
    tracks, centres, sizes = normalized(np.concatenate([corrupted.keypoints, corrupted.scores[..., None]], axis=-1))
    weights = np.where(corrupted.inside, 1.0, OUTSIDE_WEIGHT)
    weights *= np.where((corrupted.scores > 0).any(1, keepdims=True), 1.0, UNSEEN_WEIGHT)
    arrays = (
        tracks,
        fps,
        (truth.keypoints - centres) / sizes,
        truth.depths / sizes[..., 0],
        (truth.sizes / sizes[..., 0, 0])[..., None],
        weights / weights.mean(),
    )
    return MotionBatch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))


def losses(output: Denoised, batch: MotionBatch, weight: MotionLoss) -> dict[str, torch.Tensor]:
    """Return the weighted terms of the loss by name; distances are in units of the person's size."""

    def difference(values: torch.Tensor) -> torch.Tensor:
        return values[:, 1:] - values[:, :-1]

    def distance(values: torch.Tensor) -> torch.Tensor:
        return (values.square().sum(-1) + EPSILON).sqrt()

    residual = output.keypoints - batch.keypoints
    error = distance(residual) / batch.sizes
    velocity = distance(difference(residual)) / batch.sizes[:, 1:]
    acceleration = distance(difference(difference(residual))) / batch.sizes[:, 2:]
    nll = error.detach() / output.log_spread.exp() + output.log_spread
    depth = (output.depths - batch.depths).abs() / batch.sizes
    w = batch.weights
    return {
        "position": (w * error).mean(),
        "velocity": weight.velocity * (w[:, 1:] * velocity).mean(),
        "acceleration": weight.acceleration * (w[:, 2:] * acceleration).mean(),
        "spread": weight.spread * (w * nll).mean(),
        "depth": weight.depth * (w * depth).mean(),
    }


@dataclass
class MotionTrainer(SequenceTrainer):
    """Train the sequence denoiser; see :class:`posefix.training.sequence_trainer.SequenceTrainer`."""

    checkpoint, experiment_type = MOTION, MotionExperiment

    def losses(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a batch, denoise it with or without later frames, and return the losses."""
        experiment = self.experiment
        batch = draw_batch(self.motion, self.skeleton, experiment.batch, experiment.frames, rng)
        batch = MotionBatch(*(value.to(self.device) for value in vars(batch).values()))
        causal = bool(rng.random() < experiment.causal)
        latency = int(rng.integers(0, experiment.latency + 1)) if rng.random() < 0.5 else 0
        return losses(self.network(batch.tracks, batch.fps, causal, latency), batch, experiment.loss)
