"""Train the lifting network on motion capture seen by random cameras, with the errors of estimators."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from posefix.core.resources import StrictModel
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import LIMBS, hips_of, limb_lengths, limbs_of, views
from posefix.lifting.network import LIFTING, Lifted, LiftingConfig
from posefix.motion.camera import project
from posefix.motion.denoise import normalized
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import MOTION, MotionNetwork
from posefix.motion.training import OUTSIDE_WEIGHT, draw_rates
from posefix.training.sequence_trainer import SequenceExperiment, SequenceTrainer
from synth.tracks import corrupt_tracks

SHORT, SHORTEST = 0.3, 0.15  # share of windows whose track begins or ends within them; least share that is left
ALONE = 2  # frames of each window that are lifted alone, in steps of single images
TINY = 1e-8  # m^2
# Metres by which what a keypoint is differs from person to person: less than where tracks are denoised, since no
# network can know it in depth.
DEFINITION_SPREAD = 0.01


class LiftingLoss(StrictModel):
    """Weights beside the position's, whose error is in metres: of velocity, and of the expected distance."""

    velocity: float = Field(default=2.0, ge=0)
    spread: float = Field(default=0.005, ge=0)


class LiftingExperiment(SequenceExperiment):
    """A training of the lifting network.

    ``right`` is the share of windows in which the 2D poses are, ``denoised`` that of the others that the sequence
    denoiser ``denoiser`` has seen before, ``alone`` that of steps with frames on their own in place of windows.
    """

    lifting: LiftingConfig = LiftingConfig()
    frames: int = Field(default=27, ge=8)
    right: float = Field(default=0.4, ge=0, le=1)
    denoiser: str = "posefix-motion"
    denoised: float = Field(default=0.5, ge=0, le=1)
    alone: float = Field(default=0.1, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    loss: LiftingLoss = LiftingLoss()


@dataclass(frozen=True, eq=False)
class LiftingBatch:
    """B windows of T frames and the poses in them: root-relative metres of standard size, along the line of sight."""

    tracks: torch.Tensor  # (B, T, K, 3) x, y, score as the network takes them
    fps: torch.Tensor  # (B,)
    keypoints: torch.Tensor  # (B, T, K, 3)
    weights: torch.Tensor  # (B, T, K)


@dataclass(frozen=True, eq=False)
class Scene:
    """N people in T frames: what is true, and what an estimator says; 2D in units of each person's size."""

    fps: np.ndarray  # (N,)
    keypoints: np.ndarray  # (N, T, K, 3) float32 metres of standard size from the middle of the hips, as LiftingBatch
    root: np.ndarray  # (N, T, 3) float32 metres of standard size, the middle of the hips from the camera
    focal: np.ndarray  # (N,) float32
    exact: np.ndarray  # (N, T, K, 2) float32
    found: np.ndarray  # (N, T, K, 3) float32 x, y, score
    inside: np.ndarray  # (N, T, K) bool: is in the image


def draw_scene(motion: MotionCapture, skeleton: Skeleton, count: int, frames: int, rng: np.random.Generator) -> Scene:
    """Draw people in motion, seen by random cameras and found by an estimator that errs."""
    fps = draw_rates(count, rng)
    points, pelvis = motion.draw(fps, frames, rng, DEFINITION_SPREAD)
    hips = hips_of(skeleton)
    seen = project(points, pelvis, fps, hips, rng)
    root = seen.points[:, :, hips].mean(2)
    pose = np.einsum("ntij,ntkj->ntki", views(root), seen.points - root[:, :, None])
    lengths = np.median(limb_lengths(pose, limbs_of(skeleton)).sum(-1), axis=1)
    standard = (LIMBS / lengths)[:, None, None]
    found = corrupt_tracks(seen.keypoints, seen.sizes, skeleton, rng)
    tracks = np.concatenate([found.keypoints, found.scores[..., None]], axis=-1)
    keypoints, root = (pose * standard[..., None]).astype(np.float32), (root * standard).astype(np.float32)
    return Scene(fps, keypoints, root, seen.focal, seen.keypoints, tracks, found.inside)


def right(scene: Scene, rows: np.ndarray) -> Scene:
    """The scene with the true 2D poses in the tracks ``rows``."""
    tracks = scene.found.copy()
    tracks[rows, ..., :2] = scene.exact[rows]
    return replace(scene, found=tracks)


def denoised(scene: Scene, network: MotionNetwork, rows: np.ndarray) -> Scene:
    """The scene with the tracks ``rows`` as the sequence denoiser gives them on."""
    tracks = scene.found.copy()
    if len(rows):
        windows, centres, sizes = normalized(tracks[rows])
        with torch.inference_mode():
            found = network(torch.from_numpy(windows), torch.from_numpy(scene.fps[rows].astype(np.float32)))
        tracks[rows, ..., :2] = found.keypoints.numpy() * sizes + centres
    return replace(scene, found=tracks)


def draw_batch(scene: Scene, alone: bool, rng: np.random.Generator) -> LiftingBatch:
    """Cut tracks of a scene short, or into single frames, and normalise them."""
    tracks, keypoints, fps = scene.found, scene.keypoints, scene.fps
    weights = np.where(scene.inside, 1.0, OUTSIDE_WEIGHT)
    n, frames = tracks.shape[:2]
    if alone:
        chosen = rng.integers(0, frames, (n, ALONE))
        rows = np.arange(n)[:, None]
        cut = [values[rows, chosen].reshape(n * ALONE, 1, *values.shape[2:]) for values in (tracks, keypoints, weights)]
        tracks, keypoints, weights = cut
        fps = np.repeat(fps, ALONE)
    else:
        length = np.where(rng.random(n) < SHORT, rng.uniform(SHORTEST, 1, n), 1) * frames
        start = rng.random(n) * (frames - length)
        time = np.arange(frames)
        there = (time >= start[:, None] - 0.5) & (time < (start + length)[:, None])
        tracks = np.where(there[..., None, None], tracks, 0)
        weights = weights * there[..., None]
    tracks = normalized(tracks)[0]
    weights = weights / max(weights.mean(), 1e-6)
    arrays = (tracks, fps, keypoints, weights)
    return LiftingBatch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))


def losses(found: Lifted, batch: LiftingBatch, weight: LiftingLoss) -> dict[str, torch.Tensor]:
    """The parts of the loss by name, each weighted; errors in metres."""
    off = found.keypoints - batch.keypoints
    error = (off.square().sum(-1) + TINY).sqrt()
    surprise = error.detach() / found.log_spread.exp() + found.log_spread
    w = batch.weights
    parts = {"position": (w * error).mean(), "spread": weight.spread * (w * surprise).mean()}
    if off.shape[1] > 1:
        velocity = ((off[:, 1:] - off[:, :-1]).square().sum(-1) + TINY).sqrt()
        parts["velocity"] = weight.velocity * (w[:, 1:] * w[:, :-1].sign() * velocity).mean()
    else:
        parts["velocity"] = error.new_zeros(())
    return parts


@dataclass
class LiftingTrainer(SequenceTrainer):
    """Train the lifting network; see :class:`posefix.training.sequence_trainer.SequenceTrainer`."""

    checkpoint, experiment_type = LIFTING, LiftingExperiment

    def prepare(self) -> None:
        """Load the sequence denoiser, if any windows are denoised."""
        self.denoiser = MOTION.load(self.experiment.denoiser) if self.experiment.denoised else None

    def losses(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a batch, lift it, and measure."""
        experiment = self.experiment
        scene = draw_scene(self.motion, self.skeleton, experiment.batch, experiment.frames, rng)
        kind = rng.random(experiment.batch)
        scene = right(scene, kind < experiment.right)
        if self.denoiser is not None:
            some = experiment.right + (1 - experiment.right) * experiment.denoised
            scene = denoised(scene, self.denoiser, np.flatnonzero((kind >= experiment.right) & (kind < some)))
        batch = draw_batch(scene, bool(rng.random() < experiment.alone), rng)
        batch = LiftingBatch(*(value.to(self.device) for value in vars(batch).values()))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=experiment.precision == "bf16"):
            found = self.network(batch.tracks, batch.fps)
        return losses(found, batch, experiment.loss)
