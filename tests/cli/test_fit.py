"""Fitting an estimator's errors: what is written, and what is said of results that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix.cli.fit import fit
from posefix.core.skeleton import load
from synth import Statistics
from tests.cli.test_measuring import assert_clear, run
from tests.tiny import people_records, random_people


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Annotations of 120 people and results near them."""
    people = random_people(rng, 120, images=40, side=160)
    people.areas = np.full(120, 70.0**2)
    annotations = [{**r, "id": i, "area": 70.0**2} for i, r in enumerate(people_records(people), 1)]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, 41)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    noise = rng.normal(0, 4, people.keypoints.shape)
    found = people.with_keypoints(people.keypoints + noise, rng.uniform(0.1, 1, (120, 17)))
    files = {"truth": tmp_path / "truth.json", "results": tmp_path / "results.json"}
    files["truth"].write_text(json.dumps(content))
    files["results"].write_text(json.dumps(people_records(found)))
    return files


def test_fit_writes_statistics_that_training_reads(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    result = run(fit, world["results"], "--annotations", world["truth"], "--out", out)
    assert result.exit_code == 0, result.output
    statistics = Statistics.load(out)
    assert len(statistics.jitter) == 9
    condition = np.array([17]), np.array([1])
    once = statistics.probabilities(*condition, load("coco17"))
    again = tmp_path / "again.json"
    again.write_bytes(world["results"].read_bytes())
    pooled = run(fit, world["results"], again, "--annotations", world["truth"], "--out", out)
    assert pooled.exit_code == 0, pooled.output
    np.testing.assert_allclose(Statistics.load(out).probabilities(*condition, load("coco17")), once, atol=0.05)


def test_fit_says_what_it_cannot_use(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    away = json.loads(world["results"].read_text())
    for record in away:
        record["keypoints"] = [v + 5000 if i % 3 < 2 else v for i, v in enumerate(record["keypoints"])]
    (tmp_path / "away.json").write_text(json.dumps(away))
    assert_clear(
        run(fit, tmp_path / "away.json", "--annotations", world["truth"], "--out", out), "away.json", "matches"
    )
    other = run(fit, world["results"], "--annotations", world["truth"], "--out", out, "--skeleton", "mpii16")
    assert_clear(other, "16")
    assert_clear(run(fit, world["results"], "--annotations", world["truth"], "--out", world["truth"]), "named twice")
    empty = json.loads(world["truth"].read_text()) | {"annotations": []}
    (tmp_path / "empty.json").write_text(json.dumps(empty))
    assert_clear(
        run(fit, world["results"], "--annotations", tmp_path / "empty.json", "--out", out), "nothing to measure"
    )
    assert not out.exists()
