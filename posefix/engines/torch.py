"""The engine that runs every network: torch itself, on any device."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from posefix.engines.base import Engine
from posefix.models.interface import Evidence, InputPose, Located, RefinementNetwork

# Images, and else people, that a CPU computes at once: what lies in between should fit into a core's cache.
IMAGES, PEOPLE = 4, 8


class TorchEngine(Engine):
    """Runs a copy of a network; see :class:`posefix.engines.base.Engine`.

    Args:
        network: in any mode, on any device; stays as it is.
        device: where to run it.
        precision: not used; torch runs in float32.
    """

    name = "torch"
    _threads = 1  # that run a piece each

    def __init__(self, network: RefinementNetwork, device: torch.device, precision: str = "f32") -> None:
        self.device, self.network = device, copy.deepcopy(network).eval()
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
        return self.call("encode", torch.from_numpy(crops).permute(0, 3, 1, 2), flip_test=flip_test)

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        located: Located = self.call("locate", evidence, pose)
        return located

    @torch.inference_mode()
    def call(self, method: str, *inputs: Any, **options: bool) -> Any:
        """Run a method of the network on tensors, or named tuples of tensors, of N people, and on ``options``.

        A GPU is given all people at once, a CPU as many as do well.
        """
        tensors, form = tree_flatten(inputs)
        count = len(tensors[0])
        step = count
        if self.device.type == "cpu":
            shown = any(tensor.dtype == torch.uint8 for tensor in tensors)
            most = IMAGES // (1 + options.get("flip_test", True)) if shown else PEOPLE
            step = min(most, -(-count // self._threads))
        pieces = [[tensor[i : i + step] for tensor in tensors] for i in range(0, count, step)]
        parts = self._run(method, form, options, pieces)
        return tree_map(lambda first, *rest: None if first is None else torch.cat([first, *rest]), *parts)

    def _run(
        self, method: str, form: TreeSpec, options: dict[str, bool], pieces: list[list[torch.Tensor]]
    ) -> list[Any]:
        """Run a method on the tensors of one piece after another; ``form`` is that of the method's arguments."""
        moved = ([tensor.to(self.device) for tensor in piece] for piece in pieces)
        return [getattr(self.network, method)(*tree_unflatten(piece, form), **options) for piece in moved]
