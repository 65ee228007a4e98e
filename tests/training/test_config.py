"""Configurations: validated, overridable, and every shipped one fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.training import config


@pytest.mark.parametrize(
    "name", sorted({*resources.available(".")} - {"motion", "lifting"})
)  # networks of tracks have their own
def test_every_shipped_configuration_is_valid(name: str) -> None:
    loaded = config.load(name)
    assert loaded.name == name
    assert config.from_dict(loaded.model_dump(mode="json")) == loaded


def test_overrides_reach_every_depth() -> None:
    loaded = config.load(
        "lite_resnet18",
        ["seed=5", "optimizer.learning_rate=1e-3", "model.input_size=[64, 32]", "model.pretrained="],
    )
    assert (loaded.seed, loaded.optimizer.learning_rate, loaded.model.input_size) == (5, 1e-3, (64, 32))
    assert loaded.model.pretrained is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.backbones=x", "no option model.backbones; use one of backbone, pretrained"),
        ("train=[{annotations: a, images: b, packed: x}]", "no option train.0.packed; use one of annotations, images"),
        (
            "train=[{annotations: a, images: b, held_out: {index: 0, of: 2, start: 3}}]",
            "no option train.0.held_out.start",
        ),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate"),
        ("model.input_size=[100, 100]", "multiples of 32"),
        ("seed", "key.sub=value"),
        ("name.deeper=1", "name"),
        ("synthesis.dropout=2", "synthesis.dropout"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
        ("optimizer.learning_rate=.nan", "optimizer.learning_rate"),
        ("model.mean=[.inf, 0, 0]", "model.mean"),
        ("model.head=fusion", "fusion head goes with"),
        ("train.0.repeat=2", "train is not a group of settings; give whole lists"),
        ("seed=" + "[" * 5000, "not a YAML value"),
        ("seed=2001-99-99", "not a YAML value"),
    ],
)
def test_a_wrong_value_names_its_key(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.load("lite_resnet18", [override])


def test_options_that_earlier_versions_wrote_are_read_if_they_say_what_is_done_anyway() -> None:
    earlier = {"backbone": "resnet18", "pad_type": "", "mean": [0.485, 0.456, 0.406], "channels_last": True}
    assert config.ModelConfig.model_validate(earlier) == config.ModelConfig(backbone="resnet18")
    with pytest.raises(ValueError, match="mean"):
        config.ModelConfig.model_validate({**earlier, "mean": [0.5, 0.5, 0.5]})


def test_a_list_is_overridden_as_a_whole() -> None:
    (only,) = config.load("lite_resnet18", ["train=[{annotations: a.json, images: b, repeat: 5}]"]).train
    assert (only.images, only.repeat) == ("b", 5)


def test_input_sides_fit_the_head() -> None:
    assert config.ModelConfig(head="deconv", input_size=(128, 96)).input_size == (128, 96)
    with pytest.raises(ValueError, match="multiples of 32"):
        config.ModelConfig(head="deconv", input_size=(192, 144))


def test_endless_and_very_deep_files_and_names_are_refused_in_a_short_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text in ("train: &a [*a]", "model: &a {mean: *a}", "model: " + "[" * 20000, "model: 2001-99-99"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            config.load(path)
    for name in ("x" * 5000, "x" * 200):
        with pytest.raises(InputError, match="no configuration 'xxx") as caught:
            config.load(name)
        assert len(str(caught.value)) < 400


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text in ("", "- a list", "a: [", "\x00"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            config.load(path)
    with pytest.raises(InputError, match="lite_resnet18"):
        config.load("nothing_of_that_name")


def test_the_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEFIX_DATA", "/photos")
    assert config.data_path(config.load("lite_resnet18").train[0].images) == Path("/photos/coco/train")
    monkeypatch.delenv("POSEFIX_DATA")
    assert config.data_path("{data}") == Path("../shared/data")


def test_a_configuration_moves_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEFIX_DATA", "/first")
    plain = config.load("lite_resnet18").model_dump(mode="json")
    assert "/first" not in str(plain)
    monkeypatch.setenv("POSEFIX_DATA", "/second")
    assert config.data_path(config.from_dict(plain).train[1].images) == Path("/second/lspet/train")
