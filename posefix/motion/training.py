"""Train the sequence denoiser on motion capture seen by random cameras, with the errors of estimators."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import Field
from rich.progress import Progress
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.random import log_uniform
from posefix.core.resources import StrictModel
from posefix.core.skeleton import Skeleton
from posefix.motion.camera import project
from posefix.motion.checkpoint import save_motion
from posefix.motion.denoise import normalized
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import Denoised, MotionConfig, MotionNetwork
from posefix.training.config import place
from posefix.training.processes import stop_in_time
from posefix.training.run_folder import MODEL_FILE, STATE_FILE, append_log, reading_state, write_state
from synth.tracks import corrupt_tracks

LOG_EVERY, SAVE_EVERY = 50, 500  # steps
USUAL_RATES, USUAL = (25.0, 30.0, 50.0), 0.6  # frames a second of most videos; their share
RATES = (15.0, 60.0)  # of the others
AVERAGED = 0.999  # how much of the averaged weights stays in each step
CLIP, WARMUP = 1.0, 300  # norm of gradients; steps
OUTSIDE, NEVER_SEEN = 0.2, 0.3  # weights of keypoints outside the image, and of those without any estimate
TINY = 1e-6  # whose root a distance of 0 is taken for: it has a gradient
STRETCH = 0.1  # spread of the logarithm of width and of height, so that bodies differ more than those recorded


class MotionLoss(StrictModel):
    """Weights beside the position's, whose error is in units of the person's size.

    Of velocity and acceleration, of the expected distance, and of depth.
    """

    velocity: float = Field(default=1.0, ge=0)
    acceleration: float = Field(default=1.0, ge=0)
    spread: float = Field(default=0.05, ge=0)
    depth: float = Field(default=0.2, ge=0)


class MotionExperiment(StrictModel):
    """A training of the sequence denoiser: ``batch`` windows of ``frames`` in each of ``steps``.

    ``causal`` is the share of steps in which no frame sees a later one; in half of these, places may be taken from up
    to ``latency`` later frames.
    """

    motion: MotionConfig = MotionConfig()
    data: str = "{data}/mocap/train.npz"
    skeleton: str = "coco17"
    frames: int = Field(default=64, ge=8)
    batch: int = Field(default=16, ge=1)
    steps: int = Field(default=20000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    causal: float = Field(default=0.4, ge=0, le=1)
    latency: int = Field(default=8, ge=0)
    loss: MotionLoss = MotionLoss()
    seed: int = 0


@dataclass(frozen=True)
class MotionBatch:
    """B windows of T frames and what is true of them, in the units of the input."""

    tracks: torch.Tensor  # (B, T, K, 3) x, y, score
    fps: torch.Tensor  # (B,)
    keypoints: torch.Tensor  # (B, T, K, 2)
    depths: torch.Tensor  # (B, T, K)
    sizes: torch.Tensor  # (B, T, 1)
    weights: torch.Tensor  # (B, T, K), 1 on average


def draw_batch(
    motion: MotionCapture, skeleton: Skeleton, count: int, frames: int, rng: np.random.Generator
) -> MotionBatch:
    """Draw windows of motion, see them by random cameras, and corrupt what is seen."""
    usual = rng.random(count) < USUAL
    fps = np.where(usual, rng.choice(USUAL_RATES, count), log_uniform(rng, RATES, count))
    points, root = motion.draw(fps, frames, rng)
    hips = [skeleton.index("left_hip"), skeleton.index("right_hip")]
    truth = project(points, root, fps, hips, rng)
    truth = truth._replace(keypoints=truth.keypoints * np.exp(rng.normal(0, STRETCH, (count, 1, 1, 2)).astype("f4")))
    found = corrupt_tracks(truth.keypoints, truth.sizes, skeleton, rng)
    tracks, centres, sizes = normalized(np.concatenate([found.keypoints, found.scores[..., None]], axis=-1))
    weights = np.where(found.inside, 1.0, OUTSIDE)
    weights *= np.where((found.scores > 0).any(1, keepdims=True), 1.0, NEVER_SEEN)
    arrays = (
        tracks,
        fps,
        (truth.keypoints - centres) / sizes,
        truth.depths / sizes[..., 0],
        (truth.sizes / sizes[..., 0, 0])[..., None],
        weights / weights.mean(),
    )
    return MotionBatch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))


def losses(found: Denoised, batch: MotionBatch, weight: MotionLoss) -> dict[str, torch.Tensor]:
    """The parts of the loss by name, each weighted; errors are distances in units of the person's size."""

    def difference(values: torch.Tensor) -> torch.Tensor:
        return values[:, 1:] - values[:, :-1]

    def distance(values: torch.Tensor) -> torch.Tensor:
        return (values.square().sum(-1) + TINY).sqrt()

    off = found.keypoints - batch.keypoints
    error = distance(off) / batch.sizes
    velocity = distance(difference(off)) / batch.sizes[:, 1:]
    acceleration = distance(difference(difference(off))) / batch.sizes[:, 2:]
    surprise = error.detach() / found.log_spread.exp() + found.log_spread
    depth = (found.depths - batch.depths).abs() / batch.sizes
    w = batch.weights
    return {
        "position": (w * error).mean(),
        "velocity": weight.velocity * (w[:, 1:] * velocity).mean(),
        "acceleration": weight.acceleration * (w[:, 2:] * acceleration).mean(),
        "spread": weight.spread * (w * surprise).mean(),
        "depth": weight.depth * (w * depth).mean(),
    }


@dataclass
class MotionTrainer:
    """Train one experiment into one folder: weights (an average over steps), state and log, as for the refiner.

    Batch i is drawn by a generator of its own, so that a resumed run goes on to the same losses.

    Raises:
        InputError: for motion capture that cannot be read.
    """

    experiment: MotionExperiment
    folder: Path
    device: torch.device
    step: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.experiment.seed)
        self.skeleton = skeletons.load(self.experiment.skeleton)
        self.motion = MotionCapture.load(place(self.experiment.data))
        self.network = MotionNetwork(self.experiment.motion, self.skeleton).to(self.device)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
        self.folder.mkdir(parents=True, exist_ok=True)

    def fit(self, minutes: float | None = None) -> bool:
        """Train to the last step; stop early and save when ``minutes`` have passed or Ctrl-C came. True if finished."""
        steps, recent, begun = self.experiment.steps, [], time.monotonic()
        with Progress() as display, stop_in_time(minutes, self.device) as due:
            task = display.add_task("", total=steps, completed=self.step)
            while self.step < steps:
                last = time.monotonic()
                recent.append(self._train_step())
                if not math.isfinite(sum(recent[-1].values())):
                    raise InputError(f"the loss is not finite at step {self.step}; lower learning_rate")
                self.seconds += time.monotonic() - last
                if self.step % LOG_EVERY == 0:
                    means = {name: sum(r[name] for r in recent) / len(recent) for name in recent[0]}
                    speed = len(recent) * self.experiment.batch / (time.monotonic() - begun)
                    append_log(self.folder, self.step, self.seconds, {**means, "windows_per_second": speed})
                    shown = f"position {means['position']:.4f}  {speed:.0f} windows/s"
                    display.update(task, description=shown)
                    recent, begun = [], time.monotonic()
                display.update(task, completed=self.step)
                stop = due()
                if stop or self.step % SAVE_EVERY == 0 or self.step == steps:
                    self.save()
                if stop:
                    break
        return self.step >= steps

    def _train_step(self) -> dict[str, float]:
        experiment = self.experiment
        rng = np.random.default_rng([experiment.seed, self.step])
        batch = draw_batch(self.motion, self.skeleton, experiment.batch, experiment.frames, rng)
        batch = MotionBatch(*(value.to(self.device) for value in vars(batch).values()))
        causal = bool(rng.random() < experiment.causal)
        latency = int(rng.integers(0, experiment.latency + 1)) if rng.random() < 0.5 else 0
        warm, done = min(1, (self.step + 1) / WARMUP), self.step / experiment.steps
        rate = experiment.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = losses(self.network(batch.tracks, batch.fps, causal, latency), batch, experiment.loss)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return {name: part.item() for name, part in parts.items()}

    def save(self) -> None:
        """Write weights and state, each whole or not at all."""
        info = {"steps": self.step, "windows": self.step * self.experiment.batch, "seconds": round(self.seconds)}
        experiment = self.experiment.model_dump(mode="json")
        averaged = cast(MotionNetwork, self.averaged.module)
        save_motion(self.folder / MODEL_FILE, averaged, experiment, info)
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "experiment": json.dumps(experiment),
        }
        write_state(self.folder, state)

    def resume(self) -> bool:
        """Go on from the folder's state, if there is one; InputError if it is damaged or of another experiment."""
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        with reading_state(self.folder, self.device) as state:
            if json.loads(state["experiment"]) != self.experiment.model_dump(mode="json"):
                raise InputError(f"{path}: is of another experiment; choose another --out to start anew")
            for name in ("network", "averaged", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]
        return True
