"""What an engine does: crops and poses in, places of keypoints out, and nothing else."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from posefix.models.interface import Evidence, InputPose, Located, RefinementNetwork


class Engine(Protocol):
    """Runs a refinement network for inference."""

    name: str  # the engine's, as given to :func:`posefix.engines.create_engine`
    device: torch.device  # where poses go in, and evidence and places come out
    network: RefinementNetwork  # what it runs, a copy

    def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
        """Compute all that does not depend on the poses.

        Args:
            crops: (N, H, W, 3) uint8, RGB.
            flip_test: whether to average over the mirrored crops, too.
        """
        ...

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        """Locate the keypoints of N people by evidence and input poses; may be called again with other poses."""
        ...
