"""Checkpoints come back as they were, in half the bytes too, and nothing else is ever loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.lifting.network import LIFTING
from posefix.models.backbone import create_backbone, load_pretrained
from posefix.models.checkpoint import DEFAULT, METADATA_KEY, load_checkpoint, save_checkpoint
from posefix.motion.network import MOTION
from tests.tiny import fusion_checkpoint, tiny_checkpoint, tiny_config


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    save_checkpoint(tmp_path / "whole.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "whole.safetensors")
    own, other = checkpoint.network.state_dict(), loaded.network.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    for name in ("config", "skeleton", "training_info", "experiment"):
        assert getattr(loaded, name) == getattr(checkpoint, name)


def test_half_precision_halves_the_file_and_hardly_changes_the_output(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    for name, half in [("whole", False), ("half", True)]:
        save_checkpoint(tmp_path / name, checkpoint, half)
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "whole").stat().st_size
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=generator)
    poses, heights = torch.rand(1, 17, 2, generator=generator) * 40, torch.ones(1, 17)
    with torch.inference_mode():
        whole, half = (load_checkpoint(tmp_path / n).network(crops, poses, heights) for n in ("whole", "half"))
    assert (whole - half).abs().max() < 0.01 * whole.abs().max() + 1e-3


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["checkpoint", "backbone"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, where: str) -> None:
    trap, path = tmp_path / "exploded", tmp_path / "weights.pth"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(trap))), lambda: torch.save({"w": Bomb(trap)}, path)):
        write()
        with pytest.raises(InputError, match=r"weights\.pth.*pickles are never loaded"):
            if where == "checkpoint":
                load_checkpoint(path)
            else:
                load_pretrained(create_backbone("test_resnet", 20), "test_resnet", str(path))
    assert not trap.exists()


def test_files_that_are_not_checkpoints_say_so(tmp_path: Path) -> None:
    whole, cut, plain = (tmp_path / n for n in ("whole", "cut", "plain"))
    save_checkpoint(whole, tiny_checkpoint())
    cut.write_bytes(whole.read_bytes()[:-100])
    save_file({"x": torch.zeros(2)}, plain)
    for path, said in [(cut, "whole"), (plain, "no posefix configuration")]:
        with pytest.raises(InputError, match=said):
            load_checkpoint(path)
    with pytest.raises(InputError, match="no checkpoint 'nobody'"):
        load_checkpoint("nobody")
    with pytest.raises(InputError, match=r"no checkpoint 'xxx") as caught:
        load_checkpoint("x" * 5000)
    assert len(str(caught.value)) < 300


def rewrite(path: Path, change: Callable[[dict], object] = dict, text: str | None = None) -> None:
    """Change the metadata of a checkpoint, or put a text in its place."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    change(metadata)
    save_file(load_file(path), path, {METADATA_KEY: text or json.dumps(metadata)})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("facts", "abc", "configuration"),
        ("facts", [["a", 1]], "configuration"),
        ("skeleton", {"keypoints": 3}, "keypoints"),
        ("config", [], "configuration"),
        ("backbone", "resnet19", "no backbone 'resnet19'"),
        ("backbone", "resnet18.nobodys", "cannot build backbone"),
        ("backbone", "test_vit", "strides"),
        ("pad_type", "same", "no option pad_type"),
        ("head_channels", 10**15, "no network can be built"),
    ],
)
def test_metadata_that_describe_no_network_are_refused(tmp_path: Path, key: str, value: object, said: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, tiny_checkpoint())

    def change(metadata: dict) -> None:
        if key in metadata:
            metadata[key] = value
        else:
            metadata["config"]["model"][key] = value

    rewrite(path, change)
    with pytest.raises(InputError, match=rf"odd\.safetensors.*{said}"):
        load_checkpoint(path)


def test_metadata_nested_without_end_and_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, tiny_checkpoint())
    rewrite(path, text='{"facts": ' + "[" * 50000 + "]" * 50000 + "}")
    with pytest.raises(InputError, match=r"odd\.safetensors.*RecursionError"):
        load_checkpoint(path)
    for wrong in (float("nan"), float("inf")):
        checkpoint = tiny_checkpoint()
        with torch.no_grad():
            checkpoint.network.head.maps.bias[3] = wrong
        save_checkpoint(path, checkpoint)
        with pytest.raises(InputError, match=r"odd\.safetensors.*head\.maps\.bias.*finite"):
            load_checkpoint(path)


def test_a_backbone_can_be_named_with_the_tag_of_its_weights() -> None:
    tagged, plain = (create_backbone(n, 20).state_dict() for n in ("resnet18.a1_in1k", "resnet18"))
    assert {k: v.shape for k, v in tagged.items()} == {k: v.shape for k, v in plain.items()}


def test_a_network_starts_as_the_backbone_it_was_given(tmp_path: Path) -> None:
    own, path = create_backbone("test_resnet", 3), str(tmp_path / "backbone.safetensors")
    save_file(own.state_dict(), path)
    widened = create_backbone("test_resnet", 20).eval()
    load_pretrained(widened, "test_resnet", path)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own.eval()(image)[-1]
        found = widened(torch.cat([image, torch.zeros(1, 17, 64, 64)], dim=1))[-1]
        spoken = widened(torch.cat([image, torch.ones(1, 17, 64, 64)], dim=1))[-1]
    torch.testing.assert_close(found, expected)
    assert (spoken - expected).norm() < 0.5 * expected.norm()
    with pytest.raises(InputError, match="do not fit resnet18"):
        load_pretrained(create_backbone("resnet18", 20), "resnet18", path)
    with pytest.raises(InputError, match="no backbone 'resnet19'"):
        create_backbone("resnet19", 20)


def test_the_weights_in_the_package_are_small_and_whole() -> None:
    shipped = sorted(resources.weights_dir().glob("*.safetensors"))
    assert DEFAULT in [path.stem for path in shipped]
    for path in shipped:
        assert path.stat().st_size <= 15e6
        assert path.with_suffix(".md").is_file()
        assert {v.dtype for v in load_file(path).values()} <= {torch.float16, torch.int64}
        if sequence := next((kind for kind in (MOTION, LIFTING) if kind.holds(path)), None):
            assert sequence.load(path.stem).skeleton.name == "coco17"
            continue
        checkpoint = load_checkpoint(path.stem)
        assert checkpoint.skeleton.name == "coco17"
        assert checkpoint.config != tiny_config().model


def test_a_checkpoint_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_checkpoint(path, fusion_checkpoint())
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(path)
    weights["head.embed.0.weight"] = weights["head.embed.0.weight"][:, 1:].contiguous()
    save_file(weights, path, metadata)
    with pytest.raises(InputError, match=r"another version of posefix.*take a shipped one"):
        load_checkpoint(path)


@pytest.mark.parametrize(("name", "kind"), [(MOTION.default, "motion"), (LIFTING.default, "lifting")])
def test_a_checkpoint_of_another_network_is_said_to_be_one(name: str, kind: str) -> None:
    with pytest.raises(InputError, match=rf"another network \({kind}\).* give one, or {DEFAULT}"):
        load_checkpoint(name)
