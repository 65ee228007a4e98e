"""Checkpoints of the sequence denoiser: weights, with the configuration and the skeleton inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.resources import validated
from posefix.models.weights import read_weights, resolve
from posefix.motion.network import MotionConfig, MotionNetwork

DEFAULT = "posefix-motion"
METADATA_KEY = "posefix_motion"


def save_motion(
    path: Path,
    network: MotionNetwork,
    experiment: dict[str, Any],
    training_info: dict[str, Any],
    half: bool = False,
) -> None:
    """Write a network, whole or not at all, with how it was trained; ``half`` stores floats as fp16."""
    tensors = {
        name: (value.half() if half else value).detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
    }
    metadata = {
        "motion": network.config.model_dump(mode="json"),
        "skeleton": network.skeleton.to_dict(),
        "experiment": experiment,
        "training_info": training_info,
    }
    write_atomically(path, save(tensors, {METADATA_KEY: json.dumps(metadata)}))


def is_motion(path: Path) -> bool:
    """Whether a checkpoint is one of the sequence denoiser; InputError when it is none at all."""
    return METADATA_KEY in read_weights(path)[1]


def export_motion(path: Path, out: Path) -> int:
    """Write a trained checkpoint in half precision; returns how many steps it was trained for."""
    parsed = json.loads(read_weights(path)[1][METADATA_KEY])
    save_motion(out, load_motion(path), parsed["experiment"], parsed["training_info"], half=True)
    return int(parsed["training_info"].get("steps", 0))


def load_motion(name_or_path: str | Path = DEFAULT, device: str | torch.device = "cpu") -> MotionNetwork:
    """Read a network by path or shipped name. Never runs code from the file.

    Raises:
        InputError: naming the file, when it is missing, damaged, or not a checkpoint of the sequence denoiser.
    """
    path = resolve(name_or_path)
    weights, metadata = read_weights(path)
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: is not a checkpoint of the sequence denoiser; give one, or {DEFAULT}")
    try:
        parsed = json.loads(metadata[METADATA_KEY])
        config = validated(MotionConfig, parsed["motion"], "motion")
        network = MotionNetwork(config, skeletons.from_dict(parsed["skeleton"], "skeleton"))
        network.load_state_dict(weights)
    except Exception as error:  # whatever damaged values make the parsers and torch stumble upon
        raise InputError(f"{path}: no network can be built from its contents ({type(error).__name__})") from None
    return network.eval().to(device)
