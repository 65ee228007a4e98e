"""The PyTorch engine, which runs all networks on all devices."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from posefix.engines.base import Engine
from posefix.models.interface import Evidence, InputPose, Located, RefinementNetwork

IMAGES, PEOPLE = 4, 8  # CPU batch sizes of the backbone and of the head, so that activations fit into a core's cache


class TorchEngine(Engine):
    """Runs a copy of a network; see :class:`posefix.engines.base.Engine`.

    Args:
        network: in any mode, on any device; is not modified.
        device: device to run it on.
        precision: ignored; torch runs in float32.
    """

    name = "torch"
    _threads = 1  # number of batches run in parallel

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
        """Run a method of the network on tensors, or named tuples of tensors, of N people.

        A GPU gets all people at once, a CPU small batches.
        """
        tensors, spec = tree_flatten(inputs)
        count = len(tensors[0])
        batch_size = count
        if self.device.type == "cpu":
            has_images = any(tensor.dtype == torch.uint8 for tensor in tensors)
            limit = IMAGES // (1 + options.get("flip_test", True)) if has_images else PEOPLE
            batch_size = min(limit, -(-count // self._threads))
        batches = [[tensor[i : i + batch_size] for tensor in tensors] for i in range(0, count, batch_size)]
        outputs = self._run(method, spec, options, batches)
        return tree_map(lambda first, *rest: None if first is None else torch.cat([first, *rest]), *outputs)

    def _run(
        self, method: str, spec: TreeSpec, options: dict[str, bool], batches: list[list[torch.Tensor]]
    ) -> list[Any]:
        """Run a method on batches of flat tensors; ``spec`` is the tree of the method's arguments."""
        on_device = ([tensor.to(self.device) for tensor in batch] for batch in batches)
        return [getattr(self.network, method)(*tree_unflatten(batch, spec), **options) for batch in on_device]
