"""Checkpoints of networks that process tracks: weights, configuration and skeleton."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.resources import StrictModel, validated
from posefix.models.weights import read_weights, resolve, write_weights

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class SequenceCheckpoint(Generic[Network]):
    """Reads and writes checkpoints of one kind of network.

    The network is created as ``network(config, skeleton)`` and keeps both as attributes.

    Attributes:
        network: class of the network.
        config: class of its configuration.
        field: key of the configuration in checkpoints and experiment files.
        title: name of the network in messages.
        default: name of the shipped checkpoint.
    """

    network: type[Network]
    config: type[StrictModel]
    field: str
    title: str
    default: str

    @property
    def key(self) -> str:
        """Key of the description in a file's metadata."""
        return f"posefix_{self.field}"

    def save(
        self,
        path: Path,
        network: nn.Module,
        experiment: dict[str, Any],
        training_info: dict[str, Any],
        half: bool = False,
    ) -> None:
        """Write a network and how it was trained, atomically; ``half`` stores floats as fp16."""
        description = {
            self.field: network.config.model_dump(mode="json"),  # type: ignore[union-attr,operator]
            "skeleton": network.skeleton.to_dict(),  # type: ignore[union-attr,operator]
            "experiment": experiment,
            "training_info": training_info,
        }
        write_weights(path, network, self.key, description, half)

    def holds(self, path: Path) -> bool:
        """Return whether a file is a checkpoint of this kind; InputError when it is no checkpoint at all."""
        return self.key in read_weights(path)[1]

    def export(self, path: Path, out: Path) -> int:
        """Rewrite a trained checkpoint in half precision; returns the number of training steps."""
        network, parsed = self._read(path)
        self.save(out, network, parsed["experiment"], parsed["training_info"], half=True)
        return int(parsed["training_info"].get("steps", 0))

    def load(self, name_or_path: str | Path | None = None, device: str | torch.device = "cpu") -> Network:
        """Load a network by path or shipped name. Never runs code from the file.

        Raises:
            InputError: naming the file, when it is missing, damaged, or not a checkpoint of this kind.
        """
        return self._read(resolve(name_or_path or self.default))[0].to(device)

    def _read(self, path: Path) -> tuple[Network, dict[str, Any]]:
        """Read a network and its description."""
        weights, metadata = read_weights(path)
        if self.key not in metadata:
            raise InputError(f"{path}: is not a checkpoint of {self.title}; give one, or {self.default}")
        try:
            parsed = json.loads(metadata[self.key])
            config = validated(self.config, parsed[self.field], self.field)
            network = self.network(config, skeletons.from_dict(parsed["skeleton"], "skeleton"))
            network.load_state_dict(weights)
            int(dict(parsed["training_info"]).get("steps", 0)), dict(parsed["experiment"])  # check the types
        except Exception as error:  # damaged values make the parsers and torch raise anything
            raise InputError(f"{path}: no network can be built from its contents ({type(error).__name__})") from None
        return network.eval(), parsed
