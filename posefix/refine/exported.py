"""Export a refiner as one ONNX graph that runs without this package."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import MAX_COORDINATE
from posefix.engines.compiled import to_onnx
from posefix.models.checkpoint import Checkpoint
from posefix.models.interface import InputPose
from posefix.models.network import FusionNetwork
from posefix.refine.decisions import Forward, decide
from posefix.refine.settings import ESTIMATOR_AP

INPUTS, OUTPUTS = ["crops", "poses", "boxes"], ["refined", "expected_oks"]


class ExportedRefiner(nn.Module):
    """Refines N people in one pass, without flip test and without neighbours."""

    sigmas: torch.Tensor

    def __init__(self, checkpoint: Checkpoint, estimator_ap: float) -> None:
        super().__init__()
        self._accuracy = estimator_ap / 100
        self.network, self._config = copy.deepcopy(checkpoint.network).eval().cpu(), checkpoint.config
        self.register_buffer("sigmas", torch.as_tensor(checkpoint.skeleton.sigmas, dtype=torch.float32))

    def forward(
        self, crops: torch.Tensor, poses: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine N people.

        Args:
            crops: (N, H, W, 3) uint8 RGB: the person's box, enlarged by ``box_padding`` to fit the middle of the crop,
                less 2 pixels on each side (``frame_size``).
            poses: (N, K, 3) float32 x, y in pixels of the crop and confidence. Keypoints with confidence 0 or with a
                value that is not finite have no estimate.
            boxes: (N, 4) float32 x0, y0, x1, y1 of the person in pixels of the crop; must not be empty.

        Returns:
            refined (N, K, 3) x, y in pixels of the crop and expected KS, and expected_oks (N,).
        """
        margin = self._config.frame_margin
        finite = poses.abs() < MAX_COORDINATE  # False for NaN
        poses = torch.where(finite.all(-1, keepdim=True), poses, 0.0)
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
        lengths = (geometry.BOX_AREA_TO_AREA * size.prod(1)).sqrt()
        no_others = torch.zeros_like(poses)[:, None]
        pose = InputPose(
            poses[..., :2] - margin,
            poses[..., 2],
            2 * lengths[:, None] * self.sigmas,
            no_others[..., :2],
            no_others[..., 2],
            boxes - margin,
            torch.full_like(lengths, self._accuracy),
        )
        evidence = self.network.encode(crops.permute(0, 3, 1, 2), flip_test=False)
        proposal = decide(Forward(self.network, evidence, self._config.keep_margin), pose, passes=1)
        refined = torch.cat([proposal.keypoints + margin, proposal.keypoint_scores[..., None]], dim=-1)
        return refined, proposal.expected


def export_onnx(checkpoint: Checkpoint, estimator_ap: float = ESTIMATOR_AP) -> bytes:
    """Export a refiner to ONNX; :class:`ExportedRefiner` describes inputs and outputs.

    ``estimator_ap`` is the estimator's AP in percent (see ``RefineSettings``).

    Raises:
        InputError: for a network without the fusion head.
    """
    refiner = ExportedRefiner(checkpoint, estimator_ap)
    if not isinstance(refiner.network, FusionNetwork):
        raise InputError("only networks with the fusion head can be exported to ONNX")
    height, width = checkpoint.config.input_size
    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.integers(0, 255, (2, height, width, 3)).astype(np.uint8))
    poses = torch.from_numpy(rng.uniform(0, width, (2, len(checkpoint.skeleton), 3)).astype(np.float32))
    boxes = torch.tensor([[20.0, 20.0, width - 20.0, height - 20.0]]).expand(2, -1)
    dynamic_axes = {name: {0: "people"} for name in (*INPUTS, *OUTPUTS)}
    return to_onnx(
        refiner.eval(), crops, poses, boxes, input_names=INPUTS, output_names=OUTPUTS, dynamic_axes=dynamic_axes
    )
