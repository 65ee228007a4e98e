"""Packing a training into one folder, training there for a while, and putting the weights together again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors import safe_open
from tiny import COCO, tiny_checkpoint, tiny_config, write_world

from posefix import config as configs
from posefix.errors import InputError
from posefix.model.backbone import create_backbone
from posefix.model.checkpoint import load_checkpoint
from posefix.train import Trainer
from tools import slot
from tools.experiment import environment
from tools.slot import MANIFEST, main, split, whole


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def assert_clear(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and all(word in result.output for word in words), result.output


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path / "world", rng, count=12)


def settings(world: dict[str, Path], tmp_path: Path, **changes: object) -> Path:
    """A configuration file of 12 people, a third of whom are held out, that starts from a checkpoint."""
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
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**config.model_dump(mode="json"), **changes}))
    return path


@pytest.fixture
def folder(world: dict[str, Path], tmp_path: Path) -> Path:
    result = run("pack", "--config", settings(world, tmp_path), "--out", tmp_path / "slot")
    assert result.exit_code == 0, result.output
    for path in sorted(world["images"].iterdir()):
        path.unlink()  # from here on the folder has to do
    world["annotations"].unlink()
    return tmp_path / "slot"


def one_step(folder: Path, out: Path, *options: object) -> Result:
    return run("train", folder, "--out", out, "--minutes", 1e-6, *options)


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
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert str(tmp_path) not in file.metadata()["posefix"]  # no path of the machine that trained


def test_nobody_of_a_held_out_image_travels(world: dict[str, Path], folder: Path) -> None:
    with safe_open(folder / "train_0.packed", framework="numpy") as packed:
        ids = packed.get_tensor("image_ids")
    assert len(ids) and 1 not in ids  # the first of images 1, 2 and 3 is held out


def test_a_slot_goes_on_from_the_folder_and_from_parts(folder: Path, tmp_path: Path) -> None:
    first = one_step(folder, tmp_path / "a")
    assert "begins at step 0" in first.output and "time is up at step 1" in first.output
    again = one_step(folder, tmp_path / "b", "--parts", tmp_path / "a")  # as far as the folder: the folder's state
    assert "begins at step 1" in again.output and "time is up at step 2" in again.output
    for path in (folder / "run").iterdir():
        path.unlink()  # another machine
    one_step(folder, tmp_path / "c")
    elsewhere = one_step(folder, tmp_path / "c", "--parts", tmp_path / "b")  # further than the folder
    assert "begins at step 2" in elsewhere.output and "time is up at step 3" in elsewhere.output
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text())
    assert manifest["facts"]["steps"] == 3
    assert {path.name for path in (tmp_path / "c").iterdir()} == {MANIFEST, *(p["name"] for p in manifest["parts"])}


def test_parts_of_another_training_are_refused(folder: Path, tmp_path: Path) -> None:
    one_step(folder, tmp_path / "a", "training.epochs=40")
    for path in (folder / "run").iterdir():
        path.unlink()
    assert_clear(one_step(folder, tmp_path / "b", "--parts", tmp_path / "a"), "was trained with another", "epochs")


def test_parts_of_the_same_configuration_and_other_data_are_refused(
    folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    one_step(folder, tmp_path / "a")
    other = write_world(tmp_path / "elsewhere", rng, count=12)
    (tmp_path / "mine").mkdir()
    path = settings(other, tmp_path / "mine")
    assert run("pack", "--config", path, "--out", tmp_path / "other").exit_code == 0
    assert_clear(one_step(tmp_path / "other", tmp_path / "b", "--parts", tmp_path / "a"), "are of the folder tiny-")


def test_parts_that_are_further_are_not_overwritten_by_mistake(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        one_step(folder, tmp_path / "weights")
    for path in (folder / "run").iterdir():
        path.unlink()
    before = whole(tmp_path / "weights")
    assert_clear(one_step(folder, tmp_path / "weights"), "holds parts of step 2", "--parts")
    assert whole(tmp_path / "weights") == before


def test_a_training_that_fails_keeps_the_parts_that_are_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_step(folder, tmp_path / "weights")
    before = whole(tmp_path / "weights")
    monkeypatch.setattr(Trainer, "_train_step", lambda self, batch: np.array([np.nan, 0.0]))
    assert_clear(one_step(folder, tmp_path / "weights"), "the loss is nan")
    assert whole(tmp_path / "weights") == before


def test_weights_of_elsewhere_do_not_go_on_with_the_moments_of_others(folder: Path, tmp_path: Path) -> None:
    with environment({"POSEFIX_DATA": str(folder)}):
        trainer = Trainer(configs.load(folder / "config.yaml"), tmp_path / "run", torch.device("cpu"))
        trainer.fit(1e-9)
        assert trainer.optimizer.state
        further = replace(trainer.checkpoint(), facts={"steps": 3, "seconds": 9})
        trainer.go_on_from(further, "further")
        assert (trainer.step, trainer.trained_seconds, len(trainer.optimizer.state)) == (3, 9.0, 0)
        for facts in ({"steps": 10**6}, {"steps": True}, {"steps": 3, "seconds": float("inf")}, {}):
            with pytest.raises(InputError, match="does not say how many"):
                trainer.go_on_from(replace(further, facts=facts), "further")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_slot_leaves_its_weights(
    folder: Path, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer._train_step

    def interrupted(self: Trainer, batch: dict) -> np.ndarray:
        if self.step == 2:
            os.kill(os.getpid(), number)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", interrupted)
    result = run("train", folder, "--out", tmp_path / "weights", "--minutes", 60)
    assert result.exit_code == 130, result.output
    assert json.loads((tmp_path / "weights" / MANIFEST).read_text())["facts"]["steps"] == 3
    assert run("join", tmp_path / "weights", "--out", tmp_path / "model.safetensors").exit_code == 0


def test_a_training_that_starts_from_a_backbone_travels_with_it(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_config().model.model_dump(mode="json")
    backbone = create_backbone(tiny_config().model, 3 + len(COCO), pretrained=False)
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    changes = {"model": {**model, "pretrained": str(tmp_path / "backbone.pth")}, "training": {"batch": 4, "workers": 0}}
    result = run("pack", "--config", settings(world, tmp_path, **changes), "--out", tmp_path / "slot")
    assert result.exit_code == 0, result.output
    (tmp_path / "backbone.pth").unlink()
    assert one_step(tmp_path / "slot", tmp_path / "weights").exit_code == 0
    first = load_checkpoint(tmp_path / "slot" / "init.safetensors").network.backbone.state_dict()
    assert all(torch.equal(first[name], value) for name, value in backbone.state_dict().items())


def test_coarser_crops_make_a_smaller_folder(world: dict[str, Path], tmp_path: Path) -> None:
    path = settings(world, tmp_path)
    sizes = []
    for quality in (92, 30):
        assert run("pack", "--config", path, "--out", tmp_path / f"q{quality}", "--quality", quality).exit_code == 0
        sizes.append((tmp_path / f"q{quality}" / "train_0.packed").stat().st_size)
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda plain, world: plain["train"][0].update(observed=["nosuch.json"]), "nosuch.json"),
        (lambda plain, world: plain["training"].update(init="nosuch.safetensors"), "nosuch.safetensors"),
        (lambda plain, world: plain.update(train=[]), "no training data"),
        (lambda plain, world: world["images"].joinpath("000000000002.jpg").unlink(), "2"),
    ],
)
def test_what_cannot_be_packed_leaves_nothing_behind(
    world: dict[str, Path], tmp_path: Path, damage: Callable, said: str
) -> None:
    path = settings(world, tmp_path)
    plain = yaml.safe_load(path.read_text())
    damage(plain, world)
    path.write_text(yaml.safe_dump(plain))
    before = sorted(tmp_path.iterdir())
    assert_clear(run("pack", "--config", path, "--out", tmp_path / "slot"), said)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_something_else_and_odd_minutes_are_refused(folder: Path, tmp_path: Path) -> None:
    assert_clear(
        run("train", tmp_path, "--out", tmp_path / "w", "--minutes", 1), "not a folder that tools.slot pack made"
    )
    assert_clear(run("train", folder, "--out", tmp_path / "w", "--minutes", "nan"), "--minutes")
    assert_clear(run("train", folder, "--out", tmp_path / "w", "--minutes", 1, "--device", "abacus"), "abacus")


def test_parts_are_small_and_join_to_the_whole(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    count = split(tiny_checkpoint(), tmp_path / "weights", part_bytes=100_000)
    sizes = [path.stat().st_size for path in (tmp_path / "weights").glob("part-*")]
    assert len(sizes) == count > 2 and max(sizes) <= 100_000
    assert len(whole(tmp_path / "weights")) == sum(sizes)


def test_parts_can_be_joined_while_new_ones_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    split(tiny_checkpoint(), tmp_path / "weights", part_bytes=100_000)
    before = whole(tmp_path / "weights")
    changed = tiny_checkpoint()
    torch.nn.init.ones_(next(changed.network.parameters()))
    write, written = slot.write_atomically, []

    def interrupted(path: Path, content: bytes | str) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(slot, "write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        split(changed, tmp_path / "weights", part_bytes=100_000)
    assert whole(tmp_path / "weights") == before


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest", "empty"])
def test_damaged_parts_are_refused_and_replace_nothing(tmp_path: Path, damage: str) -> None:
    (tmp_path / "weights").mkdir()
    split(tiny_checkpoint(), tmp_path / "weights", part_bytes=100_000)
    part = next((tmp_path / "weights").glob("part-01-*"))
    if damage == "changed":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "missing":
        part.unlink()
    else:
        (tmp_path / "weights" / MANIFEST).write_text("[]" if damage == "manifest" else '{"parts": []}')
    out = tmp_path / "model.safetensors"
    out.write_text("an older one")
    said = "part-01" if damage in ("changed", "missing") else MANIFEST
    assert_clear(run("join", tmp_path / "weights", "--out", out), said)
    assert out.read_text() == "an older one"
