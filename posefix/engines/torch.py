"""The engine that runs every network: torch itself, on any device."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from posefix.engines.base import Engine
from posefix.models.interface import Evidence, InputPose, Located, RefinementNetwork


class TorchEngine(Engine):
    """Runs a copy of a network; see :class:`posefix.engines.base.Engine`.

    Args:
        network: in any mode, on any device; stays as it is.
        device: where to run it.
        precision: not used; torch runs in float32.
    """

    name = "torch"

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "f32") -> None:
        self.device, self.network = device, copy.deepcopy(network).eval()
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
        return self.call("encode", torch.from_numpy(crops).permute(0, 3, 1, 2), flip_test=flip_test)

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        located: Located = self.call("locate", evidence, pose)
        return located

    @torch.inference_mode()
    def call(self, method: str, *inputs: Any, **options: bool) -> Any:
        """Run a method of the network on tensors, or named tuples of tensors, of N people, and on ``options``."""
        moved = tree_map(lambda tensor: tensor.to(self.device), inputs)
        return getattr(self.network, method)(*moved, **options)
