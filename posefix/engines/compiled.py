"""Engines that run networks with OpenVINO or ONNX Runtime, several times as fast as torch on a CPU."""

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
from posefix.models.movenet import Evidence, Stages
from posefix.models.network import FusionNetwork

Graph = Callable[[list[np.ndarray]], list[np.ndarray]]
CACHED = 20  # files kept in the cache: two per graph, of up to 25 MB each
_ANY = torch.empty(0)
_EVIDENCE = Evidence(_ANY, _ANY, _ANY)
_OUTPUTS: dict[str, Any] = {  # structure of the methods' outputs, to unflatten those of the graphs
    "encode": _EVIDENCE,
    "encode_both": (_EVIDENCE, _EVIDENCE),
    "encode_stages": Stages(_ANY, _ANY, _ANY),
    "estimate": _ANY,
    "locate": Located(Decoded(_ANY, _ANY, _ANY), Quality(_ANY, _ANY, _ANY, _ANY, _ANY)),
}


class UnusableEngine(InputError):
    """An engine that is installed but does not work."""


class CompiledEngine(TorchEngine):
    """Runs the methods of a network as compiled graphs, in small batches on each core.

    Args:
        network: with the fusion head.
        device: a CPU.
        precision: of the backbone: ``f32``, ``bf16``, or ``auto`` for the fastest that the CPU supports.

    Raises:
        InputError: for another network or device, or when the library is not installed or does not work.
    """

    extra: str

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "auto") -> None:
        if not isinstance(network, FusionNetwork) or device.type != "cpu":
            raise InputError(f"engine {self.name} runs networks with the fusion head, on a CPU; use engine torch")
        super().__init__(network, device)
        self._precision, self._process = precision, os.getpid()
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self.name)
        self._graphs: dict[Any, tuple[Graph, TreeSpec]] = {}
        self._lock = threading.Lock()  # guards the compilation of graphs
        try:
            require(self.name, self.extra, f"engine {self.name}")
            self.encode(np.zeros((1, *network.config.input_size, 3), np.uint8), flip_test=True)
        except InputError:
            raise
        except Exception as error:  # these libraries raise arbitrary exceptions
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UnusableEngine(f"engine {self.name} cannot be used here ({reason:.200})") from None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the arguments of the constructor: graphs cannot be pickled."""
        return type(self), (self.network, self.device, self._precision)

    def _run(
        self, method: str, spec: TreeSpec, options: dict[str, bool], batches: list[list[torch.Tensor]]
    ) -> list[Any]:
        if self._process != os.getpid():  # threads do not survive a fork: waiting for them would hang
            raise InputError(
                f"engine {self.name} was made in the process that this one was forked from; start processes by "
                'multiprocessing.get_context("spawn")'
            )
        key = method, *options.items()
        with self._lock:
            if key not in self._graphs:
                function = _Method(self.network, method, spec, options)
                example = [tensor[[0, -1]] for tensor in batches[0]]
                precision = "f32" if method == "locate" else self._precision
                graph = self.compile(cached_onnx(function, example), precision, self._threads)
                self._graphs[key] = graph, tree_flatten(_OUTPUTS[method])[1]
        graph, output_spec = self._graphs[key]

        def run(batch: list[torch.Tensor]) -> Any:
            arrays = graph([np.ascontiguousarray(_channels_last(tensor).numpy()) for tensor in batch])
            return tree_unflatten([torch.from_numpy(array) for array in arrays], output_spec)

        return list(self._pool.map(run, batches))

    @staticmethod
    @abstractmethod
    def compile(onnx: bytes, precision: str, threads: int) -> Graph:
        """Compile an ONNX graph that up to ``threads`` threads run at a time."""


class OpenVinoEngine(CompiledEngine):
    """OpenVINO; the backbone in bf16 if the CPU supports it."""

    name = extra = "openvino"

    @staticmethod
    def compile(onnx: bytes, precision: str, threads: int) -> Graph:
        hints: dict[str, Any] = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        if precision != "auto":
            hints["INFERENCE_PRECISION_HINT"] = precision
        if (folder := cache_folder()) is not None:
            hints["CACHE_DIR"] = str(folder)  # compilation takes a second
        core = _openvino_core()
        compiled = core.compile_model(core.read_model(onnx), "CPU", hints)
        local = threading.local()  # a request runs one inference at a time, so each thread has its own

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            return list(local.request.infer(arrays).values())

        return run


@cache
def _openvino_core() -> Any:
    """Return the only core of the process, which is never destroyed.

    A core's CPU plugin replaces the thread's signal stack and restores the old one when it is destroyed. With two cores
    the first to be destroyed leaves a freed stack behind: the next signal (Ctrl-C, or a worker that ends) would corrupt
    memory or kill the process.
    """
    import openvino

    return openvino.Core()


class OnnxRuntimeEngine(CompiledEngine):
    """ONNX Runtime, in float32."""

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
    """A method of a network as an exportable function of flat tensors."""

    def __init__(self, network: nn.Module, name: str, spec: TreeSpec, options: dict[str, bool]) -> None:
        super().__init__()
        self.network, self._name, self._spec, self._options = network, name, spec, options
        self.identity = f"{name} {options}"

    def to_onnx(self, example: list[torch.Tensor]) -> bytes:
        """Export for any number of people."""
        names = [f"input{i}" for i in range(len(example))]
        return to_onnx(self, *example, input_names=names, dynamic_axes={name: {0: "people"} for name in names})

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the method, with crops (N, H, W, 3) as they lie in memory."""
        tensors = [array.permute(0, 3, 1, 2) if array.dtype == torch.uint8 else array for array in arrays]
        outputs = getattr(self.network, self._name)(*tree_unflatten(tensors, self._spec), **self._options)
        return tuple(tree_flatten(outputs)[0])


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(0, 2, 3, 1) if tensor.dtype == torch.uint8 else tensor


def cached_onnx(function: _Method, example: list[torch.Tensor]) -> bytes:
    """Export a method as ONNX, or read it from the user's cache folder.

    The cache key covers the weights, posefix's version and the source of its models (frozen apps have no source). A
    cached file begins with the SHA-256 of the graph, so that a damaged one is replaced.
    """
    arrays = [_channels_last(tensor) for tensor in example]
    paths = [path for folder in models.__path__ for path in sorted(Path(folder).glob("*.py"))]
    sources = [posefix.__version__, *(path.read_bytes() for path in paths)]
    shapes = [tuple(array.shape[1:]) for array in arrays]
    digest = hashlib.sha256(repr((function.identity, shapes, torch.__version__, sources)).encode())
    for name, weights in function.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    if (folder := cache_folder()) is None:
        return function.to_onnx(arrays)
    path = folder / digest.hexdigest()[:32]
    with suppress(OSError):
        cached = path.read_bytes()
        if hashlib.sha256(cached[32:]).digest() == cached[:32]:
            return cached[32:]
    graph = function.to_onnx(arrays)
    with suppress(OSError, InputError):
        write_atomically(path, hashlib.sha256(graph).digest() + graph)
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-CACHED]:
            old.unlink()
    return graph


def cache_folder() -> Path | None:
    """Return the user's cache folder for graphs; None if it cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "posefix")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return folder if os.access(folder, os.W_OK) else None


def to_onnx(module: nn.Module, *example: torch.Tensor, **options: Any) -> bytes:
    """Export a module to ONNX by tracing it on examples; ``options`` are those of :func:`torch.onnx.export`."""
    require("onnx", "onnx", "an export to ONNX")
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch's fused transformer layer cannot be exported
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # this exporter is deprecated, but the new one supports fewer operators
            path = Path(folder, "graph.onnx")
            torch.onnx.export(module, example, path, dynamo=False, opset_version=17, **options)
            return path.read_bytes()
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
