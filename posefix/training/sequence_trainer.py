"""Train networks on tracks, with batches drawn from motion capture, in one process."""

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
from posefix.training.config import data_path
from posefix.training.processes import stop_in_time
from posefix.training.run_folder import MODEL_FILE, ResumableTraining

LOG_EVERY, SAVE_EVERY = 50, 500  # steps
AVERAGED = 0.999  # decay of the exponential moving average of the weights
CLIP, WARMUP = 1.0, 300  # norm of the gradients; steps


class SequenceExperiment(StrictModel):
    """A training on motion capture: ``batch`` windows of ``frames`` in each of ``steps``."""

    data: str = "{data}/mocap/train.npz"
    frames: int = Field(default=64, ge=8)
    batch: int = Field(default=16, ge=1)
    steps: int = Field(default=20000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = 0

    def fixed_options(self) -> dict[str, Any]:
        """Return the options that a resumed run must share: all."""
        return self.model_dump(mode="json")


@dataclass
class SequenceTrainer(ResumableTraining):
    """Trains one experiment into a folder: weights (a moving average), state and log.

    Each batch has its own random generator, so that a resumed run has the same losses.

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
        self.skeleton = skeletons.load("coco17")  # of the motion capture
        self.motion = MotionCapture.load(data_path(self.experiment.data))
        self.prepare()
        config = getattr(self.experiment, self.checkpoint.field)
        self.network = self.checkpoint.network(config, self.skeleton).to(self.device)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
        self.folder.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Load further data for the batches."""

    @abstractmethod
    def losses(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a batch, and compute its weighted losses by name, including ``position``."""

    def fit(self, minutes: float | None = None) -> bool:
        """Train to the last step; stop early and save after ``minutes`` or on Ctrl-C. Returns whether it finished."""
        steps, recent, logged_at = self.experiment.steps, [], time.monotonic()
        with Progress() as display, stop_in_time(minutes, self.device) as should_stop:
            task = display.add_task("", total=steps, completed=self.step)
            while self.step < steps:
                started = time.monotonic()
                recent.append(self._train_step())
                if not math.isfinite(sum(recent[-1].values())):
                    raise InputError(f"the loss is not finite at step {self.step}; lower learning_rate")
                self.seconds += time.monotonic() - started
                if self.step % LOG_EVERY == 0:
                    means = {name: sum(r[name] for r in recent) / len(recent) for name in recent[0]}
                    speed = len(recent) * self.experiment.batch / (time.monotonic() - logged_at)
                    self.log(**means, windows_per_second=speed)
                    display.update(task, description=f"position {means['position']:.4f}  {speed:.0f} windows/s")
                    recent, logged_at = [], time.monotonic()
                display.update(task, completed=self.step)
                stop = should_stop()
                if stop or self.step % SAVE_EVERY == 0 or self.step == steps:
                    self.save()
                if stop:
                    break
        return bool(self.step >= steps)

    def _train_step(self) -> dict[str, float]:
        losses = self.losses(np.random.default_rng([self.experiment.seed, self.step]))
        warmup, progress = min(1, (self.step + 1) / WARMUP), self.step / self.experiment.steps
        rate = self.experiment.learning_rate * warmup * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def save(self) -> None:
        """Write weights and state, each atomically."""
        info = {"steps": self.step, "windows": self.step * self.experiment.batch, "seconds": round(self.seconds)}
        experiment = self.experiment.model_dump(mode="json")
        self.checkpoint.save(self.folder / MODEL_FILE, self.averaged.module, experiment, info)
        self.save_state()
