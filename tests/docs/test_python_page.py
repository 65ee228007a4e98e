"""The page about Python: its code runs as it stands, and does what the page says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from posefix.demo import load_photos
from tests.library_objects import HEIGHT, REAL, STAND_INS, WIDTH, Library, plain
from tests.tiny import COCO

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
BLOCKS = {
    (section.split("\n", 1)[0], number): code
    for section in SECTIONS
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL))
}
SETUP, IMAGE, FILE = ("# Python", 0), [("One image", 0), ("One image", 1)], ("A file", 0)
FORMS = {library.name: library for library in STAND_INS + REAL}


@dataclass(frozen=True)
class Prepared:
    """What one block finds there.

    Attributes:
        block: heading and number.
        form: of the library's objects.
        names: ``(the library's object) -> names`` that the page tells of.
        result: expression for the block's result.
        count: number of keypoints.
    """

    block: tuple[str, int]
    form: str
    names: Callable[[Any], dict[str, Any]]
    result: str
    count: int = 17

    def __str__(self) -> str:
        return f"{self.block[0]} {self.block[1]} with {self.form}"


def _supervision(given: Any) -> dict[str, Any]:
    annotator = SimpleNamespace(annotate=lambda scene, key_points: scene)
    return {"detect": lambda frame: given, "annotator": annotator}


def _real_supervision(given: Any) -> dict[str, Any]:
    sv = pytest.importorskip("supervision")
    return {"detect": lambda frame: given, "annotator": sv.VertexAnnotator()}


def _ultralytics(given: Any) -> dict[str, Any]:
    return {"model": lambda frame: [given]}


def _landmarker(given: Any) -> dict[str, Any]:
    mp = SimpleNamespace(Image=SimpleNamespace, ImageFormat=SimpleNamespace(SRGB=1))
    return {"mp": mp, "landmarker": SimpleNamespace(detect=lambda image: given)}


def _real_landmarker(given: Any) -> dict[str, Any]:
    return {"mp": pytest.importorskip("mediapipe"), "landmarker": SimpleNamespace(detect=lambda image: given)}


def _rtmlib(given: Any) -> dict[str, Any]:
    return {"body": lambda frame: given, "draw_skeleton": lambda img, keypoints, scores: img}


def _real_rtmlib(given: Any) -> dict[str, Any]:
    return {"body": lambda frame: given, "draw_skeleton": pytest.importorskip("rtmlib").draw_skeleton}


class Processor:
    """Calls and results of transformers' VitPoseImageProcessor."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __call__(self, images: np.ndarray, boxes: list, return_tensors: str) -> dict:
        return {"pixel_values": torch.zeros(len(boxes[0]), 3, 256, 192)}

    def post_process_pose_estimation(self, outputs: Any, boxes: list) -> list:
        return [self.given]


def _transformers(given: Any) -> dict[str, Any]:
    model = lambda pixel_values: SimpleNamespace(heatmaps=pixel_values)  # noqa: E731
    return {"processor": Processor(given), "model": model, "boxes": [[0.0, 0, 1, 1]] * len(given)}


CASES = [
    Prepared(("supervision", 0), "supervision", _supervision, "keypoints"),
    Prepared(("supervision", 0), "supervision before 0.29", _supervision, "keypoints"),
    Prepared(("supervision", 0), "real supervision", _real_supervision, "keypoints"),
    Prepared(("supervision", 0), "real supervision before 0.29", _real_supervision, "keypoints"),
    Prepared(("Ultralytics", 0), "ultralytics", _ultralytics, "result"),
    Prepared(("Ultralytics", 0), "real ultralytics", _ultralytics, "result"),
    Prepared(("MediaPipe", 0), "mediapipe tasks", _landmarker, "result", 33),
    Prepared(("MediaPipe", 0), "real mediapipe tasks", _real_landmarker, "result", 33),
    Prepared(("rtmlib", 0), "rtmlib", _rtmlib, "keypoints, scores", 26),
    Prepared(("rtmlib", 0), "rtmlib", _real_rtmlib, "keypoints, scores", 133),
    Prepared(("transformers", 0), "transformers", _transformers, "results"),
]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's first block makes."""
    made: dict[str, Any] = {}
    exec(compile(BLOCKS[SETUP], PAGE.name, "exec"), made)
    return made


@pytest.fixture
def image() -> np.ndarray:
    """A photograph of people, so that wild poses move."""
    _, images = load_photos()
    return cv2.resize(next(iter(images.values())), (WIDTH, HEIGHT))


def objects(library: Library, count: int, rng: np.random.Generator) -> Any:
    keypoints = np.round(rng.uniform(10, 110, (2, count, 2)))  # whole, so that there is an exact way back
    boxes = np.concatenate([keypoints.min(1) - 5, keypoints.max(1) + 5], axis=1)
    return library.make(*(v[: library.most] for v in (keypoints, rng.uniform(0.1, 0.5, (2, count)), boxes)))


def test_every_block_of_the_page_is_run() -> None:
    assert {case.block for case in CASES} | {SETUP, *IMAGE, FILE} == set(BLOCKS)


@pytest.mark.parametrize("block", IMAGE)
def test_blocks_of_one_image(
    block: tuple[str, int], names: dict[str, Any], image: np.ndarray, rng: np.random.Generator
) -> None:
    keypoints = np.concatenate([rng.uniform(10, 110, (2, 17, 2)), rng.uniform(0.1, 1, (2, 17, 1))], axis=2)
    boxes = np.tile([5.0, 5, 110, 110], (2, 1))
    prepared = {**names, "image": image, "keypoints": keypoints, "boxes": boxes}
    exec(compile(BLOCKS[block], PAGE.name, "exec"), prepared)
    better = prepared["better"]
    assert better.shape == keypoints.shape and (better[..., :2] != keypoints[..., :2]).any()
    np.testing.assert_allclose(better[..., 2], keypoints[..., 2], atol=1e-6)


def test_block_of_a_file(
    names: dict[str, Any], image: np.ndarray, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    cv2.imwrite("photos/000007.png", image)
    keypoints = np.concatenate([rng.uniform(10, 110, (17, 2)), np.full((17, 1), 0.5)], axis=1).ravel().tolist()
    record = {"image_id": 7, "category_id": 1, "keypoints": keypoints, "score": 0.5, "mine": "stays"}
    Path("results.json").write_text(json.dumps([record]))
    exec(compile(BLOCKS[FILE], PAGE.name, "exec"), dict(names))
    (written,) = json.loads(Path("refined.json").read_text())
    assert written["keypoints"] != keypoints and written["mine"] == "stays"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_block(case: Prepared, names: dict[str, Any], image: np.ndarray, rng: np.random.Generator) -> None:
    library = FORMS[case.form]
    given = objects(library, case.count, rng)
    before = plain(given)
    prepared = {**names, **case.names(given), "images": [image], "frames": [np.ascontiguousarray(image[..., ::-1])]}
    exec(compile(BLOCKS[case.block], PAGE.name, "exec"), prepared)
    assert plain(given) == before
    result = eval(case.result, prepared)
    people = library.take(given)
    expected = names["refiner"].refine(people.to_skeleton(COCO), {0: image}).keypoints
    places = [people.skeleton.index(name) for name in COCO.keypoint_names]
    found = library.xy(result)
    np.testing.assert_allclose(found[:, places], expected, atol=1e-3)
    assert (found[:, places] != library.xy(given)[:, places]).any()
    others = np.setdiff1d(np.arange(case.count), places)
    np.testing.assert_array_equal(found[:, others], library.xy(given)[:, others])
    assert plain(library.put(library.take(result).with_keypoints(people.keypoints), result)) == before
    if "picture" in BLOCKS[case.block]:
        assert prepared["picture"].shape == image.shape


def test_block_of_transformers_with_a_real_network(names: dict[str, Any], image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_vitpose")
    backbone = transformers.VitPoseBackboneConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, out_indices=[1]
    )
    torch.manual_seed(0)
    network = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
    ).eval()
    processor, boxes = vitpose.VitPoseImageProcessor(), [[20.0, 10, 60, 100], [120.0, 5, 80, 110]]
    prepared = {**names, "images": [image], "processor": processor, "model": network, "boxes": boxes}
    exec(compile(BLOCKS["transformers", 0], PAGE.name, "exec"), prepared)
    found = prepared["results"]
    with torch.no_grad():
        outputs = network(**processor(image, boxes=[boxes], return_tensors="pt"))
    own = processor.post_process_pose_estimation(outputs, boxes=[boxes])[0]
    assert len(found) == len(own) == 2
    for new, old in zip(found, own, strict=True):
        assert (new["keypoints"] != old["keypoints"]).any()
        assert plain({**new, "keypoints": old["keypoints"]}) == plain(old)
