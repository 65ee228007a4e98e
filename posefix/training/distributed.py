"""One process or several: what torchrun sets up, and which device this process uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from posefix.core.errors import InputError


@contextmanager
def process_group(device: str | None) -> Iterator[torch.device]:
    """Join the other processes when torchrun started several; yields the device of this one.

    Raises:
        InputError: when the device cannot be used.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]})") from None
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if several:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        if several:
            distributed.destroy_process_group()
