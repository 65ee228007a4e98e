"""Engines give the same answer, and say so when they cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posefix.core.errors import InputError
from posefix.engines import create_engine
from tests.tiny import fusion_checkpoint, tiny_checkpoint

CPU = torch.device("cpu")


def test_openvino_computes_what_torch_computes_also_in_batches_that_are_not_full(rng: np.random.Generator) -> None:
    pytest.importorskip("openvino")
    network = fusion_checkpoint().network
    plain, fast = (create_engine(name, network, CPU) for name in ("torch", "openvino"))
    crops = rng.integers(0, 256, (11, 64, 64, 3), np.uint8)
    for expected, found in zip(plain.encode(crops, True), fast.encode(crops, True), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_an_engine_runs_a_copy(rng: np.random.Generator) -> None:
    network = tiny_checkpoint().network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    create_engine("torch", network, CPU)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_an_engine_that_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="no engine 'warp'"):
        create_engine("warp", fusion_checkpoint().network, CPU)
    with pytest.raises(InputError, match="fusion head"):
        create_engine("openvino", tiny_checkpoint().network, CPU)
    assert create_engine("auto", tiny_checkpoint().network, CPU).name == "torch"
