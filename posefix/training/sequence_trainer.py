"""Train networks of tracks, whose batches are drawn from motion capture as they are needed, in one process."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from rich.progress import Progress
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.resources import StrictModel
from posefix.models.sequence_checkpoint import SequenceCheckpoint
from posefix.motion.mocap import MotionCapture
from posefix.training.config import place
from posefix.training.processes import stop_in_time
from posefix.training.run_folder import MODEL_FILE, ResumableTraining

LOG_EVERY, SAVE_EVERY = 50, 500  # steps
AVERAGED = 0.999  # how much of the averaged weights stays in each step
CLIP, WARMUP = 1.0, 300  # norm of gradients; steps


class SequenceExperiment(StrictModel):
    """A training on motion capture: ``batch`` windows of ``frames`` in each of ``steps``."""

    data: str = "{data}/mocap/train.npz"
    frames: int = Field(default=64, ge=8)
    batch: int = Field(default=16, ge=1)
    steps: int = Field(default=20000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = 0

    def decisive(self) -> dict[str, Any]:
        """All that the losses depend on, by name: everything."""
        return self.model_dump(mode="json")


@dataclass
class SequenceTrainer(ResumableTraining):
    """Train one experiment into one folder: weights (an average over steps), state and log, as for the refiner.

    Batch i is drawn by a generator of its own, so that a resumed run goes on to the same losses.

    Raises:
        InputError: for motion capture that cannot be read.
    """

    CONFIGURATION = "experiment"
    PARTS = ("network", "averaged", "optimizer")
    experiment: Any
    folder: Path
    device: torch.device
    checkpoint: ClassVar[SequenceCheckpoint[Any]]  # of the network
    experiment_type: ClassVar[type[SequenceExperiment]]

    def __post_init__(self) -> None:
        torch.manual_seed(self.experiment.seed)
        self.skeleton = skeletons.load("coco17")  # whose keypoints motion capture is drawn of
        self.motion = MotionCapture.load(place(self.experiment.data))
        self.prepare()
        config = getattr(self.experiment, self.checkpoint.field)
        self.network = self.checkpoint.network(config, self.skeleton).to(self.device)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
        self.folder.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Load what else the batches need."""

    @abstractmethod
    def losses(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a batch; the parts of its loss by name, each weighted, ``position`` among them."""

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
                    self.log(**means, windows_per_second=speed)
                    display.update(task, description=f"position {means['position']:.4f}  {speed:.0f} windows/s")
                    recent, begun = [], time.monotonic()
                display.update(task, completed=self.step)
                stop = due()
                if stop or self.step % SAVE_EVERY == 0 or self.step == steps:
                    self.save()
                if stop:
                    break
        return bool(self.step >= steps)

    def _train_step(self) -> dict[str, float]:
        parts = self.losses(np.random.default_rng([self.experiment.seed, self.step]))
        warm, done = min(1, (self.step + 1) / WARMUP), self.step / self.experiment.steps
        rate = self.experiment.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
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
        self.checkpoint.save(self.folder / MODEL_FILE, self.averaged.module, experiment, info)
        self.save_state()
