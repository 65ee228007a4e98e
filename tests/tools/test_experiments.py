"""Experiments with training and occlusion: what they measure, and what they say of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from tests.tiny import people_records, random_people
from tools.experiments import occlusion, train_arms

COCO = load("coco17")


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Annotations of 120 people, results near them, and grey photos."""
    people = random_people(rng, 120, images=40, side=160)
    people.areas = np.full(120, 70.0**2)
    files = {"truth": tmp_path / "truth.json", "results": tmp_path / "results.json", "images": tmp_path / "images"}
    annotations = [
        {
            "id": i + 1, "image_id": int(people.image_ids[i]), "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
            "area": float(people.areas[i]), "bbox": people.boxes[i].tolist(),
            "keypoints": np.concatenate([people.keypoints[i], np.full((17, 1), 2)], 1).ravel().tolist(),
        }
        for i in range(120)
    ]  # fmt: skip
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 160, "width": 160} for i in range(1, 41)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    files["truth"].write_text(json.dumps(content))
    found = people.with_keypoints(
        people.keypoints + rng.normal(0, 4, people.keypoints.shape), rng.uniform(0.1, 1, (120, 17))
    )
    files["results"].write_text(json.dumps(people_records(found)))
    files["images"].mkdir()
    for i in range(1, 41):
        cv2.imwrite(str(files["images"] / f"{i}.jpg"), np.full((160, 160, 3), 90, np.uint8))
    return files


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def assert_clear(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and all(word in result.output for word in words), result.output


def test_legs_are_hidden_and_nothing_above_them(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "occluded"
    result = run(occlusion.main, "hide", "--annotations", world["truth"], "--images", world["images"], "--out", out)
    assert result.exit_code == 0, result.output
    made = json.loads((out / "annotations.json").read_text())
    assert made["annotations"] and {i["id"] for i in made["images"]} == {a["image_id"] for a in made["annotations"]}
    ankles = [COCO.index(f"{side}_ankle") for side in ("left", "right")]
    assert all(np.array(a["hidden"])[ankles].any() for a in made["annotations"])
    again = tmp_path / "again"
    run(occlusion.main, "hide", "--annotations", world["truth"], "--images", world["images"], "--out", again)
    assert (again / "annotations.json").read_bytes() == (out / "annotations.json").read_bytes()
    for image in made["images"]:
        assert (again / "images" / image["file_name"]).read_bytes() == (
            out / "images" / image["file_name"]
        ).read_bytes()


def test_who_is_hidden_is_needed_to_measure_occlusion(world: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "annotations.json").write_bytes(world["truth"].read_bytes())
    assert_clear(run(occlusion.main, "measure", folder, "--results", world["results"]), "hidden")


def test_an_interval_holds_its_mean_and_shrinks_with_more_images(rng: np.random.Generator) -> None:
    widths = []
    for count in (40, 4000):
        values, chosen = rng.normal(2.0, 1.0, (count, 5)), rng.random((count, 5)) < 0.7
        mean, low, high = occlusion.mean_over_images(values, chosen, np.arange(count) // 2, rng)
        assert mean == pytest.approx(values[chosen].mean())
        assert low < mean < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_people_whose_legs_cannot_be_seen_are_not_hidden(rng: np.random.Generator) -> None:
    people = random_people(rng, 30)
    people.areas = np.full(30, 100.0**2)
    people.areas[:10] = 30.0
    people.scores[10:20, COCO.index("left_hip")] = 0
    assert not occlusion.can_be_hidden(people)[:20].any() and occlusion.can_be_hidden(people)[20:].all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", "the whole"),
        ("config: lite_resnet18\narms: {}", "arms"),
        ("config: lite_resnet18\nseeds: []\narms: {a: []}", "seeds"),
        ("config: nowhere\narms: {a: []}", "nowhere"),
        ("config: lite_resnet18\narms: {a: [training.epoch=1]}", "epoch"),
        ("config: [", "YAML"),
    ],
)
def test_experiments_that_cannot_be_run_are_told_apart(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        train_arms.read_experiment(path)


def test_shipped_experiments_can_be_run() -> None:
    for path in sorted((train_arms.ROOT / "configs" / "experiments").glob("*.yaml")):
        assert len(train_arms.read_experiment(path).arms) >= 2
        assert yaml.safe_load(path.read_text())["seeds"] == [0, 1, 2]


def test_an_experiment_is_summed_up_over_its_seeds() -> None:
    gains = {
        "a": {0: {"x": {"AP": 1.0}, "y": {"AP": -1.0}}, 1: {"x": {"AP": 3.0}, "y": {"AP": -2.0}}},
        "b": {0: {"x": {"AP": 0.0}, "y": {"AP": 0.5}}, 1: {"x": {"AP": 0.0}, "y": {"AP": 0.5}}},
    }
    rows = train_arms.table(gains).splitlines()
    assert rows[2] == "| x | +2.00 (+1.00 to +3.00) | +0.00 (+0.00 to +0.00) |"
    assert rows[4] == "| mean | +0.25 (+0.00 to +0.50) | +0.25 (+0.25 to +0.25) |"
    assert rows[5] == "| mean, against a |  | +0.00 [-3.18, +3.18] |"  # t of one degree: 12.7 x 0.25


def test_gains_of_another_run_are_not_shown(tmp_path: Path) -> None:
    path, out = tmp_path / "arms.yaml", tmp_path / "out"
    content = {"config": "lite_resnet18", "seeds": [0], "arms": {"a": ["synthesis.dropout=0.1"]}}
    path.write_text(yaml.safe_dump(content))
    folder = out / "arms" / "0-0"
    folder.mkdir(parents=True)
    overrides = train_arms.read_experiment(path).overrides("a", 0)
    work = {"config": "lite_resnet18", "overrides": overrides, "data": str(tmp_path)}
    (folder / "gains_val.json").write_text(json.dumps({"work": work, "gains": {"x": {"AP": None}}}))
    shown = run(train_arms.main, path, "--data", tmp_path, "--out", out)
    assert shown.exit_code == 0 and "| x | - |" in shown.output, shown.output
    path.write_text(yaml.safe_dump(content | {"arms": {"a": ["synthesis.dropout=0.2"]}}))
    assert_clear(run(train_arms.main, path, "--data", tmp_path, "--out", out), "is of another run")
    (folder / "gains_val.json").write_text("{")
    assert_clear(run(train_arms.main, path, "--data", tmp_path, "--out", out), "gains_val.json")


def test_nobody_to_hide_is_an_error(world: dict[str, Path], tmp_path: Path) -> None:
    empty = json.loads(world["truth"].read_text()) | {"annotations": []}
    (tmp_path / "empty.json").write_text(json.dumps(empty))
    options = ["--images", world["images"], "--out", tmp_path / "occluded"]
    assert_clear(run(occlusion.main, "hide", "--annotations", tmp_path / "empty.json", *options), "has no person")


def test_hidden_keypoints_are_those_in_the_region():
    points = np.array([[[1.0, 1.0], [5.0, 5.0], [9.0, 3.0]]] * 2)
    regions = np.array([[4, 4, 6, 6], [0, 0, 0, 0]], np.float32)
    assert occlusion.hidden_keypoints(points, regions).tolist() == [[False, True, False], [False] * 3]
