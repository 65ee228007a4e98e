"""Engines give the same answer, and say so when they cannot be used."""

from __future__ import annotations

import copy

import pytest
import torch

from posefix.core.errors import InputError
from posefix.engines import accelerate
from tests.tiny import fusion_checkpoint, tiny_checkpoint

CPU = torch.device("cpu")


def test_openvino_sees_what_torch_sees_also_in_batches_that_are_not_full() -> None:
    pytest.importorskip("openvino")
    network = fusion_checkpoint().network
    fast = copy.deepcopy(network)
    assert accelerate(fast, "openvino", CPU) == "openvino"
    crops = torch.randint(0, 256, (11, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for expected, found in zip(network.see(crops, True), fast.see(crops, True), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_an_engine_that_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="no engine 'warp'"):
        accelerate(fusion_checkpoint().network, "warp", CPU)
    with pytest.raises(InputError, match="fusion head"):
        accelerate(tiny_checkpoint().network, "openvino", CPU)
    assert accelerate(tiny_checkpoint().network, "auto", CPU) == "torch"
