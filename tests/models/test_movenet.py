"""MoveNet in torch: its parts agree with each other, and with the published graphs where these are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from posefix.media.images import decode
from posefix.models.backbone import load_first_weights
from posefix.models.checkpoint import load_checkpoint
from posefix.models.movenet import CHANNELS, SEEN_PEOPLE, MoveNet, MoveNetOutput, evidence, mirror, single_poses

FLIP = torch.as_tensor(load("coco17").flip)


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
    found = evidence(output)
    assert found.poses.shape == (1, SEEN_PEOPLE, 17, 2)
    torch.testing.assert_close(found.poses[0, 0] + 1.5, torch.tensor(place).expand(17, 2))
    mirrored = single_poses(mirror(output, FLIP))[0, :, :2]
    torch.testing.assert_close(mirrored, torch.tensor([63 - place[0], place[1]]).expand(17, 2))


def test_mirroring_twice_is_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    output = MoveNetOutput(*(torch.rand(2, channels, 8, 6, generator=generator) for channels in (17, 1, 34, 34)))
    for before, after in zip(output, mirror(mirror(output, FLIP), FLIP), strict=True):
        torch.testing.assert_close(after, before)


def test_first_weights_are_those_of_a_shipped_checkpoint_and_of_no_other_network() -> None:
    network = MoveNet(CHANNELS["movenet_lightning"])
    load_first_weights(network, "movenet_lightning", "posefix-small")
    shipped = load_checkpoint("posefix-small").network.backbone.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    with pytest.raises(InputError, match="posefix-base: weights do not fit movenet_lightning"):
        load_first_weights(network, "movenet_lightning", "posefix-base")


@pytest.mark.parametrize(("name", "kind", "size"), [("small", "lightning", 192), ("base", "thunder", 256)])
def test_the_shipped_movenets_say_what_the_published_graphs_say(
    data_root: Path, name: str, kind: str, size: int
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = data_root.parent / "weights" / f"movenet-{kind}.onnx"
    if not path.is_file():
        pytest.skip(f"no {path}")
    network = load_checkpoint(f"posefix-{name}").network.backbone
    session = onnxruntime.InferenceSession(str(path))
    photo = decode(sorted((data_root / "coco" / "train").glob("*.jpg"))[3])[:size, :size]
    image = np.zeros((size, size, 3), np.uint8)
    image[: photo.shape[0], : photo.shape[1]] = photo
    expected = session.run(None, {session.get_inputs()[0].name: image[None].astype(np.int32)})[0].reshape(17, 3)
    with torch.inference_mode():
        found = single_poses(network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1))[0].numpy()
    np.testing.assert_allclose(found[:, :2], expected[:, 1::-1] * size - 0.5, atol=0.1)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-3)
