"""Set up the processes of a training, and stop them together."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

from posefix.core.errors import require_above_zero
from posefix.engines.registry import usable_device


@contextmanager
def process_group(device: str | None) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if any; yields this process's device, or raises InputError."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    local_device = usable_device(name)
    if local_device.type == "cuda":
        torch.cuda.set_device(local_device)
    distributed_run = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if distributed_run:
        distributed.init_process_group("nccl" if local_device.type == "cuda" else "gloo")
    try:
        yield local_device
    finally:
        if distributed_run:
            distributed.destroy_process_group()


@contextmanager
def stop_in_time(minutes: float | None, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Yield a function that all processes call after each step, and that returns whether to stop.

    The first process decides, when ``minutes`` have passed or on Ctrl-C. Ctrl-C is raised at the end, a second one at
    once.

    Raises:
        InputError: ``minutes`` are not above 0.
    """
    if minutes is not None:
        require_above_zero(minutes, "minutes to train")
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    interrupted = False

    def on_interrupt(*_: Any) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    def should_stop() -> bool:
        stop = torch.tensor(int(interrupted or time.monotonic() > deadline), device=device)
        if distributed.is_initialized():
            distributed.broadcast(stop, 0)
        return bool(stop)

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield should_stop
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted:
        raise KeyboardInterrupt
