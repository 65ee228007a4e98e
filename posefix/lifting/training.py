"""Train the lifting network on motion capture, projected by random cameras and corrupted with estimator errors."""

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

SHORT_SHARE, MIN_SHARE = 0.3, 0.15  # share of windows whose track is cut short; minimum share of frames left
SINGLES = 2  # frames per window in steps of single images
EPSILON = 1e-8  # m^2, added under the square root, for finite gradients
DEFINITION_SPREAD = 0.01  # metres; less than in 2D, since the network cannot know it in depth


class LiftingLoss(StrictModel):
    """Weights of the terms of the loss, relative to the position error in metres."""

    velocity: float = Field(default=2.0, ge=0)
    spread: float = Field(default=0.005, ge=0)


class LiftingExperiment(SequenceExperiment):
    """Configuration of a training of the lifting network.

    ``right`` is the share of windows with true 2D poses, ``denoised`` the share of the others that pass the sequence
    denoiser ``denoiser`` first, and ``alone`` the share of steps with single frames instead of windows.
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
    """B windows of T frames and their 3D poses: root-relative metres of standard size, along the line of sight."""

    tracks: torch.Tensor  # (B, T, K, 3) x, y, score, the network's input
    fps: torch.Tensor  # (B,)
    keypoints: torch.Tensor  # (B, T, K, 3)
    weights: torch.Tensor  # (B, T, K)


@dataclass(frozen=True, eq=False)
class Scene:
    """N people in T frames: 3D ground truth and 2D estimates, the latter in units of each person's size."""

    fps: np.ndarray  # (N,)
    keypoints: np.ndarray  # (N, T, K, 3) float32 metres of standard size from the mid-hip, as in LiftingBatch
    root: np.ndarray  # (N, T, 3) float32 metres of standard size, the mid-hip from the camera
    focal: np.ndarray  # (N,) float32
    exact: np.ndarray  # (N, T, K, 2) float32, true 2D poses
    tracks: np.ndarray  # (N, T, K, 3) float32 x, y, score, corrupted as an estimator does
    inside: np.ndarray  # (N, T, K) bool: within the image


def draw_scene(motion: MotionCapture, skeleton: Skeleton, count: int, frames: int, rng: np.random.Generator) -> Scene:
    """Draw people in motion, project them by random cameras, and corrupt the projections."""
    fps = draw_rates(count, rng)
    points, pelvis = motion.draw(fps, frames, rng, DEFINITION_SPREAD)
    hips = hips_of(skeleton)
    projection = project(points, pelvis, fps, hips, rng)
    root = projection.points[:, :, hips].mean(2)
    pose = np.einsum("ntij,ntkj->ntki", views(root), projection.points - root[:, :, None])
    lengths = np.median(limb_lengths(pose, limbs_of(skeleton)).sum(-1), axis=1)
    scale = (LIMBS / lengths)[:, None, None]
    corrupted = corrupt_tracks(projection.keypoints, projection.sizes, skeleton, rng)
    tracks = np.concatenate([corrupted.keypoints, corrupted.scores[..., None]], axis=-1)
    keypoints, root = (pose * scale[..., None]).astype(np.float32), (root * scale).astype(np.float32)
    return Scene(fps, keypoints, root, projection.focal, projection.keypoints, tracks, corrupted.inside)


def with_true_poses(scene: Scene, rows: np.ndarray) -> Scene:
    """Return the scene with true 2D poses in the tracks ``rows``."""
    tracks = scene.tracks.copy()
    tracks[rows, ..., :2] = scene.exact[rows]
    return replace(scene, tracks=tracks)


def denoised(scene: Scene, network: MotionNetwork, rows: np.ndarray) -> Scene:
    """Return the scene with the tracks ``rows`` denoised by the sequence denoiser."""
    tracks = scene.tracks.copy()
    if len(rows):
        windows, centres, sizes = normalized(tracks[rows])
        with torch.inference_mode():
            output = network(torch.from_numpy(windows), torch.from_numpy(scene.fps[rows].astype(np.float32)))
        tracks[rows, ..., :2] = output.keypoints.numpy() * sizes + centres
    return replace(scene, tracks=tracks)


def draw_batch(scene: Scene, alone: bool, rng: np.random.Generator) -> LiftingBatch:
    """Cut the tracks of a scene short, or into single frames, and normalise them."""
    tracks, keypoints, fps = scene.tracks, scene.keypoints, scene.fps
    weights = np.where(scene.inside, 1.0, OUTSIDE_WEIGHT)
    n, frames = tracks.shape[:2]
    if alone:
        chosen = rng.integers(0, frames, (n, SINGLES))
        rows = np.arange(n)[:, None]
        cut = [value[rows, chosen].reshape(n * SINGLES, 1, *value.shape[2:]) for value in (tracks, keypoints, weights)]
        tracks, keypoints, weights = cut
        fps = np.repeat(fps, SINGLES)
    else:
        length = np.where(rng.random(n) < SHORT_SHARE, rng.uniform(MIN_SHARE, 1, n), 1) * frames
        start = rng.random(n) * (frames - length)
        time = np.arange(frames)
        kept = (time >= start[:, None] - 0.5) & (time < (start + length)[:, None])
        tracks = np.where(kept[..., None, None], tracks, 0)
        weights = weights * kept[..., None]
    tracks = normalized(tracks)[0]
    weights = weights / max(weights.mean(), 1e-6)
    arrays = (tracks, fps, keypoints, weights)
    return LiftingBatch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))


def losses(output: Lifted, batch: LiftingBatch, weight: LiftingLoss) -> dict[str, torch.Tensor]:
    """Return the weighted terms of the loss by name; errors are in metres."""
    residual = output.keypoints - batch.keypoints
    error = (residual.square().sum(-1) + EPSILON).sqrt()
    nll = error.detach() / output.log_spread.exp() + output.log_spread
    w = batch.weights
    parts = {"position": (w * error).mean(), "spread": weight.spread * (w * nll).mean()}
    if residual.shape[1] > 1:
        velocity = ((residual[:, 1:] - residual[:, :-1]).square().sum(-1) + EPSILON).sqrt()
        parts["velocity"] = weight.velocity * (w[:, 1:] * w[:, :-1].sign() * velocity).mean()
    else:
        parts["velocity"] = error.new_zeros(())
    return parts


@dataclass
class LiftingTrainer(SequenceTrainer):
    """Train the lifting network; see :class:`posefix.training.sequence_trainer.SequenceTrainer`."""

    checkpoint, experiment_type = LIFTING, LiftingExperiment

    def prepare(self) -> None:
        """Load the sequence denoiser, if it is used."""
        self.denoiser = MOTION.load(self.experiment.denoiser) if self.experiment.denoised else None

    def losses(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a batch, lift it, and return the losses."""
        experiment = self.experiment
        scene = draw_scene(self.motion, self.skeleton, experiment.batch, experiment.frames, rng)
        draws = rng.random(experiment.batch)
        scene = with_true_poses(scene, draws < experiment.right)
        if self.denoiser is not None:
            limit = experiment.right + (1 - experiment.right) * experiment.denoised
            scene = denoised(scene, self.denoiser, np.flatnonzero((draws >= experiment.right) & (draws < limit)))
        batch = draw_batch(scene, bool(rng.random() < experiment.alone), rng)
        batch = LiftingBatch(*(value.to(self.device) for value in vars(batch).values()))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=experiment.precision == "bf16"):
            output = self.network(batch.tracks, batch.fps)
        return losses(output, batch, experiment.loss)
