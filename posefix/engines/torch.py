"""The engine that runs every network: torch itself, on any device."""

from __future__ import annotations

import copy

import numpy as np
import torch

from posefix.engines.base import Engine
from posefix.models.interface import Evidence, InputPose, NetworkOutput, RefinementNetwork


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

    @torch.inference_mode()
    def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
        return self.network.encode(torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2), flip_test)

    @torch.inference_mode()
    def predict(self, evidence: Evidence, pose: InputPose) -> NetworkOutput:
        return self.network.predict(evidence, pose)
