"""The engine that runs MoveNet by OpenVINO: the same function, several times as fast on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from posefix.core.errors import InputError
from posefix.core.extras import require
from posefix.engines.torch import TorchEngine
from posefix.models.interface import RefinementNetwork
from posefix.models.movenet import MoveNetOutput
from posefix.models.network import FusionNetwork

BATCH = 8  # crops that the graph takes at once; more does not pay


class OpenVinoEngine(TorchEngine):
    """Runs the backbone by OpenVINO and the rest, which costs little, by torch.

    Args:
        network: with the fusion head.
        device: a CPU.
        precision: ``f32`` or ``bf16``.

    Raises:
        InputError: for another network or device, or when OpenVINO is not installed or does not work.
    """

    name = "openvino"

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "f32") -> None:
        if not isinstance(network, FusionNetwork) or device.type != "cpu":
            raise InputError("engine openvino runs networks with the fusion head, on a CPU; use engine torch")
        require("openvino", "openvino", "engine openvino")
        super().__init__(network, device)
        try:
            backbone = self.network.get_submodule("backbone")
            self.network.backbone = CompiledMoveNet(backbone, network.config.input_size, precision)
        except (ImportError, RuntimeError) as error:
            raise InputError(f"engine openvino cannot be used here ({str(error).splitlines()[0]:.200})") from None


class CompiledMoveNet(nn.Module):
    """A MoveNet compiled for crops of one size.

    Args:
        network: the torch module, in eval mode.
        size: (height, width) of the crops.
        precision: ``f32`` or ``bf16``.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int], precision: str) -> None:
        super().__init__()
        import openvino

        example = torch.zeros(BATCH, 3, *size)
        graph = openvino.convert_model(network, example_input=example, input=[list(example.shape)])
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._compiled = openvino.Core().compile_model(graph, "CPU", hints)

    def forward(self, images: torch.Tensor) -> MoveNetOutput:
        """As :meth:`posefix.models.movenet.MoveNet.forward`."""
        parts = []
        for chunk in torch.split(images.contiguous(), BATCH):
            padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk), *chunk.shape[1:])])
            found = self._compiled(padded.numpy())
            parts.append([torch.from_numpy(found[i][: len(chunk)].copy()) for i in range(len(MoveNetOutput._fields))])
        return MoveNetOutput(*(torch.cat(part) for part in zip(*parts, strict=True)))
