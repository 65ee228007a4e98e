"""Stopping a run between two steps, where its state is whole."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed


class Stop:
    """Tells when to stop: after Ctrl-C, or when time is up. The first process decides for all.

    Attributes:
        interrupted: whether Ctrl-C came.
    """

    def __init__(self, minutes: float | None, world: int, device: torch.device) -> None:
        self.interrupted = False
        self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self._world, self._device = world, device

    def due(self) -> bool:
        """Whether the step under way is the last of this run; asked by all processes after each step."""
        stop = self.interrupted or time.monotonic() > self._deadline
        if self._world > 1:
            shared = torch.tensor([int(stop)], device=self._device)
            distributed.broadcast(shared, 0)
            stop = bool(shared.item())
        return stop

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Take note of Ctrl-C instead of ending at once; the second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(*_: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
