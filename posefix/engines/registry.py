"""Which engine runs a network's eyes."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from posefix.core.errors import InputError
from posefix.models.network import FusionNetwork, PoseFixNetwork

ENGINES = ("auto", "torch", "openvino")


def accelerate(
    network: FusionNetwork | PoseFixNetwork, engine: str, device: torch.device, precision: str = "f32"
) -> str:
    """Let an engine run the network's eyes, in place; for inference only.

    Args:
        network: in eval mode; with a deconv or fpn head it has no eyes of its own, and stays with torch.
        engine: one of ``ENGINES``; ``auto`` is OpenVINO where it is installed and the network runs on a CPU.
        device: where the network runs.
        precision: ``f32`` or ``bf16``, of OpenVINO.

    Returns:
        The engine that was chosen.

    Raises:
        InputError: when the engine is unknown, not installed, or cannot run this network.
    """
    if engine not in ENGINES:
        raise InputError(f"no engine {engine!r:.40}; there are {', '.join(ENGINES)}")
    possible = isinstance(network, FusionNetwork) and device.type == "cpu"
    if engine == "torch" or (engine == "auto" and not (possible and find_spec("openvino"))):
        return "torch"
    if not possible:
        raise InputError("engine openvino runs networks with the fusion head, on a CPU; take engine torch")
    from posefix.engines.openvino import OpenVinoEyes

    try:
        network.backbone = OpenVinoEyes(network.backbone, network.config.input_size, precision)
    except (InputError, RuntimeError) as error:  # installed, but not working
        if engine == "auto":
            return "torch"
        raise InputError(f"engine openvino cannot be used here ({str(error).splitlines()[0]:.200})") from None
    return "openvino"
