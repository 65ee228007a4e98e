"""Measuring a checkpoint on a folder of data sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from posefix.cli.measure import measure
from posefix.core.people import People
from posefix.models.checkpoint import save_checkpoint
from posefix.run.data_sets import displaced, gains_by_score
from tests.tiny import people_records, random_people, tiny_checkpoint


@pytest.fixture
def truth(rng: np.random.Generator) -> People:
    people = random_people(rng, 40, images=40)
    people.areas = np.full(40, 70.0**2, np.float32)
    return people


def test_halves_tell_whose_poses_became_better(truth: People, rng: np.random.Generator) -> None:
    before = truth.with_keypoints(truth.keypoints + rng.normal(0, 4, truth.keypoints.shape), np.ones((40, 17)))
    low = np.argsort(before.person_scores)[:20]
    keypoints = before.keypoints.copy()
    keypoints[low] = truth.keypoints[low]
    gains = gains_by_score(truth, before, before.with_keypoints(keypoints))
    assert gains["lower"] > 5 and gains["upper"] == 0
    nobody = before[:0]
    assert gains_by_score(truth, nobody, nobody) == {"lower": None, "upper": None}


def test_displaced_truth_is_as_far_as_it_says(truth: People, rng: np.random.Generator) -> None:
    moved = displaced(truth, 0.25, rng)
    scales = np.sqrt(truth.areas)[:, None] * 2 * truth.skeleton.sigmas
    distances = np.linalg.norm(moved.keypoints - truth.keypoints, axis=-1)
    np.testing.assert_allclose(distances, 0.25 * scales, rtol=1e-3)


def test_every_results_file_and_the_truth_are_measured(tmp_path: Path, rng: np.random.Generator) -> None:
    people = random_people(rng, 4, images=2)
    records = [{**r, "id": i, "area": 900.0, "num_keypoints": 17} for i, r in enumerate(people_records(people), 1)]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)]
    folder = tmp_path / "data" / "mine"
    for name in ("annotations", "val", "results/val"):
        (folder / name).mkdir(parents=True)
    content = {"images": images, "annotations": records, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations" / "person_keypoints_val.json").write_text(json.dumps(content))
    (folder / "results" / "val" / "some.json").write_text(json.dumps(people_records(people)))
    for i in (1, 2):
        cv2.imwrite(str(folder / "val" / f"{i}.jpg"), np.full((120, 120, 3), 90, np.uint8))
    checkpoint = tmp_path / "tiny.safetensors"
    save_checkpoint(checkpoint, tiny_checkpoint())
    options = [str(tmp_path / "data"), "--checkpoint", str(checkpoint), "--device", "cpu"]
    table = CliRunner().invoke(measure, options)
    assert table.exit_code == 0, table.output
    assert "| mine/some | 100.00 |" in table.stdout and "| mine/boxes alone |" in table.stdout
    numbers = CliRunner().invoke(measure, [*options, "--no_truth", "--json"])
    assert list(json.loads(numbers.stdout)) == ["mine/some"]
    assert json.loads(numbers.stdout)["mine/some"]["estimator_ap"] is None  # of a network that cannot be told
    nowhere = CliRunner().invoke(measure, [str(folder), "--checkpoint", str(checkpoint)])
    assert nowhere.exit_code == 2 and "holds no SET/annotations" in nowhere.output
    damaged = tmp_path / "data" / "others"
    shutil.copytree(folder, damaged)
    (damaged / "results" / "val" / "some.json").write_text("[{")
    result = CliRunner().invoke(measure, options)
    assert result.exit_code == 2 and "mine" not in result.output and "others" in result.output
