"""The folder of a training run: its state, from which it goes on, and its log."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from posefix.core.errors import InputError
from posefix.core.files import write_atomically

STATE_FILE, MODEL_FILE, LOG_FILE = "state.pt", "model.safetensors", "log.jsonl"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what a resumed run needs, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / STATE_FILE, buffer.getvalue())


@contextmanager
def reading_state(folder: Path, device: torch.device) -> Iterator[dict[str, Any]]:
    """Yield the state of a folder, to be taken over; InputError when it is damaged, also where it does not fit."""
    path = folder / STATE_FILE
    try:
        yield torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:  # the unpickler raises whatever the damage provokes
        raise InputError(f"{path}: not a readable training state ({type(error).__name__})") from None


def append_log(folder: Path, step: int, seconds: float, entry: dict[str, Any]) -> None:
    """Append a line of JSON to the log."""
    entry = {"step": step, "seconds": round(seconds, 1), **entry}
    rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in entry.items()}
    with (folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(json.dumps(rounded) + "\n")
