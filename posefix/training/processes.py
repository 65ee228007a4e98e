"""One process or several under torchrun: the device of this one, and when all of them stop."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

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


class Stop:
    """Tells when to stop between two steps: after Ctrl-C, or when time is up. The first process decides for all.

    Inside its context Ctrl-C is only taken note of; the second one ends at once.

    Attributes:
        interrupted: whether Ctrl-C came.
    """

    def __init__(self, minutes: float | None, device: torch.device) -> None:
        self.interrupted, self._device = False, device
        self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf

    def __enter__(self) -> Stop:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def due(self) -> bool:
        """Whether the step under way is the last of this run; asked by all processes after each step."""
        stop = torch.tensor(int(self.interrupted or time.monotonic() > self._deadline), device=self._device)
        if distributed.is_initialized():
            distributed.broadcast(stop, 0)
        return bool(stop)
