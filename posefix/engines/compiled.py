"""Engines that run MoveNet by OpenVINO or ONNX Runtime: the same function, several times as fast on a CPU."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import tempfile
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from posefix.core.errors import InputError, require
from posefix.core.files import write_atomically
from posefix.engines.torch import TorchEngine
from posefix.models.interface import RefinementNetwork
from posefix.models.movenet import MoveNetOutput
from posefix.models.network import FusionNetwork

BATCH = 8  # crops that a graph takes at once; more does not pay
Graph = Callable[[np.ndarray], list[np.ndarray]]


class UnusableEngine(InputError):
    """An engine that is installed and does not work."""


class CompiledEngine(TorchEngine):
    """Runs the backbone as a compiled graph and the rest, which costs little, by torch.

    Args:
        network: with the fusion head.
        device: a CPU.
        precision: ``f32``, ``bf16``, or ``auto`` for the faster of them that the CPU has.

    Raises:
        InputError: for another network or device, or when the library is not installed or does not work.
    """

    extra: str

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "auto") -> None:
        if not isinstance(network, FusionNetwork) or device.type != "cpu":
            raise InputError(f"engine {self.name} runs networks with the fusion head, on a CPU; use engine torch")
        super().__init__(network, device)
        example = torch.zeros(BATCH, 3, *network.config.input_size)
        try:
            require(self.name, self.extra, f"engine {self.name}")
            graph = self.compile(exported(self.network.get_submodule("backbone"), example), precision)
        except InputError:
            raise
        except Exception as error:  # these libraries raise whatever they like
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UnusableEngine(f"engine {self.name} cannot be used here ({reason:.200})") from None
        self.network.backbone = CompiledMoveNet(graph)

    @staticmethod
    @abstractmethod
    def compile(onnx: bytes, precision: str) -> Graph:
        """Compile an ONNX graph that takes one array."""


class OpenVinoEngine(CompiledEngine):
    """By OpenVINO, in bf16 where the CPU has it."""

    name = extra = "openvino"

    @staticmethod
    def compile(onnx: bytes, precision: str) -> Graph:
        import openvino

        core = openvino.Core()
        hints = {"PERFORMANCE_HINT": "LATENCY"}
        if precision != "auto":
            hints["INFERENCE_PRECISION_HINT"] = precision
        compiled = core.compile_model(core.read_model(onnx), "CPU", hints)
        return lambda images: list(compiled(images).values())


class OnnxRuntimeEngine(CompiledEngine):
    """By ONNX Runtime, in float32."""

    name, extra = "onnxruntime", "onnx"

    @staticmethod
    def compile(onnx: bytes, precision: str) -> Graph:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(onnx, options)
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})


class CompiledMoveNet(nn.Module):
    """A compiled MoveNet in place of the module."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def forward(self, images: torch.Tensor) -> MoveNetOutput:
        """As :meth:`posefix.models.movenet.MoveNet.forward`."""
        parts = []
        for chunk in torch.split(images.contiguous(), BATCH):
            padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk), *chunk.shape[1:])])
            parts.append([torch.from_numpy(maps[: len(chunk)].copy()) for maps in self._graph(padded.numpy())])
        return MoveNetOutput(*(torch.cat(part) for part in zip(*parts, strict=True)))


def exported(module: nn.Module, example: torch.Tensor) -> bytes:
    """Export a module as ONNX, or read what was exported of the same weights before from the user's cache folder.

    A file there begins with the SHA-256 of the graph, so that a damaged one is made anew.
    """
    code = inspect.getsource(sys.modules[type(module).__module__])
    digest = hashlib.sha256(repr((tuple(example.shape), torch.__version__, code)).encode())
    for name, weights in module.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "posefix", digest.hexdigest()[:32])
    except RuntimeError:  # there is no home
        return to_onnx(module, example)
    with suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept[32:]).digest() == kept[:32]:
            return kept[32:]
    graph = to_onnx(module, example)
    with suppress(OSError, InputError):  # a cache that cannot be written is done without
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(graph).digest() + graph)
    return graph


def to_onnx(module: nn.Module, *example: torch.Tensor, **options: Any) -> bytes:
    """Export a module to ONNX by tracing it on examples; ``options`` are of :func:`torch.onnx.export`."""
    require("onnx", "onnx", "an export to ONNX")
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no counterpart of torch's fused transformer layer
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # this exporter is called old; the new one knows fewer operators
            path = Path(folder, "graph.onnx")
            torch.onnx.export(module, example, path, dynamo=False, opset_version=17, **options)
            return path.read_bytes()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
