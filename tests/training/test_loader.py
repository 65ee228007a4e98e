"""Training batches: seeded, consistent between crop and coordinates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix import formats
from posefix.core import geometry
from posefix.core.skeleton import load
from posefix.evaluation.matching import oks, thresholds_passed
from posefix.formats import ImageIndex
from posefix.models.interface import InputPose
from posefix.training.config import Config, Fold
from posefix.training.data.inputs import Inputs
from posefix.training.data.loader import TrainingBatches, training_loader
from posefix.training.data.stores import FolderStore, match_boxes
from tests.tiny import random_people, tiny_config, write_world

PLAIN = {"scale": 0.0, "rotation": 0.0, "shift": 0.0, "flip": 0.0, "photometric": 0.0, "pose_box": 0.0}


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path, rng, count=12)


def make(world: dict[str, Path], store: FolderStore | None = None, **settings: object) -> TrainingBatches:
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
    alone = list(training_loader(batches, 0, workers))
    assert len(alone) == 3
    assert all(same(a, b) for a, b in zip(alone, expected, strict=True))
    late = list(training_loader(batches, 2, workers))
    assert len(late) == 1
    assert same(late[0], expected[2])
    for rank in range(3):
        batches.share = slice(rank, None, 3)
        share = list(training_loader(batches, 0, workers))
        assert all(same(a, {k: v[rank::3] for k, v in b.items()}) for a, b in zip(share, expected, strict=True))


def test_an_epoch_sees_everybody_as_often_as_asked(world: dict[str, Path]) -> None:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"]), "repeat": 3}
    batches = make(world, train=[source])
    seen = np.concatenate([batches.rows(i) for i in range(len(batches))])
    assert np.bincount(seen).tolist() == [3] * 12


def test_an_epoch_has_an_order_of_its_own_that_is_drawn_once(world: dict[str, Path]) -> None:
    batches = make(world)
    first = batches.rows(0)
    assert np.shares_memory(first, batches.rows(1).base)
    batches.epoch = 1
    assert not np.array_equal(first, batches.rows(0))
    batches.epoch = 0
    np.testing.assert_array_equal(first, batches.rows(0))


def test_annotations_are_not_kept_beyond_what_training_needs(world: dict[str, Path]) -> None:
    store = FolderStore(world["annotations"], world["images"], load("coco17"))
    assert not any(store.people.extra)


def test_hidden_legs_are_cut_out_of_the_image(world: dict[str, Path]) -> None:
    plain, cut = (make(world, augmentation=PLAIN, synthesis={"leg_occlusion": p})[0] for p in (0.0, 1.0))
    changed = (plain["crops"] != cut["crops"]).any(1).float()
    upper, lower = changed[:, :24].mean(), changed[:, 40:].mean()
    assert lower > 0.1 > 2 * upper


def test_held_out_images_are_not_trained_on(world: dict[str, Path]) -> None:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    batches = make(world, train=[{**source, "held_out": {"index": 1, "of": 3}}])
    seen = np.unique(np.concatenate([batches.rows(i) for i in range(len(batches))]))
    left_out = np.isin(batches.people.image_ids, Fold(index=1, of=3).images(batches.stores[0].image_ids))
    assert left_out.any()
    assert not left_out[seen].any()


def test_flipping_the_crop_flips_the_coordinates(world: dict[str, Path]) -> None:
    straight = make(world, augmentation={**PLAIN, "flip": 0.0})[0]
    flipped = make(world, augmentation={**PLAIN, "flip": 1.0})[0]
    exchange = torch.from_numpy(load("coco17").flip)
    difference = (straight["crops"].flip(3).int() - flipped["crops"].int()).abs().float()
    assert difference.mean() < 1.5
    for name in ("keypoints", "target"):
        expected = straight[name][:, exchange] * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0.0])
        present = straight["scores"][:, exchange] > 0
        torch.testing.assert_close(flipped[name][present], expected[present], atol=1e-2, rtol=0)


def test_targets_lie_where_the_people_are_drawn(world: dict[str, Path]) -> None:
    batches = make(world, augmentation={**PLAIN, "rotation": 40.0, "scale": 0.3, "flip": 0.5})
    batch = batches[0]
    assert batch["crops"].shape == (4, 3, 64, 64)
    inside = ((batch["target"] > -8) & (batch["target"] < torch.tensor([56.0, 72.0]))).all(-1)
    assert inside.float().mean() > 0.9


def test_an_estimators_own_results_can_be_the_input(world: dict[str, Path]) -> None:
    listed = ImageIndex.of_annotations(world["annotations"])
    given = [world["results"], world["images"] / "openpose"]
    formats.write(formats.read(given[0], images=listed), given[1], "openpose")
    store = FolderStore(world["annotations"], world["images"], load("coco17"), given)
    observed = store.observed
    for keypoints, scores in zip(*observed, strict=True):  # also of another format and skeleton
        matched = (scores > 0).any(1)
        assert matched.mean() > 0.5
        assert np.median(np.abs(keypoints - store.people.keypoints)[matched]) < 6
    observed = observed[0][:1], observed[1][:1]
    config: Config = tiny_config(
        train=[{"annotations": "a", "images": "b", "observed": ["r"]}], synthesis={"observed": 1.0}, augmentation=PLAIN
    )
    batches = TrainingBatches(config, [store], [observed], batch=12)
    rows = batches.rows(0)
    keypoints = batches.inputs.draw(rows, np.random.default_rng(0)).keypoints
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


def test_all_that_is_said_of_mirrored_people_is_mirrored(world: dict[str, Path]) -> None:
    batches = make(world)
    rows, (height, width) = np.arange(4), batches.config.model.frame_size
    people, flip = batches.people[rows], torch.as_tensor(batches.skeleton.flip)
    maps = geometry.crop_matrices(people.boxes, (height, width))
    keypoints = people.keypoints + np.random.default_rng(1).normal(0, 5, people.keypoints.shape)
    scores = np.random.default_rng(2).random(people.scores.shape).astype(np.float32)

    def batch(maps: np.ndarray, flipped: bool) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(0)
        inputs = Inputs(keypoints.astype(np.float32), scores, np.full(4, 0.5, np.float32))
        return batches.poses(rows, maps, inputs, rng, np.full(4, flipped))

    straight, mirrored = batch(maps, False), batch(geometry.flip_matrices(maps, width), True)
    expected = InputPose(*(straight[name] for name in InputPose._fields)).mirrored(flip, width)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(mirrored[name], value, atol=1e-3, rtol=0, msg=name)
    for name in ("labelled", "annotated", "target_scales"):
        torch.testing.assert_close(mirrored[name], straight[name][:, flip])
    target = torch.stack([width - 1 - straight["target"][:, flip, 0], straight["target"][:, flip, 1]], dim=-1)
    torch.testing.assert_close(mirrored["target"], target, atol=1e-3, rtol=0)


def test_what_is_told_of_an_estimator_is_the_share_of_thresholds_that_its_people_pass(world: dict[str, Path]) -> None:
    batches = make(world, synthesis={"improved": True})
    rows = np.tile(np.arange(len(batches.people)), 300)
    people = batches.people[rows]
    drawn = batches.inputs.draw(rows, np.random.default_rng(0))
    area = people.areas, people.skeleton.sigmas
    reached = thresholds_passed(oks(drawn.keypoints, people.keypoints, people.labelled, *area))
    assert np.ptp(drawn.accuracy) > 0.2
    for part in np.array_split(np.argsort(drawn.accuracy), 4):
        assert abs(reached[part].mean() - drawn.accuracy[part].mean()) < 0.05
