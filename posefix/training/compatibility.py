"""What may differ between two trainings of which one goes on from the other's state or weights."""

from __future__ import annotations

from typing import Any

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.models.checkpoint import Checkpoint
from posefix.models.config import ModelConfig
from posefix.training.config import Config


def require_same_training(path: object, config: Config, other: Config) -> None:
    """Raise InputError unless a state of ``other`` leads to the losses that ``config`` asks for."""
    if differing := _first_difference(_decisive(config), _decisive(other)):
        raise InputError(f"{path}: was trained with another {differing}; choose another --out to start anew")


def require_same_network(path: object, config: ModelConfig, skeleton: Skeleton, checkpoint: Checkpoint) -> None:
    """Raise InputError unless the weights of a checkpoint fit a network; at any size of crops."""
    if differing := _first_difference(_of_weights(config), _of_weights(checkpoint.config)):
        raise InputError(f"{path}: is a network of another {differing}")
    if checkpoint.skeleton.keypoint_names != skeleton.keypoint_names:
        raise InputError(f"{path}: is a network of skeleton {checkpoint.skeleton.name}, not {skeleton.name}")


def _decisive(config: Config) -> dict[str, Any]:
    """What determines the losses, as plain data: not how often they are looked at, nor by how many workers."""
    plain = config.model_dump(mode="json")
    del plain["evaluation"], plain["name"], plain["model"]["keep_margin"]
    for name in ("test_batch", "flip_test", "workers", "evaluate_every", "save_minutes", "cache"):
        del plain["training"][name]
    return plain


def _of_weights(config: ModelConfig) -> dict[str, Any]:
    """What weights depend on, as plain data."""
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
