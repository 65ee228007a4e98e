"""The whole command on bad input: one clear sentence, and no output."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from posefix.models.checkpoint import save_checkpoint
from posefix.run.journal import SUFFIX
from tests.refine_command import assert_clear, run
from tests.tiny import tiny_checkpoint


@pytest.mark.parametrize("option", ["--out", "--metrics", "--report"])
def test_the_index_of_the_pictures_is_no_other_output(world: dict[str, Path], tmp_path: Path, option: str) -> None:
    index = tmp_path / "pictures" / "index.json"
    result = run(world, "--annotations", world["annotations"], "--visualize", index.parent, option, index)
    assert_clear(result, index)


def test_the_index_of_the_pictures_is_no_input(world: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    world["results"] = world["results"].rename(folder / "index.json")
    kept = world["results"].read_bytes()
    assert run(world, "--visualize", folder).exit_code == 2
    assert world["results"].read_bytes() == kept


def first_record(change: Callable[[dict], None]) -> Callable[[dict[str, Path]], None]:
    def apply(world: dict[str, Path]) -> None:
        records = json.loads(world["results"].read_text())
        change(records[0])
        world["results"].write_text(json.dumps(records))

    return apply


BAD_FILES = {
    "cut": lambda w: w["results"].write_text(w["results"].read_text()[:300]),
    "missing": lambda w: w["results"].unlink(),
    "truncated checkpoint": lambda w: w["checkpoint"].write_bytes(w["checkpoint"].read_bytes()[:-1000]),
    "pickled checkpoint": lambda w: w["checkpoint"].write_bytes(pickle.dumps({"weights": [1.0]})),
    "other skeleton": lambda w: save_checkpoint(w["checkpoint"], tiny_checkpoint(skeleton="mpii16")),
    "no images": lambda w: [p.unlink() for p in w["images"].iterdir()],
    "images is no folder": lambda w: w.update(images=w["results"]),
}
BAD_RECORDS = {
    "no image_id": lambda r: r.pop("image_id"),
    "16 keypoints": lambda r: r.update(keypoints=r["keypoints"][:48]),
    "NaN": lambda r: r["keypoints"].__setitem__(4, float("nan")),
    "image that is not there": lambda r: r.update(image_id=77),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_clear_sentence(world: dict[str, Path], tmp_path: Path, case: str) -> None:
    BAD_FILES[case](world)
    assert_clear(run(world, "--out", tmp_path / "out.json"), tmp_path / "out.json")


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_stops_or_is_handed_through(world: dict[str, Path], tmp_path: Path, case: str) -> None:
    good, out = tmp_path / "good.json", tmp_path / "out.json"
    whole = world["results"].read_text()
    world["results"].write_text(json.dumps(json.loads(whole)[1:]))  # what the others are without the first
    assert run(world, "--out", good).exit_code == 0
    world["results"].write_text(whole)
    first_record(BAD_RECORDS[case])(world)
    assert_clear(run(world, "--out", out), out)
    result = run(world, "--out", out, "--on_error", "skip")
    assert result.exit_code == 0, result.output
    assert "1 passed through unchanged" in result.output
    written = json.loads(out.read_text())
    assert json.dumps(written[0]) == json.dumps(json.loads(world["results"].read_text())[0])
    for found, expected in zip(written[1:], json.loads(good.read_text()), strict=True):
        np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=0.02)


def test_an_output_that_cannot_be_written_is_said_before_the_work(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out.json"
    result = run(world, "--out", out)
    assert_clear(result, out)
    assert "nowhere" in result.output


def test_no_output_takes_the_place_of_another_file(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for more in (
        ["--annotations", world["annotations"], "--out", world["annotations"]],
        ["--out", world["results"]],
        ["--out", out, "--metrics", out],
    ):
        before = {name: world[name].read_bytes() for name in ("annotations", "results")}
        result = run(world, *more)
        assert_clear(result, out)
        assert "named twice" in result.output
        assert before == {name: world[name].read_bytes() for name in before}
    os.mkfifo(tmp_path / "pipe")
    assert run(world, "--out", tmp_path / "pipe").exit_code == 2


def test_unusable_ground_truth_is_said_before_the_work(world: dict[str, Path], tmp_path: Path) -> None:
    annotations = json.loads(world["annotations"].read_text())
    annotations["annotations"][0]["id"] = "one"
    world["annotations"].write_text(json.dumps(annotations))
    out = tmp_path / "out.json"
    assert_clear(run(world, "--annotations", world["annotations"], "--out", out), out)


def test_the_place_of_the_progress_is_no_input_and_no_other_output(world: dict[str, Path], tmp_path: Path) -> None:
    out, journal = tmp_path / "out.json", tmp_path / f"out.json{SUFFIX}"
    assert_clear(run(world, "--out", out, "--metrics", journal), out)
    journal.write_bytes(world["results"].read_bytes())
    world = {**world, "results": journal}
    assert_clear(run(world, "--out", out), out)
    assert journal.stat().st_size > 2


def test_work_that_would_leave_nothing_is_refused_at_once(world: dict[str, Path]) -> None:
    said = run(world)
    assert said.exit_code == 2
    assert all(option in said.output for option in ("--out", "--visualize", "--metrics", "--annotations"))


def test_results_in_fractions_of_the_image_are_refused(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    for record in records:
        record["keypoints"] = [v if i % 3 == 2 else v / 120 for i, v in enumerate(record["keypoints"])]
    world["results"].write_text(json.dumps(records))
    result = run(world, "--out", tmp_path / "out.json")
    assert_clear(result, tmp_path / "out.json")
    assert "results.json" in result.output and "fractions of the image" in result.output
