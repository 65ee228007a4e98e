"""Commands that measure: they say which results count, print JSON when asked, and never end in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from posefix.cli.convert import convert
from posefix.cli.diagnose import diagnose
from posefix.cli.evaluate import evaluate
from posefix.cli.fit import fit
from posefix.cli.main import main
from posefix.cli.options import friendly
from tests.evaluation_scenes import scene


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path, list[dict]]:
    """Annotations, results, and the records of the results."""
    dataset, records = scene(rng, images=20)
    for image in dataset["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps(dataset))
    results.write_text(json.dumps(records))
    return truth, results, records


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def assert_clear(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and all(word in result.output for word in words), result.output


@pytest.mark.parametrize("command", [evaluate, diagnose, fit])
def test_results_of_no_listed_image_are_refused(command: click.Command, files, tmp_path: Path) -> None:
    truth, results, records = files
    results.write_text(json.dumps([{**r, "image_id": r["image_id"] + 1000} for r in records]))
    out = ["--out", tmp_path / "mine.yaml"] if command is fit else []
    result = run(command, results, "--annotations", truth, *out)
    assert_clear(result, f"none of the {len(records)} results", "truth.json", "1, 2, 3, ...")
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("stray", "says"),
    [
        ({"image_id": 1000}, "results are of images"),
        ({"category_id": "person"}, "results have a category_id"),
        ({"category_id": 5}, "results have a category_id"),
    ],
)
def test_results_of_unlisted_images_and_other_categories_are_counted(files, stray: dict, says: str) -> None:
    truth, results, records = files
    expected = run(evaluate, results, "--annotations", truth, "--json")
    results.write_text(json.dumps([{**records[0], **stray}, *records]))
    found = run(evaluate, results, "--annotations", truth, "--json")
    assert found.exit_code == 0 and json.loads(found.stdout) == json.loads(expected.stdout)
    assert f"1 of {len(records) + 1} {says}" in found.stderr and not expected.stderr


def test_images_without_results_are_counted(files) -> None:
    truth, results, records = files
    results.write_text(json.dumps(records[:1]))
    found = run(evaluate, results, "--annotations", truth, "--json")
    assert found.exit_code == 0 and "images with annotated people and no results: these" in found.stderr


def test_no_results_at_all_are_measured_and_said(files) -> None:
    truth, results, _ = files
    results.write_text("[]")
    found = run(evaluate, results, "--annotations", truth, "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["AP"] == 0
    assert found.stderr == f"{results}: has no people\n"


def test_no_people_to_convert_are_said(tmp_path: Path) -> None:
    (results := tmp_path / "results.json").write_text("[]")
    found = run(convert, results, "--to", "openpose", "--out", tmp_path / "out")
    assert found.exit_code == 0 and found.stderr == f"{results}: has no people\n"
    assert "0 people in 0 images" in found.stdout and "keypoints" not in found.stdout


def test_annotations_of_images_that_are_not_listed_are_counted(files) -> None:
    truth, results, _ = files
    expected = run(evaluate, results, "--annotations", truth, "--json")
    dataset = json.loads(truth.read_text())
    strays = [{**a, "id": 10_000 + i, "image_id": 1000} for i, a in enumerate(dataset["annotations"][:3])]
    truth.write_text(json.dumps({**dataset, "annotations": dataset["annotations"] + strays}))
    found = run(evaluate, results, "--annotations", truth, "--json")
    assert found.exit_code == 0 and json.loads(found.stdout) == json.loads(expected.stdout)
    assert f"{truth}: 3 annotations of images that are not listed" in found.stderr


def test_json_is_all_that_is_printed(files, tmp_path: Path) -> None:
    truth, results, _ = files
    assert set(json.loads(run(evaluate, results, results, "--annotations", truth, "--json").stdout)["gain"]) > {
        "AP_low"
    }
    out = tmp_path / "numbers.json"
    found = run(diagnose, results, "--annotations", truth, "--json", "--out", out)
    assert json.loads(found.stdout) == json.loads(out.read_text())
    assert "impact" in json.loads(found.stdout)["diagnoses"][0]


class _Engine:
    """An engine on a GPU that is full."""

    def __call__(self) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_a_full_gpu_is_told_in_one_sentence() -> None:
    @click.command
    @friendly
    def refine() -> None:
        _Engine()()

    result = run(refine)
    assert_clear(result, "out of memory", "--test_batch")
    assert len(result.output.strip().splitlines()) == 1


def test_other_failures_keep_their_traceback() -> None:
    @click.command
    @friendly
    def broken() -> None:
        raise RuntimeError("a bug")

    assert isinstance(run(broken).exception, RuntimeError)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    for command in main.commands.values():
        for option in command.params:
            if isinstance(option.type, click.FloatRange):
                assert_clear(run(command, option.opts[0], number), "not a finite number")


def test_a_rate_is_for_videos(files) -> None:
    truth, results, _ = files
    assert_clear(run(evaluate, results, "--annotations", truth, "--fps", 25), "add --video")
