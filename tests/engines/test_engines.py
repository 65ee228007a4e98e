"""Engines give the same answer, and say so when they cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import posefix
from posefix import models
from posefix.core.errors import InputError
from posefix.engines import create_engine
from posefix.engines.compiled import CACHED, OnnxRuntimeEngine, OpenVinoEngine, cached_onnx
from posefix.models.interface import InputPose, take
from tests.tiny import fusion_checkpoint, tiny_checkpoint

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def random_pose(rng: np.random.Generator, count: int) -> InputPose:
    shapes = (17, 2), (17,), (17,), (3, 17, 2), (3, 17), (4,), ()
    pose = InputPose(*(torch.from_numpy(rng.random((count, *shape)).astype(np.float32)) for shape in shapes))
    return pose._replace(keypoints=60 * pose.keypoints, scales=3 + pose.scales, others=60 * pose.others)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_engines_compute_what_torch_computes_also_in_batches_that_are_not_full(
    name: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = fusion_checkpoint().network
    plain = create_engine("torch", network, CPU)
    crops = rng.integers(0, 256, (11, 64, 64, 3), np.uint8)
    pose = random_pose(rng, 11)
    expected = plain.encode(crops, True)
    located = plain.locate(expected, pose)
    for _ in range(2):  # the second time with the graphs that the first has written
        fast = create_engine(name, network, CPU, precision="f32")
        assert_close(fast.encode(crops, True), expected, atol=1e-3, rtol=1e-3)
        assert_close(fast.locate(expected, pose), located, atol=1e-3, rtol=1e-3)
    graphs = (path for path in (tmp_path / "posefix").iterdir() if path.suffix != ".blob")  # those are OpenVINO's own
    kept = max(graphs, key=lambda path: path.stat().st_size)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    create_engine(name, network, CPU)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_engines_can_be_sent_to_another_process(name: str, rng: np.random.Generator) -> None:
    pytest.importorskip(name)
    engine = create_engine(name, fusion_checkpoint().network, CPU, precision="f32")
    crops = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert_close(pickle.loads(pickle.dumps(engine)).encode(crops, True), engine.encode(crops, True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_forked_engine_says_so_in_place_of_waiting_for_ever(name: str) -> None:
    pytest.importorskip(name)
    engine = create_engine(name, fusion_checkpoint().network, CPU)

    def forked(said: Queue[str]) -> None:
        with pytest.raises(InputError) as error:
            engine.encode(np.zeros((1, 64, 64, 3), np.uint8), True)
        said.put(str(error.value))

    context = multiprocessing.get_context("fork")
    said = context.Queue()
    process = context.Process(target=forked, args=(said,))
    process.start()
    try:
        assert "spawn" in said.get(timeout=180)
    finally:
        process.kill()


SIGNALS = """
import gc, signal, numpy as np, torch
from posefix.engines import create_engine
from tests.tiny import fusion_checkpoint

handled = []
signal.signal(signal.SIGINT, lambda *_: handled.append(1))
for _ in range(4):
    engine = create_engine("openvino", fusion_checkpoint().network, torch.device("cpu"))
    engine.call("encode_both", torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    del engine
    gc.collect()
memory = [bytearray(1 << 14) for _ in range(2000)]
for _ in range(20):
    signal.raise_signal(signal.SIGINT)
assert len(handled) == 20 and not any(map(any, memory))
"""


def test_signals_are_safe_after_several_openvino_engines() -> None:
    pytest.importorskip("openvino")
    run = subprocess.run([sys.executable, "-c", SIGNALS], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


class _Graph:
    """A method of a network whose export is a text."""

    identity = "encode"

    def __init__(self, graph: bytes) -> None:
        self._graph = graph

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def to_onnx(self, example: list[torch.Tensor]) -> bytes:
        return self._graph


def test_graphs_of_a_frozen_app_are_kept_for_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models, "__path__", [str(tmp_path / "app.zip" / "posefix" / "models")])  # without sources
    crops = [torch.zeros(2, 3, 8, 8)]
    assert [cached_onnx(_Graph(graph), crops) for graph in (b"first", b"second")] == [b"first"] * 2
    monkeypatch.setattr(posefix, "__version__", "99")
    assert cached_onnx(_Graph(b"second"), crops) == b"second"


def test_the_cache_keeps_the_newest_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "posefix"
    folder.mkdir()
    for age in range(CACHED + 5):
        (folder / str(age)).touch()
        os.utime(folder / str(age), (0, 10**9 - age))
    cached_onnx(_Graph(b"graph"), [torch.zeros(2, 3, 8, 8)])
    kept = {file.name for file in folder.iterdir()}
    assert len(kept) == CACHED and kept > {str(age) for age in range(CACHED - 1)}


@pytest.mark.parametrize("device", ["meta", "cuda:99", "toaster", "mps"])
def test_a_device_that_cannot_compute_is_said(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}' cannot be used here") as error:
        create_engine("torch", tiny_checkpoint().network, device)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize("checkpoint", [tiny_checkpoint, fusion_checkpoint])
def test_people_are_located_alike_in_a_crowd_and_alone(checkpoint: Callable, rng: np.random.Generator) -> None:
    made = checkpoint()
    engine = create_engine("torch", made.network, CPU)
    crops, pose = rng.integers(0, 256, (19, 64, 64, 3), np.uint8), random_pose(rng, 19)
    everybody = engine.locate(engine.encode(crops, True), pose).decoded
    for i in (0, 7, 18):
        one = engine.locate(engine.encode(crops[[i]], True), take(pose, torch.tensor([i]))).decoded
        assert_close(everybody.positions[[i]], one.positions, atol=1e-2, rtol=0)
        assert_close(everybody.similarity[[i]], one.similarity, atol=1e-5, rtol=0)


def test_an_engine_that_is_broken_is_said_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(onnx: bytes, precision: str, threads: int) -> None:
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
