"""Packing a training into one folder, training there for a while, and putting the weights together again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from tiny import tiny_checkpoint, tiny_config, write_world

from posefix.model.checkpoint import load_checkpoint
from tools.slot import MANIFEST, join, main, split


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A packed training of 12 people, a third of whom are held out, that starts from a checkpoint."""
    world = write_world(tmp_path / "world", rng, count=12)
    source = {
        "annotations": str(world["annotations"]),
        "images": str(world["images"]),
        "observed": [str(world["results"])],
        "held_out": {"index": 0, "of": 3},
    }
    config = tiny_config(
        train=[source],
        training={"epochs": 4, "batch": 4, "workers": 0, "init": str(world["checkpoint"])},
        optimizer={"name": "adamw", "learning_rate": 1e-3},
    )
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    result = run("pack", "--config", tmp_path / "tiny.yaml", "--out", tmp_path / "slot")
    assert result.exit_code == 0, result.output
    for path in sorted(world["images"].iterdir()):
        path.unlink()  # from here on the folder has to do
    world["annotations"].unlink()
    return tmp_path / "slot"


def test_a_folder_trains_by_itself_and_the_weights_come_back_in_half_precision(folder: Path, tmp_path: Path) -> None:
    result = run("train", folder, "--out", tmp_path / "weights", "--minutes", 60)
    assert result.exit_code == 0 and "finished" in result.output, result.output
    result = run("join", tmp_path / "weights", "--out", tmp_path / "model.safetensors")
    assert result.exit_code == 0, result.output
    trained = load_checkpoint(folder / "run" / "model.safetensors")
    joined = load_checkpoint(tmp_path / "model.safetensors")
    assert joined.facts == trained.facts and joined.facts["steps"] > 0
    for name, value in trained.network.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(joined.network.state_dict()[name], expected)
    start = load_checkpoint(folder / "init.safetensors").network.state_dict()
    assert any(not torch.equal(start[name], value) for name, value in joined.network.state_dict().items())


def test_a_slot_goes_on_from_the_folder_and_from_parts(folder: Path, tmp_path: Path) -> None:
    first = run("train", folder, "--out", tmp_path / "a", "--minutes", 1e-6)  # one step
    assert "begins at step 0" in first.output and "time is up at step 1" in first.output
    again = run("train", folder, "--out", tmp_path / "b", "--minutes", 1e-6)
    assert "begins at step 1" in again.output and "time is up at step 2" in again.output
    for path in (folder / "run").iterdir():
        path.unlink()  # another machine
    elsewhere = run("train", folder, "--out", tmp_path / "c", "--minutes", 1e-6, "--parts", tmp_path / "b")
    assert "begins at step 2" in elsewhere.output and "time is up at step 3" in elsewhere.output
    assert json.loads((tmp_path / "c" / MANIFEST).read_text())["facts"]["steps"] == 3


def test_parts_are_small_and_join_to_the_whole(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    count = split(tiny_checkpoint(), tmp_path / "weights", part_bytes=100_000)
    sizes = [path.stat().st_size for path in (tmp_path / "weights").glob("part-*")]
    assert len(sizes) == count > 2 and max(sizes) <= 100_000
    join(tmp_path / "weights", tmp_path / "whole")
    assert sum(v.numel() for v in load_file(tmp_path / "whole").values()) == sum(
        v.numel() for v in tiny_checkpoint().network.state_dict().values()
    )


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_damaged_parts_are_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "weights").mkdir()
    split(tiny_checkpoint(), tmp_path / "weights", part_bytes=100_000)
    part = tmp_path / "weights" / "part-01"
    if damage == "changed":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "missing":
        part.unlink()
    else:
        (tmp_path / "weights" / MANIFEST).write_text("[]")
    result = run("join", tmp_path / "weights", "--out", tmp_path / "model.safetensors")
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert ("parts.json" if damage == "manifest" else "part-01") in result.output
    assert not (tmp_path / "model.safetensors").exists()
