"""Training batches: seeded, consistent between crop and coordinates, the same from folder and packed file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from posefix.training.config import Config, Fold
from posefix.training.data.loader import TrainingBatches, training_loader
from posefix.training.data.packing import pack
from posefix.training.data.stores import (
    FolderStore,
    PackedStore,
    PoseStore,
    Store,
    in_fold,
    match_boxes,
    observed_poses,
)
from tests.tiny import random_people, tiny_config, write_annotations, write_world
from tools.pack import main

PLAIN = {"scale": 0.0, "rotation": 0.0, "shift": 0.0, "flip": 0.0, "photometric": 0.0, "pose_box": 0.0}


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path, rng, count=12)


def make(world: dict[str, Path], store: Store | None = None, **settings: object) -> TrainingBatches:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    config = tiny_config(**{"train": [source], **settings})
    store = store or FolderStore(world["annotations"], world["images"], load("coco17"))
    return TrainingBatches(config, [store], [None], batch=4)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_depends_on_seed_epoch_and_index_alone(world: dict[str, Path]) -> None:
    first, second, other = make(world, seed=3), make(world, seed=3), make(world, seed=4)
    second[0]
    assert same(first[1], second[1])
    assert not same(first[1], other[1])
    second.epoch = 1
    assert not same(first[1], second[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_processes_share_the_same_batches(world: dict[str, Path], workers: int) -> None:
    batches = make(world)
    expected = [batches[i] for i in range(3)]
    alone = list(training_loader(batches, 0, 0, 1, workers))
    assert len(alone) == 3
    assert all(same(a, b) for a, b in zip(alone, expected, strict=True))
    late = list(training_loader(batches, 2, 0, 1, workers))
    assert len(late) == 1
    assert same(late[0], expected[2])
    ranks = [list(training_loader(make(world), 0, rank, 3, 0)) for rank in range(3)]
    assert all(same(ranks[i][0], expected[i]) for i in range(3))


def test_an_epoch_sees_everybody_as_often_as_asked(world: dict[str, Path]) -> None:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"]), "repeat": 3}
    batches = make(world, train=[source])
    seen = np.concatenate([batches.rows(i) for i in range(len(batches))])
    assert np.bincount(seen).tolist() == [3] * 12


def write_poses(path: Path, rng: np.random.Generator, count: int, images: int = 20, **changes: object) -> Path:
    people = random_people(rng, count, images=images)
    keypoints = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1).astype(np.int16)
    np.savez_compressed(path, **{"keypoints": keypoints, "bbox": people.boxes, "image_id": people.image_ids, **changes})
    return path


def with_poses(world: dict[str, Path], poses: Path, batch: int, **settings: object) -> TrainingBatches:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    config = tiny_config(**{"train": [source, {"poses": str(poses)}], **settings})
    coco = load("coco17")
    stores = [FolderStore(world["annotations"], world["images"], coco), PoseStore(poses, coco)]
    return TrainingBatches(config, stores, [None, None], batch=batch)


def test_people_without_images_are_shown_on_images_that_say_nothing_of_them(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    poses = write_poses(tmp_path / "poses.npz", rng, 500)
    settings = {"augmentation": PLAIN, "synthesis": {"clean": 1.0}}
    batches = with_poses(world, poses, 512, **settings)
    batch, rows = batches[0], batches.rows(0)
    assert len(batches) == 1
    without = torch.from_numpy(rows >= 12)
    crops = batch["crops"][without].float()
    one_colour = (crops.std((2, 3)) < 1e-6).all(1)
    photos = batch["crops"][~without].float()
    somebodys = torch.stack([((crop - photos).abs() < 0.5).flatten(1).all(1).any() for crop in crops])
    noise = ~one_colour & ~somebodys
    for kind in (one_colour, somebodys, noise):
        assert 0.25 < kind.float().mean() < 0.42  # a third each, of 500: 6 standard deviations are 0.127
    present = batch["scores"][without] > 0
    off = (batch["keypoints"] - batch["target"])[without][present]
    assert off.abs().max() < 3  # poses without errors are right within a keypoint's tolerance, in crops of 64 x 48
    assert same(batch, with_poses(world, poses, 512, **settings)[0])


def test_people_without_images_need_nobody_else(tmp_path: Path, rng: np.random.Generator) -> None:
    poses = write_poses(tmp_path / "poses.npz", rng, 30)
    config = tiny_config(train=[{"poses": str(poses)}])
    batches = TrainingBatches(config, [PoseStore(poses, load("coco17"))], [None], batch=8)
    assert batches[0]["crops"].shape == (8, 3, 64, 48)


def test_an_epoch_takes_as_many_as_asked_and_others_the_next_time(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    poses = write_poses(tmp_path / "poses.npz", rng, 200)
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    train = [{**source, "repeat": 2}, {"poses": str(poses), "take": 16}]
    batches = with_poses(world, poses, 4, train=train)
    assert len(batches) == 10
    epochs = []
    for epoch in range(2):
        batches.epoch = epoch
        seen = np.concatenate([batches.rows(i) for i in range(len(batches))])
        assert np.bincount(seen[seen < 12]).tolist() == [2] * 12
        assert len(np.unique(seen[seen >= 12])) == 16
        epochs.append(set(seen[seen >= 12].tolist()))
    assert len(epochs[0] & epochs[1]) < 10
    with pytest.raises(InputError, match=r"train\.1\.take is 201, of 200 people \(with repeats\)"):
        with_poses(world, poses, 4, train=[source, {"poses": str(poses), "take": 201}])


def test_poses_of_images_that_another_set_holds_out_are_not_trained_on(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    poses = write_poses(tmp_path / "poses.npz", rng, 60, images=3)
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    train = [{**source, "held_out": {"index": 1, "of": 3}}, {"poses": str(poses)}]
    batches = with_poses(world, poses, 4, train=train)
    seen = np.unique(np.concatenate([batches.rows(i) for i in range(len(batches))]))
    ids = np.concatenate([store.people.image_ids for store in batches.stores])
    assert 2 in ids[12:]
    assert set(ids[seen].tolist()) == {1, 3}


def test_nothing_hides_the_legs_of_people_without_images(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    poses = write_poses(tmp_path / "poses.npz", rng, 200)
    settings = {"augmentation": PLAIN, "synthesis": {"leg_occlusion": 1.0}}
    batches = with_poses(world, poses, 200, **settings)
    without = torch.from_numpy(batches.rows(0) >= 12)
    crops = batches[0]["crops"][without].float()
    one_colour = (crops.std((2, 3)) < 1e-6).all(1)
    assert 0.2 < one_colour.float().mean() < 0.46


def test_workers_see_the_same_people_without_images(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    batches = with_poses(world, write_poses(tmp_path / "poses.npz", rng, 20), 8)
    loaded = list(training_loader(batches, 0, 0, 1, 2))
    assert len(loaded) == 4
    assert all(same(loaded[i], batches[i]) for i in range(4))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float64])
def test_poses_may_be_of_any_number_type(tmp_path: Path, rng: np.random.Generator, dtype: type) -> None:
    keypoints, boxes = np.full((5, 17, 3), 2, dtype), np.full((5, 4), 30, dtype)
    store = PoseStore(write_poses(tmp_path / "poses.npz", rng, 5, keypoints=keypoints, bbox=boxes), load("coco17"))
    assert (store.people.keypoints == 2).all() and (store.people.boxes == 30).all() and (store.people.areas > 0).all()


DAMAGED = {
    "shape": {"bbox": np.zeros((3, 4))},
    "pickle": {"image_id": np.array([{}] * 5)},
    "far": {"bbox": np.full((5, 4), 1e30, np.float32)},
    "visibility": {"keypoints": np.full((5, 17, 3), 7)},
    "nobody": {"keypoints": np.zeros((0, 17, 3)), "bbox": np.zeros((0, 4)), "image_id": np.zeros(0, int)},
    "crowd": {
        "keypoints": np.ones((1001, 17, 3)), "bbox": np.ones((1001, 4)), "image_id": np.zeros(1001, int),
    },
}  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGED, "name", "text", "cut"])
def test_a_damaged_file_of_poses_is_refused(tmp_path: Path, rng: np.random.Generator, damage: str) -> None:
    path = write_poses(tmp_path / "poses.npz", rng, 5, **DAMAGED.get(damage, {}))
    if damage == "name":
        np.savez(path, keypoints=np.zeros((5, 17, 3)))
    if damage == "text":
        path.write_text("poses")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"poses\.npz: not an \.npz file with keypoints"):
        PoseStore(path, load("coco17"))


def test_a_changed_byte_in_a_file_of_poses_never_ends_in_another_error(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = write_poses(tmp_path / "poses.npz", rng, 50)
    content = path.read_bytes()
    refused = 0
    for place in rng.integers(0, len(content), 150):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            PoseStore(path, load("coco17"))
        except InputError:
            refused += 1
    assert refused > 50


def test_held_out_images_are_not_trained_on(world: dict[str, Path]) -> None:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    batches = make(world, train=[{**source, "held_out": {"index": 1, "of": 3}}])
    seen = np.unique(np.concatenate([batches.rows(i) for i in range(len(batches))]))
    left_out = in_fold(batches.people.image_ids, batches.stores[0].image_ids, Fold(index=1, of=3))
    assert left_out.any()
    assert not left_out[seen].any()


def test_flipping_the_crop_flips_the_coordinates(world: dict[str, Path]) -> None:
    straight = make(world, augmentation={**PLAIN, "flip": 0.0})[0]
    flipped = make(world, augmentation={**PLAIN, "flip": 1.0})[0]
    exchange = torch.from_numpy(load("coco17").flip)
    difference = (straight["crops"].flip(3).int() - flipped["crops"].int()).abs().float()
    assert difference.mean() < 1.5
    for name in ("keypoints", "target"):
        expected = straight[name][:, exchange] * torch.tensor([-1.0, 1.0]) + torch.tensor([47.0, 0.0])
        present = straight["scores"][:, exchange] > 0
        torch.testing.assert_close(flipped[name][present], expected[present], atol=1e-2, rtol=0)


def test_targets_lie_where_the_people_are_drawn(world: dict[str, Path]) -> None:
    batches = make(world, augmentation={**PLAIN, "rotation": 40.0, "scale": 0.3, "flip": 0.5})
    batch = batches[0]
    assert batch["crops"].shape == (4, 3, 64, 48)
    inside = ((batch["target"] > -8) & (batch["target"] < torch.tensor([56.0, 72.0]))).all(-1)
    assert inside.float().mean() > 0.9


@pytest.mark.parametrize("augmentation", [PLAIN, {}])
def test_a_packed_file_trains_as_its_folder_does(world: dict[str, Path], tmp_path: Path, augmentation: dict) -> None:
    folder = FolderStore(world["annotations"], world["images"], load("coco17"))
    config = tiny_config(augmentation=augmentation)
    pack(folder, tmp_path / "packed", config.model, config.augmentation)
    packed = PackedStore(tmp_path / "packed", load("coco17"))
    from_folder = make(world, folder, augmentation=augmentation)[1]
    from_file = make(world, packed, augmentation=augmentation)[1]
    for name in ("keypoints", "scores", "target", "labelled"):
        assert torch.equal(from_folder[name], from_file[name])
    assert (from_folder["crops"].int() - from_file["crops"].int()).abs().float().mean() < 2


@pytest.mark.parametrize("sides", [(300, 150), (90, 180), (40, 20)])
def test_packed_crops_hold_all_that_augmentation_can_show(tmp_path: Path, sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    (tmp_path / "images").mkdir()
    coarse = rng.integers(60, 256, (10, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "images" / f"{1:012d}.jpg"), cv2.resize(coarse, (1500, 1400)))
    people = random_people(rng, 8, images=1)
    people.keypoints[:] += np.array([750.0, 700.0]) - people.keypoints.mean(1, keepdims=True)
    centres = rng.uniform((720, 670), (780, 730), (8, 2))
    people.boxes[:] = np.concatenate([centres - np.array(sides) / 2, np.broadcast_to(sides, (8, 2))], axis=1)
    world = {"images": tmp_path / "images", "annotations": tmp_path / "annotations.json"}
    write_annotations(world["annotations"], people, images=1)
    folder = FolderStore(world["annotations"], world["images"], load("coco17"))
    full = {**PLAIN, "scale": 0.45, "rotation": 180.0, "rotation_probability": 1.0, "shift": 0.15, "flip": 0.5}
    config = tiny_config(augmentation=full)
    size = pack(folder, tmp_path / "packed", config.model, config.augmentation)
    assert size == (tmp_path / "packed").stat().st_size
    packed = PackedStore(tmp_path / "packed", load("coco17"))
    assert packed.people.boxes.tolist() == folder.people.boxes.tolist()
    for epoch in range(6):
        batches = [make(world, store, augmentation=full) for store in (folder, packed)]
        for each in batches:
            each.epoch = epoch
        for index in range(2):
            from_folder, from_file = (each[index]["crops"].int() for each in batches)
            difference = (from_folder - from_file).abs()
            assert difference.float().mean() < 3
            assert (difference > 60).float().mean() <= 0.001
            assert from_folder.amax(1).min() > 20


def test_packing_leaves_nothing_behind_when_an_image_is_damaged(world: dict[str, Path], tmp_path: Path) -> None:
    folder = FolderStore(world["annotations"], world["images"], load("coco17"))
    (world["images"] / f"{3:012d}.jpg").write_bytes(b"no image")
    config = tiny_config()
    out = tmp_path / "packs" / "packed"
    out.parent.mkdir()
    out.write_bytes(b"of last time")
    with pytest.raises(InputError, match="000000000003"):
        pack(folder, out, config.model, config.augmentation)
    assert [p.name for p in out.parent.iterdir()] == ["packed"]
    assert out.read_bytes() == b"of last time"


def test_the_pack_tool_takes_its_measures_from_a_configuration(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "train.packed"
    options = ["--annotations", str(world["annotations"]), "--images", str(world["images"]), "--out", str(out)]
    done = CliRunner().invoke(main, [*options, "--config", "small_mobilenetv2"])
    assert (done.exit_code, "12 people" in done.output) == (0, True), done.output
    with safe_open(out, framework="numpy") as file:
        assert file.get_tensor("offsets").max() <= file.get_slice("jpegs").get_shape()[0]
    assert PackedStore(out, load("coco17")).pixels(11)[0].shape[2] == 3


def test_an_estimators_own_results_can_be_the_input(world: dict[str, Path]) -> None:
    store = FolderStore(world["annotations"], world["images"], load("coco17"))
    observed = observed_poses(store.people, [world["results"]])
    assert (observed[1][0] > 0).any(1).mean() > 0.5
    offset = np.abs(observed[0][0] - store.people.keypoints)[(observed[1][0] > 0).any(1)]
    assert np.median(offset) < 6
    config: Config = tiny_config(
        train=[{"annotations": "a", "images": "b", "observed": ["r"]}], synthesis={"observed": 1.0}, augmentation=PLAIN
    )
    batches = TrainingBatches(config, [store], [observed], batch=12)
    rows = batches.rows(0)
    keypoints, _ = batches.inputs.draw(rows, np.random.default_rng(0))
    matched = (observed[1][0][rows] > 0).any(1)
    given = matched[:, None] & (observed[1][0][rows] > 0)
    assert np.array_equal(keypoints[given], observed[0][0][rows][given])


def test_annotations_without_a_face_ask_nothing_of_it(world: dict[str, Path], rng: np.random.Generator) -> None:
    people = random_people(rng, 8)
    store = FolderStore(world["annotations"], world["images"], load("coco17"))
    people.scores[:, :5], people.keypoints[:, :5] = 0, 0
    store.people = people
    batch = make(world, store, augmentation=PLAIN)[0]
    assert not batch["labelled"][:, :5].any()
    assert batch["labelled"][:, 5:].all()


def test_results_on_given_boxes_are_of_the_person_in_the_box() -> None:
    people = random_people(np.random.default_rng(0), 6, images=2)
    elsewhere = people.with_keypoints(people.keypoints + 500)[::-1]
    found = match_boxes(people, elsewhere)
    np.testing.assert_array_equal(found, np.arange(6)[::-1])
    np.testing.assert_array_equal(match_boxes(people, replace(elsewhere, boxes=elsewhere.boxes + 5)), -1)
