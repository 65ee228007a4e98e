"""Engines give the same answer, and say so when they cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.core.errors import InputError
from posefix.engines import create_engine
from posefix.engines.compiled import OnnxRuntimeEngine, OpenVinoEngine
from tests.tiny import fusion_checkpoint, tiny_checkpoint

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_engines_compute_what_torch_computes_also_in_batches_that_are_not_full(
    name: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = fusion_checkpoint().network
    plain = create_engine("torch", network, CPU)
    crops = rng.integers(0, 256, (11, 64, 64, 3), np.uint8)
    expected = plain.encode(crops, True)
    for _ in range(2):  # the second time with the graph that the first has written
        fast = create_engine(name, network, CPU, precision="f32")
        for right, found in zip(expected, fast.encode(crops, True), strict=True):
            torch.testing.assert_close(found, right, atol=1e-3, rtol=1e-3)
    (kept,) = (tmp_path / "posefix").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    create_engine(name, network, CPU)
    assert kept.read_bytes() == whole


def test_an_engine_that_is_broken_is_said_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(onnx: bytes, precision: str) -> None:
        raise ValueError("libtbb is missing")

    monkeypatch.setattr(OpenVinoEngine, "compile", staticmethod(broken))
    monkeypatch.setattr(OnnxRuntimeEngine, "compile", staticmethod(broken))
    network = fusion_checkpoint().network
    with pytest.raises(InputError, match="libtbb is missing"):
        create_engine("onnxruntime", network, CPU)
    with pytest.warns(UserWarning, match="a slower one is used"):
        assert create_engine("auto", network, CPU).name == "torch"


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
