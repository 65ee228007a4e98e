"""The training loop: one process or several under torchrun, CPU or GPU, interruptible and resumable."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.models.checkpoint import Checkpoint, save_checkpoint
from posefix.models.losses import TrainingLoss
from posefix.models.network import FusionNetwork, build_network
from posefix.training.config import Config, data_path
from posefix.training.data.cache import CachedBatches, fill_cache
from posefix.training.data.loader import Batch, TrainingBatches, checked, training_loader
from posefix.training.data.stores import FolderStore
from posefix.training.processes import stop_in_time
from posefix.training.run_folder import MODEL_FILE, STATE_FILE, ResumableTraining

LOG_EVERY = 20  # steps

Evaluate = Callable[[Checkpoint], dict[str, Any]]


class Trainer(ResumableTraining):
    """Trains one configuration into a folder.

    The folder contains ``model.safetensors`` (the weights, ready for ``test.py``), ``state.pt`` (for resuming with the
    same losses) and ``log.jsonl`` (one JSON object per line).

    Args:
        config: the experiment.
        folder: output folder; created if missing.
        device: device that runs the network.
        evaluate: called every ``evaluate_every`` epochs with the current checkpoint; its result is logged.

    Raises:
        InputError: for data that cannot be used, or too few people for a batch.
    """

    CONFIGURATION = "config"

    def __init__(self, config: Config, folder: Path, device: torch.device, evaluate: Evaluate | None = None) -> None:
        self.config, self.folder, self.device, self.evaluate = config, folder, device, evaluate
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if not config.train:
            raise InputError(f"configuration {config.name} names no training data under 'train'")
        torch.manual_seed(config.seed)
        self.skeleton = skeletons.load(config.skeleton)
        people = self._training_people()
        # A saved state contains all weights, but a cache is filled before the state is loaded.
        pretrained = not (folder / STATE_FILE).is_file() or config.training.cache is not None
        self.network = build_network(config.model, self.skeleton, pretrained)
        self.network = self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        cache = config.training.cache
        self.batches = people if cache is None else self._cached(people, cache)
        self.batches.share = slice(self.rank, None, self.world)
        self.epoch_steps, batch = len(self.batches), config.training.batch
        if batch % self.world:
            raise InputError(f"a batch of {batch} people cannot be shared by {self.world} processes; see --train_batch")
        if not self.epoch_steps:
            raise InputError(
                f"the training people of an epoch do not fill one batch of {batch}, of {len(self.batches.people)} in "
                "the sets; lower --train_batch"
            )
        backbone = [weights for weights in self.network.backbone.parameters() if weights.requires_grad]
        head = [weights for weights in self.network.head.parameters() if weights.requires_grad]
        groups = [{"params": head, "factor": 1.0}, {"params": backbone, "factor": config.optimizer.backbone_factor}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=config.optimizer.weight_decay)
        loss = TrainingLoss(self.network, config.training.coordinate_weight)
        self.model: nn.Module = DistributedDataParallel(loss) if self.world > 1 else loss
        folder.mkdir(parents=True, exist_ok=True)

    def _training_people(self) -> TrainingBatches:
        stores = []
        for source in self.config.train:
            observed = [data_path(path) for path in source.observed]
            stores.append(FolderStore(data_path(source.annotations), data_path(source.images), self.skeleton, observed))
        return TrainingBatches(self.config, stores, [store.observed for store in stores], self.config.training.batch)

    def _cached(self, people: TrainingBatches, folder: str) -> CachedBatches:
        """Create batches of cached outputs of the backbone, which the first process computes if missing."""
        if not isinstance(self.network, FusionNetwork):
            raise InputError("training.cache needs the fusion head, whose backbone does not depend on the pose")
        if self.config.training.cached == "stages":
            self.network.backbone.freeze_early()
        else:
            self.network.backbone.requires_grad_(False)
        if self.rank:
            distributed.barrier()  # wait for the first process to fill it
        cache = fill_cache(data_path(folder), people, self.network, self.device)
        if self.world > 1 and not self.rank:
            distributed.barrier()
        return CachedBatches(people, cache)

    def checkpoint(self) -> Checkpoint:
        """Return the current network and how it was trained."""
        training_info = {
            "steps": self.step,
            "crops": self.step * self.config.training.batch,
            "epochs": round(self.step / self.epoch_steps, 2),
            "seconds": round(self.seconds),
        }
        experiment = self.config.model_dump(mode="json", exclude={"model"})
        return Checkpoint(self.network, self.config.model, self.skeleton, training_info, experiment)

    def save(self) -> None:
        """Write weights and training state, each atomically."""
        if self.rank:
            return
        save_checkpoint(self.folder / MODEL_FILE, self.checkpoint())
        self.save_state()

    def fit(self, minutes: float | None = None, on_step: Callable[[int], None] | None = None) -> bool:
        """Train to the last epoch; stop early and save after ``minutes``. Returns whether it finished.

        Ctrl-C stops all processes after the current step, saves, and is raised as KeyboardInterrupt. ``on_step`` is
        called after each step with the number of steps so far.
        """
        total = self.config.training.epochs * self.epoch_steps
        with Progress(disable=bool(self.rank)) as display, stop_in_time(minutes, self.device) as should_stop:
            display.add_task("", total=total, completed=self.step)
            stopped = False
            while self.step < total and not stopped:
                stopped = self._run_epoch(display, should_stop, on_step)
                self._evaluate_when_due(display.console)  # before saving: a run that ends meanwhile repeats it
                self.save()
        return self.step >= total

    def _run_epoch(
        self, display: Progress, should_stop: Callable[[], bool], on_step: Callable[[int], None] | None
    ) -> bool:
        """Train for the rest of an epoch; returns whether to stop."""
        config = self.config.training
        self.batches.epoch, start = divmod(self.step, self.epoch_steps)
        self.model.train()
        loader = training_loader(self.batches, start, config.workers)
        logged_at = saved_at = last_step = time.monotonic()
        recent: list[dict[str, float]] = []  # losses since the last entry in the log
        for batch in checked(loader):
            recent.append(self._train_step(batch))
            if not math.isfinite(total := sum(recent[-1].values())):
                raise InputError(f"the loss is {total} at step {self.step}; lower optimizer.learning_rate")
            now = time.monotonic()
            self.seconds, last_step = self.seconds + now - last_step, now
            means = {name: sum(losses[name] for losses in recent) / len(recent) for name in recent[0]}
            speed = len(recent) * config.batch / (now - logged_at)
            epoch = f"epoch {self.batches.epoch + 1}/{config.epochs}"
            description = f"{epoch}  loss {sum(means.values()):.3f}  {speed:.0f} crops/s"
            display.update(display.task_ids[0], completed=self.step, description=description)
            if len(recent) == LOG_EVERY or self.step % self.epoch_steps == 0:
                self.log(kind="train", epoch=self.batches.epoch + 1, **means, crops_per_second=speed)
                recent, logged_at = [], now
            if on_step is not None:
                on_step(self.step)
            if should_stop():
                return True
            if now - saved_at > 60 * config.save_minutes:
                self.save()
                saved_at = now
        return False

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """Run one optimizer step; returns the losses of the whole batch by name."""
        config = self.config
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        for group in self.optimizer.param_groups:
            rate = config.optimizer.rate_at(self.step, self.epoch_steps, config.training.epochs)
            group["lr"] = group["factor"] * rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.training.precision == "bf16"):
            losses = self.model(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.optimizer.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip)
        self.optimizer.step()
        self.step += 1
        values = torch.stack(list(losses.values())).detach()
        if self.world > 1:
            distributed.all_reduce(values)
            values /= self.world
        return dict(zip(losses, values.tolist(), strict=True))

    def _evaluate_when_due(self, console: Console) -> None:
        """Evaluate after every ``evaluate_every`` epochs and the last one; log and print the result."""
        (epoch, remainder), every = divmod(self.step, self.epoch_steps), self.config.training.evaluate_every
        due = not remainder and every and (epoch % every == 0 or epoch == self.config.training.epochs)
        if due and self.evaluate and not self.rank:
            result = self.evaluate(self.checkpoint())
            self.log(kind="evaluation", epoch=epoch, **result)
            for results, measured in result["sources"].items():
                before, after = (
                    "-" if ap is None else f"{ap:.2f}" for ap in (measured["AP_before"], measured["AP_after"])
                )
                console.print(f"epoch {epoch}: AP before {before}, after {after}: {results}", markup=False)

    def log(self, **entry: Any) -> None:
        """Append a line of JSON to the log of the first process."""
        if not self.rank:
            super().log(**entry)
