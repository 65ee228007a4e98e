"""Training on what frozen eyes saw: the cache holds what the network sees, and a training with it is a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from posefix.models.checkpoint import load_checkpoint
from posefix.models.movenet import Stages
from posefix.models.network import FusionNetwork, build_network
from posefix.training.config import Config, from_dict
from posefix.training.data.cache import STATE, CachedBatches, fill_cache
from posefix.training.data.loader import TrainingBatches
from posefix.training.data.stores import FolderStore
from posefix.training.run_folder import MODEL_FILE
from posefix.training.train import Trainer
from tests.tiny import FUSION, write_world

CPU = torch.device("cpu")
COCO = load("coco17")


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path, rng, count=12)


def config_of(world: dict[str, Path], **settings: dict) -> Config:
    spec = {
        "name": "cached",
        "model": FUSION,
        "train": [{"annotations": str(world["annotations"]), "images": str(world["images"]), "repeat": 2}],
        "synthesis": {
            "guessed": 0.3,
            "improved": True,
            "scores": True,
            "inverted": 0.2,
            "warped": 0.2,
            "neighbour": 0.3,
        },
        "training": {"cache": str(world["images"].parent / "cache"), "epochs": 2, "batch": 4, "workers": 0},
    }
    return from_dict({**spec, **{name: {**spec.get(name, {}), **values} for name, values in settings.items()}})


def cached(world: dict[str, Path], config: Config) -> tuple[CachedBatches, TrainingBatches, FusionNetwork]:
    torch.manual_seed(0)
    network = build_network(config.model, COCO).eval()
    store = FolderStore(world["annotations"], world["images"], COCO)
    batches = TrainingBatches(config, [store], [None], config.training.batch)
    cache = fill_cache(Path(config.training.cache), batches, network, CPU)
    return CachedBatches(batches, cache), batches, network


def test_the_cache_holds_what_the_network_sees_of_each_crop(world: dict[str, Path]) -> None:
    config = config_of(world, augmentation={"photometric": 0.0})
    made, batches, network = cached(world, config)
    cache = made._cache
    assert len(cache.rows) == 24
    assert np.bincount(cache.rows).tolist() == [2] * 12
    good = batches
    crops, *_, maps, _ = good.draw_crops(cache.rows[4:8], np.random.default_rng([config.seed, 0, 1]))
    np.testing.assert_allclose(maps, cache.maps[4:8])
    with torch.inference_mode():
        alone = network.encode(torch.from_numpy(crops).permute(0, 3, 1, 2), False).heatmaps
    spread = alone.std().item()
    assert np.abs(cache.outputs["heatmaps"][4:8, 0].astype(np.float32) - alone.numpy()).mean() < 0.1 * spread


def test_a_cached_batch_is_a_pure_function_of_its_place(world: dict[str, Path]) -> None:
    one, _, _ = cached(world, config_of(world))
    other, _, _ = cached(world, config_of(world))
    first, again = one[1], other[1]
    assert all(torch.equal(first[name], value) for name, value in again.items())


def test_poses_are_mirrored_with_their_crops(world: dict[str, Path]) -> None:
    made, _, _ = cached(world, config_of(world, augmentation={"flip": 1.0}))
    straight, _, _ = cached(
        world,
        config_of(world, augmentation={"flip": 0.0}, training={"cache": str(world["images"].parent / "straight")}),
    )
    assert made._cache.flipped.all() and not straight._cache.flipped.any()
    width, flip = made._batches.config.model.frame_size[1], np.asarray(COCO.flip)
    for part in (made, straight):
        part.trained_on = np.arange(4)
    mirrored, target = made[0]["target"].numpy(), straight[0]["target"].numpy()
    order = [np.argsort(part._cache.rows[:4]) for part in (made, straight)]
    expected = target[order[1]][:, flip]
    expected[..., 0] = width - 1 - expected[..., 0]
    labelled = made[0]["labelled"].numpy()[order[0]]
    np.testing.assert_allclose(mirrored[order[0]][labelled], expected[labelled], atol=1e-3)


def test_held_out_people_are_cached_and_not_trained_on(world: dict[str, Path]) -> None:
    source = {"annotations": str(world["annotations"]), "images": str(world["images"]), "repeat": 2}
    held = {"train": [{**source, "held_out": {"index": 0, "of": 2}}]}
    everybody, _, _ = cached(world, config_of(world))
    rest, some, _ = cached(world, from_dict({**config_of(world).model_dump(mode="json"), **held}))
    np.testing.assert_array_equal(everybody._cache.rows, rest._cache.rows)
    assert 0 < len(rest.trained_on) < len(everybody.trained_on)
    assert np.isin(rest._cache.rows[rest.trained_on], some.trained_on).all()


def test_an_unfinished_cache_is_finished_and_another_trainings_is_refused(world: dict[str, Path]) -> None:
    config = config_of(world)
    whole, _, _ = cached(world, config)
    expected = np.array(whole._cache.outputs["heatmaps"])
    state = Path(config.training.cache) / STATE
    content = json.loads(state.read_text())
    whole._cache.outputs["heatmaps"][8:] = 0
    state.write_text(json.dumps({**content, "batches": 2}))
    again, _, _ = cached(world, config)
    np.testing.assert_array_equal(again._cache.outputs["heatmaps"], expected)
    with pytest.raises(InputError, match="cache of another training"):
        cached(world, config_of(world, augmentation={"scale": 0.1}))


def test_a_training_with_a_cache_changes_the_head_alone_and_learns(world: dict[str, Path], tmp_path: Path) -> None:
    config = config_of(
        world,
        optimizer={"learning_rate": 3e-3},
        synthesis={"improved": False},
        training={"epochs": 8, "evaluate_every": 0},
    )
    trainer = Trainer(config, tmp_path / "run", CPU)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    assert trainer.fit()
    after = load_checkpoint(tmp_path / "run" / MODEL_FILE).network.state_dict()
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith("backbone"), name
    losses = [json.loads(line)["cross_entropy"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_a_network_whose_eyes_need_the_pose_cannot_be_cached(world: dict[str, Path], tmp_path: Path) -> None:
    model = {"backbone": "test_resnet", "head": "deconv", "head_channels": 16, "input_size": [64, 64]}
    config = from_dict({**config_of(world).model_dump(mode="json"), "model": model})
    with pytest.raises(InputError, match="fusion head"):
        Trainer(config, tmp_path / "run", CPU)


def test_without_a_cache_the_whole_network_learns(world: dict[str, Path], tmp_path: Path) -> None:
    config = config_of(world, training={"cache": None, "epochs": 1, "evaluate_every": 0}, synthesis={"guessed": 0.0})
    trainer = Trainer(config, tmp_path / "run", CPU)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    assert trainer.fit()
    after = load_checkpoint(tmp_path / "run" / MODEL_FILE).network.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items() if name.startswith("backbone"))


def test_cached_stages_lead_to_what_the_network_sees(world: dict[str, Path]) -> None:
    config = config_of(world, augmentation={"photometric": 0.0}, training={"cached": "stages"})
    made, batches, network = cached(world, config)
    stages = Stages(*(torch.from_numpy(made._cache.outputs[name][4:8]).float() for name in Stages._fields))
    crops, *_ = batches.draw_crops(made._cache.rows[4:8], np.random.default_rng([config.seed, 0, 1]))
    with torch.inference_mode():
        found, expected = network.finish(stages), network.encode(torch.from_numpy(crops).permute(0, 3, 1, 2), False)
    assert (found.heatmaps - expected.heatmaps).abs().mean() < 0.1 * expected.heatmaps.std()


def test_a_training_with_cached_stages_changes_only_what_comes_after_them(
    world: dict[str, Path], tmp_path: Path
) -> None:
    settings = {"training": {"cached": "stages", "epochs": 2, "evaluate_every": 0}}
    changes = []
    for factor in (0.1, 1e-3):
        trainer = Trainer(
            config_of(world, **settings, optimizer={"backbone_factor": factor}), tmp_path / str(factor), CPU
        )
        before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        assert trainer.fit()
        after = load_checkpoint(tmp_path / str(factor) / MODEL_FILE).network.state_dict()
        change = {name: float((value - before[name]).abs().mean()) for name, value in after.items()}
        backbone = {name.removeprefix("backbone."): c for name, c in change.items() if name.startswith("backbone.")}
        late = trainer.network.backbone._late
        early = [c for name, c in backbone.items() if name.startswith("backbone.") and int(name.split(".")[1]) < late]
        assert early and not any(early)
        assert backbone["top.0.weight"] and backbone["heads.2.1.weight"] and change["head.weights.weight"]
        changes.append(backbone["top.0.weight"])
    assert changes[1] < 0.1 * changes[0]
