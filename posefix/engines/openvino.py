"""MoveNet by OpenVINO: the same function, several times as fast on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from posefix.core.extras import require
from posefix.models.movenet import MoveNet, Seen

BATCH = 8  # crops that the graph takes at once; more does not pay


class OpenVinoEyes(nn.Module):
    """A MoveNet compiled for crops of one size.

    Args:
        network: the torch module, in eval mode.
        size: (height, width) of the crops.
        precision: ``f32`` or ``bf16``.

    Raises:
        InputError: when OpenVINO is not installed.
    """

    def __init__(self, network: MoveNet, size: tuple[int, int], precision: str = "f32") -> None:
        super().__init__()
        openvino = require("openvino", "openvino", "engine openvino")
        example = torch.zeros(BATCH, 3, *size)
        graph = openvino.convert_model(network, example_input=example, input=[list(example.shape)])
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._compiled = openvino.Core().compile_model(graph, "CPU", hints)

    def forward(self, images: torch.Tensor) -> Seen:
        """As :meth:`posefix.models.movenet.MoveNet.forward`."""
        parts = []
        for chunk in images.contiguous().split(BATCH):
            padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk), *chunk.shape[1:])])
            found = self._compiled(padded.numpy())
            parts.append([torch.from_numpy(found[i][: len(chunk)].copy()) for i in range(len(Seen._fields))])
        return Seen(*(torch.cat(part) for part in zip(*parts, strict=True)))
