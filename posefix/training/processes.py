"""One process or several under torchrun: the device of this one, and when all of them stop."""

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
    """Join the other processes when torchrun started several; yields the device of this one.

    Raises:
        InputError: when the device cannot be used.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    chosen = usable_device(name)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if several:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        if several:
            distributed.destroy_process_group()


@contextmanager
def stop_in_time(minutes: float | None, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Yield a function to be asked by all processes after each step: whether it was the last of this run.

    It was when ``minutes`` have passed or Ctrl-C came, by what the first process says. Ctrl-C is raised at the end; a
    second one at once.

    Raises:
        InputError: ``minutes`` are not above 0.
    """
    if minutes is not None:
        require_above_zero(minutes, "minutes to train")
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    interrupted = False

    def note(*_: Any) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    def due() -> bool:
        stop = torch.tensor(int(interrupted or time.monotonic() > deadline), device=device)
        if distributed.is_initialized():
            distributed.broadcast(stop, 0)
        return bool(stop)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield due
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
