"""The exported graph refines without this package, and does what the refiner does in one pass without the flip test."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from posefix.cli.main import main
from posefix.core.errors import InputError
from posefix.demo import load_photos
from posefix.demo.__main__ import erroneous, measure
from posefix.models.checkpoint import load_checkpoint, save_checkpoint
from posefix.refine.exported import export_onnx
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from synth import Statistics
from tests.tiny import tiny_checkpoint

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"


def test_the_pages_example_refines_as_the_refiner_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    made = CliRunner().invoke(
        main, ["export", "posefix-small", "--to", "onnx", "--out", str(tmp_path / "posefix.onnx")]
    )
    assert made.exit_code == 0, made.output
    code = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert code and not re.search("torch|posefix(?!.onnx)", code[1])
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code[1], names)
    truth, images = load_photos()
    given = erroneous(truth, Statistics.load("posefix"), 1, np.random.default_rng(0))
    refiner = Refiner(load_checkpoint("posefix-small"), engine="torch")
    for row in range(4):  # one by one, each alone in the image
        one = replace(given[[row]], boxes=truth.boxes[[row]])
        image = images[int(one.image_ids[0])]
        whole = refiner(image, one, settings=RefineSettings(flip_test=False))
        pose = np.concatenate([one.keypoints[0], one.scores[0, :, None]], axis=1)
        found, expected_oks = names["refine"](image, pose, one.boxes[0])
        before, refined, exported = (
            measure(keypoints[None], truth[[row]]).oks[0]
            for keypoints in (one.keypoints[0], whole.keypoints[0], found[:, :2])
        )
        assert exported > max(before, refined - 0.02)
        assert np.median(np.abs(found[:, :2] - whole.keypoints[0])) < 0.02  # the same crop, to OpenCV's rounding
        assert expected_oks == pytest.approx(exported, abs=0.2)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_people_is_refined_at_once_as_each_alone(count: int, rng: np.random.Generator) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(small_graph(60.0))
    feed = {
        "crops": rng.integers(0, 255, (count, 256, 192, 3)).astype(np.uint8),
        "poses": rng.uniform(0.1, 192, (count, 17, 3)).astype(np.float32),
        "boxes": np.tile(np.float32([[20, 20, 170, 230]]), (count, 1)),
    }
    together, _ = session.run(None, feed)
    alone = [session.run(None, {name: values[[i]] for name, values in feed.items()})[0][0] for i in range(count)]
    np.testing.assert_allclose(together, alone, atol=0.05)


def test_what_is_known_of_the_estimator_is_written_into_the_graph() -> None:
    assert small_graph(60.0) != small_graph(90.0)


@cache
def small_graph(estimator_ap: float) -> bytes:
    return export_onnx(load_checkpoint("posefix-small"), estimator_ap)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="fusion head"):
        export_onnx(tiny_checkpoint())


def test_an_export_over_its_input_or_under_a_misleading_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, tiny_checkpoint())
    before = path.read_bytes()
    same = CliRunner().invoke(main, ["export", str(path), "--out", str(path)])
    assert same.exit_code == 2 and "named twice" in same.stderr and path.read_bytes() == before
    misnamed = CliRunner().invoke(main, ["export", str(path), "--out", str(tmp_path / "own.onnx")])
    assert misnamed.exit_code == 2 and "--to checkpoint writes no .onnx file" in misnamed.stderr
