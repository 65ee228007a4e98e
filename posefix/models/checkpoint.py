"""Checkpoints: one safetensors file with weights, configuration and skeleton."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.resources import validated
from posefix.core.skeleton import Skeleton
from posefix.models.config import ModelConfig
from posefix.models.network import FusionNetwork, PoseFixNetwork, build_network
from posefix.models.weights import read_weights, resolve, write_weights

DEFAULT = "posefix-base"
METADATA_KEY = "posefix"


@dataclass(frozen=True)
class Checkpoint:
    """A network with everything needed to run it."""

    network: PoseFixNetwork | FusionNetwork
    config: ModelConfig
    skeleton: Skeleton
    training_info: dict[str, Any] = field(default_factory=dict)  # how it was trained: steps, crops, seconds
    experiment: dict[str, Any] = field(default_factory=dict)  # the rest of the training configuration, for the record


def save_checkpoint(path: Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write a checkpoint atomically; ``half`` stores floats as fp16."""
    description = {
        "config": {**checkpoint.experiment, "model": checkpoint.config.model_dump(mode="json")},
        "skeleton": checkpoint.skeleton.to_dict(),
        "facts": checkpoint.training_info,
    }
    write_weights(path, checkpoint.network, METADATA_KEY, description, half)


def load_checkpoint(name_or_path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a checkpoint by path or shipped name. Never runs code from the file.

    Raises:
        InputError: naming the file, when it is missing, truncated, not safetensors, not written by this package, or
            describes a network that cannot be built.
    """
    path = resolve(name_or_path)
    weights, metadata = read_weights(path)
    if other := [key.removeprefix(f"{METADATA_KEY}_") for key in metadata if key.startswith(f"{METADATA_KEY}_")]:
        raise InputError(
            f"{path}: is a checkpoint of another network ({other[0]}), not of a refiner; give one, or {DEFAULT}"
        )
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: has weights but no posefix configuration inside; was it made by train.py?")
    checkpoint = _build(metadata[METADATA_KEY], path)
    try:
        checkpoint.network.load_state_dict(weights)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit the network that it names: it was made by another version of posefix, or "
            "is damaged; train it anew, or take a shipped one, such as posefix-base"
        ) from None
    checkpoint.network.eval().to(device)
    return checkpoint


def _build(metadata: str, path: Path) -> Checkpoint:
    """Build the checkpoint that the metadata describe, with random weights."""
    try:
        parsed = json.loads(metadata)
        experiment, training_info = {**parsed["config"]}, {**parsed.get("facts", {})}
        config = validated(ModelConfig, experiment.pop("model"), "model")
        skeleton = skeletons.from_dict(parsed["skeleton"], "skeleton")
        return Checkpoint(build_network(config, skeleton), config, skeleton, training_info, experiment)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # damaged values make parsers, torch and timm raise anything
        raise InputError(f"{path}: no network can be built from its configuration ({type(error).__name__})") from None
