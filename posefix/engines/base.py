"""The protocol of inference engines."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from posefix.models.interface import Evidence, InputPose, Located, RefinementNetwork


class Engine(Protocol):
    """Runs a refinement network for inference."""

    name: str  # as in :func:`posefix.engines.create_engine`
    device: torch.device  # of the input poses and all outputs
    network: RefinementNetwork  # a copy of the network

    def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
        """Encode crops: everything that does not depend on the poses.

        Args:
            crops: (N, H, W, 3) uint8, RGB.
            flip_test: whether to average with the mirrored crops.
        """
        ...

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        """Locate the keypoints of N people from evidence and input poses; may be called again with other poses."""
        ...
