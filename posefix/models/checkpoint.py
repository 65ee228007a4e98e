"""Checkpoints: one safetensors file with the weights, and the configuration and skeleton inside."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from posefix.core import resources
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.skeleton import Skeleton
from posefix.models.network import FusionNetwork, PoseFixNetwork, build_network
from posefix.training.config import Config, from_dict, to_dict

DEFAULT = "posefix-base"
METADATA_KEY = "posefix"


@dataclass(frozen=True)
class Checkpoint:
    """A network with all that must be known to run it. ``facts`` says how it was trained (steps, crops, ...)."""

    network: PoseFixNetwork | FusionNetwork
    config: Config
    skeleton: Skeleton
    facts: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write a checkpoint, whole or not at all; ``half`` stores floats as fp16."""
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in checkpoint.network.state_dict().items()
    }
    metadata = {
        "config": to_dict(checkpoint.config),
        "skeleton": checkpoint.skeleton.to_dict(),
        "facts": checkpoint.facts,
    }
    write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(metadata)}))


def resolve(name_or_path: str | Path) -> Path:
    """The file of a checkpoint given by the name of a shipped one, or by path.

    Raises:
        InputError: when there is neither.
    """
    path = Path(name_or_path)
    shipped = resources.weights_dir() / f"{name_or_path}.safetensors"
    with suppress(OSError):  # a name longer than any file's
        if path.is_file():
            return path
        if shipped.is_file():
            return shipped
    names = ", ".join(sorted(p.stem for p in resources.weights_dir().glob("*.safetensors"))) or "none"
    raise InputError(f"no checkpoint {str(name_or_path)!r:.80}: give a .safetensors file or a shipped name ({names})")


def load_checkpoint(name_or_path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint by path or shipped name. Never runs code from the file.

    Raises:
        InputError: naming the file, when it is missing, truncated, not safetensors, not made by this program, or of a
            network that cannot be built.
    """
    path = resolve(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: not a readable checkpoint, which is a whole .safetensors file ({error}); pickles are never loaded"
        ) from None
    if metadata is None:
        raise InputError(f"{path}: has weights but no posefix configuration inside; was it made by train.py?")
    config, skeleton, facts = _parse(metadata, path)
    network = _build(config, skeleton, path)
    weights = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: {name} has values that are not finite; the file is damaged")
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{path}: its weights do not fit its own configuration; the file is damaged") from None
    return Checkpoint(network.eval().to(device), config, skeleton, facts)


def _parse(metadata: str, path: Path) -> tuple[Config, Skeleton, dict[str, Any]]:
    try:
        parsed = json.loads(metadata)
        config = from_dict(parsed["config"], str(path))
        skeleton = skeletons.from_dict(parsed["skeleton"], str(path))
        facts = parsed.get("facts", {})
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({type(error).__name__})") from None
    if not isinstance(facts, dict):
        raise InputError(f"{path}: its facts are {facts!r:.40}, expected a mapping of names to values")
    return config, skeleton, facts


def _build(config: Config, skeleton: Skeleton, path: Path) -> PoseFixNetwork | FusionNetwork:
    try:
        return build_network(config.model, skeleton, pretrained=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the network it describes cannot be built ({type(error).__name__})") from None
