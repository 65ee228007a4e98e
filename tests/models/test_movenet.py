"""MoveNet in torch: its parts agree with each other, and with the published graphs where these are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from posefix.media.images import decode
from posefix.models.backbone import load_pretrained
from posefix.models.checkpoint import load_checkpoint
from posefix.models.movenet import CHANNELS, POSES, MoveNet, MoveNetOutput, evidence, mirror, single_poses
from posefix.models.network import build_network
from tools.experiments.convert_movenet import convert

FLIP = torch.as_tensor(load("coco17").flip)


@pytest.fixture(scope="module")
def network() -> MoveNet:
    torch.manual_seed(0)
    return MoveNet(CHANNELS["movenet_lightning"])


@pytest.fixture
def features(network: MoveNet) -> torch.Tensor:
    """Of two images and of two others, in place of their mirror images: 8 x 6 cells."""
    return torch.rand(4, 24, 8, 6, generator=torch.Generator().manual_seed(1))


def one_person(x: float, y: float, side: int = 16) -> MoveNetOutput:
    """The output of a perfect network for one person all of whose keypoints are at pixel (x, y)."""
    cell = int((y + 0.5) // 4), int((x + 0.5) // 4)
    heatmaps, centres = torch.full((1, 17, side, side), -9.0), torch.full((1, 1, side, side), -9.0)
    offsets, poses = torch.zeros(1, 34, side, side), torch.zeros(1, 34, side, side)
    heatmaps[:, :, cell[0], cell[1]] = centres[:, :, cell[0], cell[1]] = 4.0
    inside = torch.tensor([(y + 0.5) / 4 - cell[0], (x + 0.5) / 4 - cell[1]]).repeat(17)
    offsets[0, :, cell[0], cell[1]] = poses[0, :, cell[0], cell[1]] = inside
    return MoveNetOutput(heatmaps, centres, offsets, poses)


@pytest.mark.parametrize("place", [(30.0, 33.25), (8.5, 50.0), (61.0, 3.0)])
def test_what_was_drawn_is_decoded_where_it_was_drawn(place: tuple[float, float]) -> None:
    output = one_person(*place)
    torch.testing.assert_close(single_poses(output)[0, :, :2], torch.tensor(place).expand(17, 2))


@torch.inference_mode()
def test_people_are_found_where_the_map_of_poses_says(network: MoveNet, features: torch.Tensor) -> None:
    row, column = torch.tensor([[0, 7], [3, 2]]), torch.tensor([[5, 0], [0, 4]])
    everywhere = network.heads[POSES](features[:2]).flatten(2).unflatten(1, (17, 2))
    cells = (row * 6 + column)[:, None, None].expand(-1, 17, 2, -1)
    expected = everywhere.gather(3, cells).permute(0, 3, 1, 2)
    torch.testing.assert_close(network.poses_at(features[:2], row, column), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_evidence_of_an_image_and_its_mirror_image_mirrors_with_the_image(
    network: MoveNet, features: torch.Tensor
) -> None:
    here = evidence(network, features, FLIP)
    there = evidence(network, torch.cat([features[2:], features[:2]]), FLIP)
    torch.testing.assert_close(there.heatmaps, mirror(here.heatmaps[:, FLIP]))
    torch.testing.assert_close(there.centres, here.centres)
    x, y = here.poses[:, :, FLIP].unbind(-1)
    torch.testing.assert_close(there.poses, torch.stack([4 * 5 - x, y], dim=-1), atol=1e-4, rtol=1e-4)


def test_first_weights_are_those_of_a_shipped_checkpoint_and_of_no_other_network() -> None:
    network = MoveNet(CHANNELS["movenet_lightning"])
    load_pretrained(network, "movenet_lightning", "posefix-small")
    shipped = load_checkpoint("posefix-small").network.backbone.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    with pytest.raises(InputError, match="posefix-base: weights do not fit movenet_lightning"):
        load_pretrained(network, "movenet_lightning", "posefix-base")


def test_a_head_starts_from_a_checkpoint_whose_head_fits() -> None:
    shipped = load_checkpoint("posefix-small").network
    config = shipped.config.model_copy(update={"pretrained": "posefix-small", "pretrained_head": True})
    started = build_network(config, load("coco17"), pretrained=True).state_dict()
    assert all(torch.equal(value, started[name]) for name, value in shipped.state_dict().items())
    with pytest.raises(InputError, match="posefix-small: has no head that fits"):
        build_network(config.model_copy(update={"head_channels": 32}), load("coco17"), pretrained=True)


@pytest.mark.parametrize(("kind", "size"), [("lightning", 192), ("thunder", 256)])
def test_converted_graphs_say_what_the_published_graphs_say(data_root: Path, kind: str, size: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = data_root.parent / "weights" / f"movenet-{kind}.onnx"
    if not path.is_file():
        pytest.skip(f"no {path}")
    network = MoveNet(CHANNELS[f"movenet_{kind}"])
    network.load_state_dict(convert(path))
    if kind == "lightning":  # in posefix-small, unchanged
        shipped = load_checkpoint("posefix-small").network.backbone.state_dict()
        assert all(torch.equal(value.half().float(), shipped[name]) for name, value in network.state_dict().items())
    session = onnxruntime.InferenceSession(str(path))
    photo = decode(sorted((data_root / "coco" / "train").glob("*.jpg"))[3])[:size, :size]
    image = np.zeros((size, size, 3), np.uint8)
    image[: photo.shape[0], : photo.shape[1]] = photo
    expected = session.run(None, {session.get_inputs()[0].name: image[None].astype(np.int32)})[0].reshape(17, 3)
    with torch.inference_mode():
        found = single_poses(network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1))[0].numpy()
    np.testing.assert_allclose(found[:, :2], expected[:, 1::-1] * size - 0.5, atol=0.1)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-3)


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"other\.onnx: cannot be read"):
        convert(path)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "other", [value], [value])), path)
    with pytest.raises(InputError, match=r"other\.onnx: its 0 convolutions are not those of MoveNet"):
        convert(path)
