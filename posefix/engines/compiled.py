"""Engines that run a network by OpenVINO or ONNX Runtime: the same functions, several times as fast on a CPU."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

import posefix
from posefix import models
from posefix.core.errors import InputError, require
from posefix.core.files import write_atomically
from posefix.engines.torch import TorchEngine
from posefix.models.decode import Decoded
from posefix.models.interface import Located, Quality, RefinementNetwork
from posefix.models.movenet import Evidence
from posefix.models.network import FusionNetwork

Graph = Callable[[list[np.ndarray]], list[np.ndarray]]
CACHED = 20  # files that the cache keeps: two for each graph, of up to 25 MB each
_ANY = torch.empty(0)
_EVIDENCE = Evidence(_ANY, _ANY, _ANY)
_FORMS: dict[str, Any] = {  # of what the methods return; to run them once to see it would take a second
    "encode": _EVIDENCE,
    "encode_both": (_EVIDENCE, _EVIDENCE),
    "estimate": _ANY,
    "locate": Located(Decoded(_ANY, _ANY, _ANY), Quality(_ANY, _ANY, _ANY, _ANY, _ANY)),
}


class UnusableEngine(InputError):
    """An engine that is installed and does not work."""


class CompiledEngine(TorchEngine):
    """Runs the methods of a network as compiled graphs, a few people at a time on each core.

    Args:
        network: with the fusion head.
        device: a CPU.
        precision: of the backbone: ``f32``, ``bf16``, or ``auto`` for the faster of them that the CPU has.

    Raises:
        InputError: for another network or device, or when the library is not installed or does not work.
    """

    extra: str

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "auto") -> None:
        if not isinstance(network, FusionNetwork) or device.type != "cpu":
            raise InputError(f"engine {self.name} runs networks with the fusion head, on a CPU; use engine torch")
        super().__init__(network, device)
        self._precision = precision
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self.name)
        self._graphs: dict[Any, tuple[Graph, TreeSpec]] = {}
        self._lock = threading.Lock()  # around the making of graphs
        try:
            require(self.name, self.extra, f"engine {self.name}")
            self.encode(np.zeros((1, *network.config.input_size, 3), np.uint8), flip_test=True)
        except InputError:
            raise
        except Exception as error:  # these libraries raise whatever they like
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UnusableEngine(f"engine {self.name} cannot be used here ({reason:.200})") from None

    def _run(
        self, method: str, form: TreeSpec, options: dict[str, bool], pieces: list[list[torch.Tensor]]
    ) -> list[Any]:
        key = method, *options.items()
        with self._lock:
            if key not in self._graphs:
                function = _Method(self.network, method, form, options)
                example = [tensor[[0, -1]] for tensor in pieces[0]]
                precision = "f32" if method == "locate" else self._precision
                graph = self.compile(exported(function, example), precision, self._threads)
                self._graphs[key] = graph, tree_flatten(_FORMS[method])[1]
        graph, found = self._graphs[key]

        def run(piece: list[torch.Tensor]) -> Any:
            arrays = graph([np.ascontiguousarray(_as_in_memory(tensor).numpy()) for tensor in piece])
            return tree_unflatten([torch.from_numpy(array) for array in arrays], found)

        return list(self._pool.map(run, pieces))

    @staticmethod
    @abstractmethod
    def compile(onnx: bytes, precision: str, threads: int) -> Graph:
        """Compile an ONNX graph, to be run by so many threads at a time."""


class OpenVinoEngine(CompiledEngine):
    """By OpenVINO, the backbone in bf16 where the CPU has it."""

    name = extra = "openvino"

    @staticmethod
    def compile(onnx: bytes, precision: str, threads: int) -> Graph:
        hints: dict[str, Any] = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        if precision != "auto":
            hints["INFERENCE_PRECISION_HINT"] = precision
        if (folder := cache_folder()) is not None:
            hints["CACHE_DIR"] = str(folder)  # of what is compiled; to compile it anew takes a second
        core = _openvino_core()
        compiled = core.compile_model(core.read_model(onnx), "CPU", hints)
        own = threading.local()  # requests hold the memory of what is computed in between, and run one at a time

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            return list(own.request.infer(arrays).values())

        return run


@cache
def _openvino_core() -> Any:
    """The one core of the process, which lives as long as it.

    A core's CPU plugin gives the thread another stack for signals and, when it goes, the stack that there was before.
    Of two cores the first to go leaves a stack that is freed: the next signal (Ctrl-C, or a worker that ends) would
    overwrite other memory or end the process.
    """
    import openvino

    return openvino.Core()


class OnnxRuntimeEngine(CompiledEngine):
    """By ONNX Runtime, in float32."""

    name, extra = "onnxruntime", "onnx"

    @staticmethod
    def compile(onnx: bytes, precision: str, threads: int) -> Graph:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx, options)
        names = [argument.name for argument in session.get_inputs()]
        return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


class _Method(nn.Module):
    """A method of a network as a function of flat tensors, which can be exported."""

    def __init__(self, network: nn.Module, name: str, form: TreeSpec, options: dict[str, bool]) -> None:
        super().__init__()
        self.network, self._name, self._form, self._options = network, name, form, options

    @property
    def identity(self) -> str:
        """Name and options of the method."""
        return f"{self._name} {self._options}"

    def to_onnx(self, example: list[torch.Tensor]) -> bytes:
        """Export for any number of people."""
        names = [f"input{i}" for i in range(len(example))]
        return to_onnx(self, *example, input_names=names, dynamic_axes={name: {0: "people"} for name in names})

    def called(self, tensors: list[torch.Tensor]) -> Any:
        """Call the method; crops are tensors as networks take them."""
        return getattr(self.network, self._name)(*tree_unflatten(tensors, self._form), **self._options)

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call it; crops are (N, H, W, 3), as they lie in memory."""
        found = self.called([a.permute(0, 3, 1, 2) if a.dtype == torch.uint8 else a for a in arrays])
        return tuple(tree_flatten(found)[0])


def _as_in_memory(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(0, 2, 3, 1) if tensor.dtype == torch.uint8 else tensor


def exported(function: _Method, example: list[torch.Tensor]) -> bytes:
    """Export a method as ONNX, or read what was exported of the same weights before from the user's cache folder.

    It is of the same version and source of posefix; in a frozen app, where no source is, of the same version. A file
    there begins with the SHA-256 of the graph, so that a damaged one is made anew.
    """
    arrays = [_as_in_memory(tensor) for tensor in example]
    sources = [path for folder in models.__path__ for path in sorted(Path(folder).glob("*.py"))]
    code = [posefix.__version__, *(path.read_bytes() for path in sources)]
    shapes = [tuple(array.shape[1:]) for array in arrays]
    digest = hashlib.sha256(repr((function.identity, shapes, torch.__version__, code)).encode())
    for name, weights in function.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    if (folder := cache_folder()) is None:
        return function.to_onnx(arrays)
    path = folder / digest.hexdigest()[:32]
    with suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept[32:]).digest() == kept[:32]:
            return kept[32:]
    graph = function.to_onnx(arrays)
    with suppress(OSError, InputError):
        write_atomically(path, hashlib.sha256(graph).digest() + graph)
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-CACHED]:
            old.unlink()
    return graph


def cache_folder() -> Path | None:
    """The user's folder for what engines make of networks; None if it cannot be written, to be done without."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "posefix")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None


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
