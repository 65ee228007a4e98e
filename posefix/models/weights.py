"""Find, read and write files of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.files import write_atomically


def resolve(name_or_path: str | Path) -> Path:
    """Find the file of a checkpoint by path or shipped name; InputError when there is none."""
    path = Path(name_or_path)
    shipped = resources.weights_dir() / f"{name_or_path}.safetensors"
    with suppress(OSError):  # name too long
        if path.is_file():
            return path
        if shipped.is_file():
            return shipped
    names = ", ".join(sorted(p.stem for p in resources.weights_dir().glob("*.safetensors"))) or "none"
    raise InputError(f"no checkpoint {str(name_or_path)!r:.80}: give a .safetensors file or a shipped name ({names})")


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors (floats as float32) and the metadata of a safetensors file. Never runs code from the file.

    Raises:
        InputError: when the file is missing, truncated or not safetensors, or holds values that are not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: not a readable checkpoint, which is a whole .safetensors file ({error}); pickles are never loaded"
        ) from None
    weights = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: {name} has values that are not finite; the file is damaged")
    return weights, metadata


def write_weights(path: Path, network: nn.Module, key: str, description: Mapping[str, Any], half: bool = False) -> None:
    """Write a network's weights as safetensors, atomically.

    Args:
        path: the file.
        network: its state dict is written.
        key: of the description in the metadata.
        description: written as JSON.
        half: store floats as fp16.
    """
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
    }
    write_atomically(path, save(tensors, {key: json.dumps(description)}))
