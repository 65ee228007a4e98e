"""The training loop: one process or several under torchrun, CPU or GPU, interruptible and resumable."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from posefix.models.config import ModelConfig
from posefix.models.losses import TrainingLoss
from posefix.models.network import FusionNetwork, PoseFixNetwork, build_network
from posefix.training.config import Config, OptimizerConfig, from_dict, to_dict
from posefix.training.data.cache import CachedBatches, fill_cache
from posefix.training.data.loader import Batch, TrainingBatches, training_loader
from posefix.training.data.stores import observed_poses, open_store

STATE_FILE, MODEL_FILE, LOG_FILE = "state.pt", "model.safetensors", "log.jsonl"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Evaluator = Callable[[Checkpoint], dict[str, Any]]


def rate_at(config: OptimizerConfig, step: int, epoch_steps: int, epochs: int) -> float:
    """Learning-rate factor at a step: linear warm-up, then ``decay`` at each milestone or half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.decay ** sum(step >= milestone * epoch_steps for milestone in config.milestones)
    total = max(epochs * epoch_steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - config.warmup_steps) / total, 1)))


def checked(loader: DataLoader) -> Iterator[Batch]:
    """The batches; an InputError of a worker process comes out as one here, without that process's traceback."""
    try:
        yield from loader
    except InputError as error:
        text = str(error)
        if "Original Traceback" in text:
            text = text.rstrip().splitlines()[-1].partition("InputError: ")[2]
        raise InputError(text) from None


def _decisive(config: Config) -> dict[str, Any]:
    """What determines the losses, as plain data: not how often they are looked at, nor by how many workers."""
    plain = config.model_dump(mode="json")
    del plain["evaluation"], plain["name"], plain["model"]["keep_margin"]
    for name in ("test_batch", "flip_test", "workers", "evaluate_every", "save_minutes", "cache"):
        del plain["training"][name]
    return plain


def _seen_by_network(config: ModelConfig) -> dict[str, Any]:
    """What weights depend on, as plain data; not the size of crops, which may grow from one training to the next."""
    plain = config.model_dump(mode="json")
    for name in ("pretrained", "keep_margin", "channels_last", "input_size"):
        del plain[name]
    return plain


def _first_difference(own: Any, other: Any, key: str = "") -> str | None:
    """``key.sub (own value, not other value)`` of the first place where two nested values differ."""
    if isinstance(own, list) and isinstance(other, list) and len(own) == len(other):
        own, other = dict(enumerate(own)), dict(enumerate(other))
    if isinstance(own, dict) and isinstance(other, dict):
        found = (_first_difference(v, other.get(k), f"{key}.{k}" if key else k) for k, v in own.items())
        return next((f for f in found if f), None)
    return None if own == other else f"{key} ({other!r}, now {own!r})"


def warmed_average(decay: float) -> Callable[[list, list, torch.Tensor | int], None]:
    """Exponential moving average whose decay grows with the steps taken, ``min(decay, (1 + n) / (10 + n))``.

    Without the warm-up the first weights, which are far from any good ones, weigh on the average for long.
    """

    def update(averaged: list, current: list, count: torch.Tensor | int) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    return update


class Trainer:
    """Trains one configuration into one folder.

    The folder holds ``model.safetensors`` (the averaged weights, ready for ``test.py``), ``state.pt`` (all that a
    resumed run needs to go on to the same losses) and ``log.jsonl`` (one JSON object a line).

    Args:
        config: the experiment.
        folder: where everything goes; made if missing.
        device: where the network runs.
        evaluate: called each ``evaluate_every`` epochs with the current averaged checkpoint; its result is logged.
    """

    def __init__(self, config: Config, folder: Path, device: torch.device, evaluate: Evaluator | None = None) -> None:
        self.config, self.folder, self.device, self.evaluate = config, folder, device, evaluate
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if not config.train:
            raise InputError(f"configuration {config.name} names no training data under 'train'")
        torch.manual_seed(config.seed)
        self.skeleton = skeletons.load(config.skeleton)
        stores = [open_store(source, self.skeleton) for source in config.train]
        observed = [
            observed_poses(store.people, [Path(p) for p in source.observed]) if source.observed else None
            for store, source in zip(stores, config.train, strict=True)
        ]
        network = self._first_network().to(device)
        people = TrainingBatches(config, stores, observed, config.training.batch)
        self.batches: TrainingBatches | CachedBatches = people
        if config.training.cache is not None:
            if not isinstance(network, FusionNetwork):
                raise InputError("training.cache needs the fusion head, whose eyes do not depend on the pose")
            network.backbone.requires_grad_(False)
            if config.model.channels_last:
                network = network.to(memory_format=torch.channels_last)
            if self.rank:
                distributed.barrier()  # the first process fills it
            cache = fill_cache(Path(config.training.cache), people, network, device)
            if self.world > 1 and not self.rank:
                distributed.barrier()
            self.batches = CachedBatches(people, cache)
        self.epoch_steps = len(self.batches) // self.world
        if not self.epoch_steps:
            raise InputError(
                f"the training people of an epoch do not fill one batch of {config.training.batch} on {self.world} "
                f"process(es), of {len(self.batches.people)} in the sets; lower --train_batch"
            )
        if config.model.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        average = warmed_average(config.optimizer.ema)
        self.averaged = AveragedModel(network, multi_avg_fn=average) if config.optimizer.ema else None
        self.optimizer = self._make_optimizer()
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.training.precision == "fp16")
        loss = TrainingLoss(network, config.training.coordinate_weight)
        self.model: nn.Module = DistributedDataParallel(loss) if self.world > 1 else loss
        self.step, self.evaluated, self.trained_seconds = 0, 0, 0.0
        self._stop = False
        self._interrupted: list[bool] = []
        folder.mkdir(parents=True, exist_ok=True)

    def _first_network(self) -> PoseFixNetwork | FusionNetwork:
        """The network before the first step: of ``training.init``'s weights, or as its backbone says."""
        resumable = (self.folder / STATE_FILE).is_file()  # holds all weights itself
        eyes = self.config.training.cache is not None  # are needed before the state is read
        init = None if resumable and not eyes else self.config.training.init
        pretrained = init is None and (eyes or not resumable)
        network = build_network(self.config.model, self.skeleton, pretrained)
        if init is not None:
            self._load(network, load_checkpoint(init), init)
        return network

    def _load(self, network: PoseFixNetwork | FusionNetwork, checkpoint: Checkpoint, name: str) -> None:
        """Give a network the weights of a checkpoint; InputError when it is of another kind."""
        if differing := _first_difference(_seen_by_network(self.config.model), _seen_by_network(checkpoint.config)):
            raise InputError(f"{name}: is a network of another {differing}")
        if checkpoint.skeleton.keypoint_names != self.skeleton.keypoint_names:
            raise InputError(f"{name}: is a network of skeleton {checkpoint.skeleton.name}, not {self.skeleton.name}")
        network.load_state_dict(checkpoint.network.state_dict())

    def _make_optimizer(self) -> torch.optim.Optimizer:
        config = self.config.optimizer
        backbone = config.backbone_factor
        groups = [
            {"params": [p for p in self.network.backbone.parameters() if p.requires_grad], "factor": backbone},
            {"params": list(self.network.head.parameters()), "factor": 1.0},
        ]
        make = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        return make(groups, lr=config.learning_rate, weight_decay=config.weight_decay)

    def checkpoint(self) -> Checkpoint:
        """The averaged network (the network itself without averaging), with how it came about."""
        network = self.averaged.module if self.averaged is not None and self.step else self.network
        training_info = {
            "steps": self.step,
            "crops": self.step * self.config.training.batch * self.world,
            "epochs": round(self.step / self.epoch_steps, 2),
            "seconds": round(self.trained_seconds),
        }
        experiment = {name: value for name, value in to_dict(self.config).items() if name != "model"}
        return Checkpoint(network, self.config.model, self.skeleton, training_info, experiment)

    def save(self) -> None:
        """Write weights and training state, each whole or not at all."""
        if self.rank:
            return
        save_checkpoint(self.folder / MODEL_FILE, self.checkpoint())
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "evaluated": self.evaluated,
            "world": self.world,
            "seconds": self.trained_seconds,
            "config": json.dumps(to_dict(self.config)),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.folder / STATE_FILE, buffer.getvalue())

    def resume(self) -> bool:
        """Go on from the folder's state, if there is one; False if not.

        Raises:
            InputError: when the state is unreadable or of another configuration.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            other = from_dict(json.loads(state["config"]), str(path))
            world = state["world"]
        except Exception as error:  # the unpickler raises whatever the damage provokes
            raise InputError(f"{path}: not a readable training state ({type(error).__name__})") from None
        if differing := _first_difference(_decisive(self.config), _decisive(other)):
            raise InputError(f"{path}: was trained with another {differing}; choose another --out to start anew")
        if world != self.world:
            raise InputError(f"{path}: was trained by {world} processes, these are {self.world}")
        try:
            self.network.load_state_dict(state["network"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.trained_seconds, self.evaluated = state["step"], state["seconds"], state["evaluated"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a whole training state ({type(error).__name__})") from None
        return True

    def fit(self, minutes: float | None = None) -> bool:
        """Train to the last epoch; stop early and save when ``minutes`` have passed. True when finished.

        Ctrl-C stops after the step under way, on all processes, saves, and is raised as KeyboardInterrupt.
        """
        if minutes is not None and not minutes > 0:
            raise InputError(f"minutes to train must be above 0, found {minutes}")
        config = self.config.training
        deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        total = config.epochs * self.epoch_steps
        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.0f} crops/s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=bool(self.rank)) as progress:
            task = progress.add_task(
                "", total=total, completed=self.step, epoch=1, epochs=config.epochs, loss=0.0, speed=0.0
            )
            with self._interruptible() as interrupted:
                self._evaluate_when_due()  # an epoch that an earlier run finished and did not get to evaluate
                while self.step < total and not self._stop:
                    self._run_epoch(progress, task, deadline)
                    self.save()
                    if self.step % self.epoch_steps == 0:
                        self._evaluate_when_due()
        if interrupted:
            raise KeyboardInterrupt
        return self.step >= total

    @contextmanager
    def _interruptible(self) -> Iterator[list[bool]]:
        """Let Ctrl-C stop between steps, where the state is whole; the list is filled when it came."""
        interrupted: list[bool] = []
        if threading.current_thread() is not threading.main_thread():
            yield interrupted
            return

        def note(*_: Any) -> None:
            if interrupted:  # asked twice: now
                raise KeyboardInterrupt
            interrupted.append(True)

        before = signal.signal(signal.SIGINT, note)
        self._interrupted = interrupted
        try:
            yield interrupted
        finally:
            signal.signal(signal.SIGINT, before)

    def _time_to_stop(self, deadline: float) -> bool:
        """Whether this step is the last of this run: decided by the first process, for all."""
        stop = bool(self._interrupted) or time.monotonic() > deadline
        if self.world > 1:
            shared = torch.tensor([int(stop)], device=self.device)
            distributed.broadcast(shared, 0)
            stop = bool(shared.item())
        return stop

    def _run_epoch(self, progress: Progress, task: Any, deadline: float) -> None:
        config = self.config.training
        epoch, start = divmod(self.step, self.epoch_steps)
        self.batches.epoch = epoch
        self.model.train()
        loader = training_loader(self.batches, start, self.rank, self.world, config.workers)
        begun = saved = last = time.monotonic()
        sums: Counter[str] = Counter()
        count = 0
        for batch in checked(loader):
            losses = self._train_step(batch)
            if not math.isfinite(total := sum(losses.values())):
                raise InputError(f"the loss is {total} at step {self.step}; lower optimizer.learning_rate")
            sums.update(losses)
            count += 1
            now = time.monotonic()
            self.trained_seconds, last = self.trained_seconds + now - last, now
            speed = count * config.batch * self.world / (now - begun)
            progress.update(task, completed=self.step, epoch=epoch + 1, loss=sums.total() / count, speed=speed)
            if count % 20 == 0 or self.step % self.epoch_steps == 0:
                means = {name: value / count for name, value in sums.items()}
                self._log(kind="train", epoch=epoch + 1, **means, crops_per_second=speed)
                sums, count, begun = Counter(), 0, now
            if self._time_to_stop(deadline):
                self._stop = True
                return
            if now - saved > 60 * config.save_minutes:
                self.save()
                saved = now

    def _train_step(self, batch: Batch) -> dict[str, float]:
        config = self.config
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        factor = rate_at(config.optimizer, self.step, self.epoch_steps, config.training.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = config.optimizer.learning_rate * group["factor"] * factor
        precision = PRECISIONS[config.training.precision]
        half = precision != torch.float32
        with torch.autocast(self.device.type, precision) if half else nullcontext():
            losses = self.model(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if config.optimizer.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        self.step += 1
        return {name: part.item() for name, part in losses.items()}

    def _evaluate_when_due(self) -> None:
        """Evaluate the last finished epoch if it is its turn and was not done; the other processes wait."""
        epoch, every = self.step // self.epoch_steps, self.config.training.evaluate_every
        due = every and (epoch % every == 0 or epoch == self.config.training.epochs)
        if self.evaluate and due and self.evaluated < epoch:
            if not self.rank:
                self._log(kind="evaluation", epoch=epoch, **self.evaluate(self.checkpoint()))
            self.evaluated = epoch
            self.save()
        if self.world > 1:
            distributed.barrier()

    def _log(self, **entry: Any) -> None:
        if self.rank:
            return
        entry = {"step": self.step, "seconds": round(self.trained_seconds, 1), **entry}
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in entry.items()}
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(rounded) + "\n")
