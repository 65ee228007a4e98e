"""Configurations: validated, overridable, and every shipped one fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from posefix import config, resources
from posefix.errors import InputError


@pytest.mark.parametrize("name", resources.available("."))
def test_every_shipped_configuration_is_valid(name: str) -> None:
    loaded = config.load(name)
    assert loaded.name == name
    assert config.from_dict(loaded.model_dump(mode="json")) == loaded


def test_overrides_reach_every_depth() -> None:
    loaded = config.load(
        "small_mobilenetv2",
        ["seed=5", "optimizer.learning_rate=1e-3", "model.input_size=[64, 48]", "model.pretrained="],
    )
    assert (loaded.seed, loaded.optimizer.learning_rate, loaded.model.input_size) == (5, 1e-3, (64, 48))
    assert loaded.model.pretrained is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.backbones=x", "model.backbones"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate"),
        ("model.input_size=[100, 100]", "multiples of 16"),
        ("seed", "key.sub=value"),
        ("name.deeper=1", "name"),
        ("synthesis.dropout=2", "synthesis.dropout"),
    ],
)
def test_a_wrong_value_names_its_key(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.load("small_mobilenetv2", [override])


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text in ("", "- a list", "a: [", "\x00"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            config.load(path)
    with pytest.raises(InputError, match="small_mobilenetv2"):
        config.load("nothing_of_that_name")


def test_the_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEFIX_DATA", "/photos")
    assert config.load("lite_resnet18").train[0].images == "/photos/coco/train"
