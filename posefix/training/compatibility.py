"""What may differ between a training and the one whose state it goes on from."""

from __future__ import annotations

from typing import Any

from posefix.core.errors import InputError
from posefix.training.config import Config

NOT_DECISIVE: dict[str, bool | set[str]] = {  # for the losses
    "name": True,
    "evaluation": True,
    "model": {"keep_margin"},
    "training": {"test_batch", "flip_test", "workers", "evaluate_every", "save_minutes", "cache"},
}


def require_same_training(path: object, config: Config, other: Config) -> None:
    """Raise InputError unless a state of ``other``, read from ``path``, leads to the losses of ``config``."""
    now, then = (c.model_dump(mode="json", exclude=NOT_DECISIVE) for c in (config, other))
    if differing := _first_difference(now, then):
        raise InputError(f"{path}: was trained with another {differing}; choose another --out to start anew")


def _first_difference(now: Any, then: Any, key: str = "") -> str | None:
    """``key.sub (value then, now value)`` of the first place where two nested values differ."""
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        now, then = dict(enumerate(now)), dict(enumerate(then))
    if isinstance(now, dict) and isinstance(then, dict):
        found = (_first_difference(v, then.get(k), f"{key}.{k}" if key else k) for k, v in now.items())
        return next((f for f in found if f), None)
    return None if now == then else f"{key} ({then!r}, now {now!r})"
