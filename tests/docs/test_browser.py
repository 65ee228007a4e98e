"""The page that refines in a browser: headless Chromium finds what ONNX Runtime finds in Python.

The page loads onnxruntime-web from the network; here it is given npm's package of the version that the page names.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posefix.demo import load_photos
from posefix.models.checkpoint import load_checkpoint
from posefix.refine.exported import export_onnx

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "browser" / "browser.js"
URL, VERSION = re.findall(r'"(https://.*/onnxruntime-web@([\d.]+)/)', SCRIPT.read_text(encoding="utf-8"))[0]
MEDIAPIPE = [0, 2, 5, 7, 8, *range(11, 17), *range(23, 29)]  # COCO's keypoints among its landmarks
WALKER = 2  # id of the page's photo


@pytest.fixture(scope="module")
def onnxruntime_web(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of npm's package, downloaded once if pytest has a cache."""
    kept = getattr(request.config, "cache", None)
    cache = kept.mkdir("onnxruntime-web") if kept else tmp_path_factory.mktemp("onnxruntime-web")
    folder = cache / VERSION / "package"
    if not folder.exists():
        if not shutil.which("npm"):
            pytest.skip("npm is not installed: no onnxruntime-web")
        command = ["npm", "pack", f"onnxruntime-web@{VERSION}"]
        packed = subprocess.run(command, cwd=cache, capture_output=True, text=True)
        if packed.returncode:
            pytest.skip(f"npm has no onnxruntime-web at hand: {packed.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(cache / f"onnxruntime-web-{VERSION}.tgz") as package:
            package.extractall(cache / "part", filter="data")
        (cache / "part").rename(folder.parent)  # whole, or not there
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, with a model beside the page."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    (folder / "browser" / "posefix.onnx").write_bytes(export_onnx(load_checkpoint("posefix-small")))
    return folder


@pytest.fixture(scope="module")
def tab(browser: Any, site: Path, onnxruntime_web: Path) -> Iterator[Any]:
    """A browser's tab that shows the page; it finds the site at http://posefix/, and nothing else."""

    def answer(route: Any) -> None:
        url = route.request.url
        path = onnxruntime_web / url.removeprefix(URL) if url.startswith(URL) else site / url[len("http://posefix/") :]
        path = path / "index.html" if path.is_dir() else path
        if path.is_file():
            route.fulfill(path=path, headers={"Access-Control-Allow-Origin": "*"})
        else:
            route.fulfill(status=404)

    tab = browser.new_page(viewport={"width": 1400, "height": 1200})
    tab.set_default_timeout(180_000)  # ms; of a busy machine
    tab.route("**/*", answer)
    tab.goto("http://posefix/browser/")
    yield tab
    tab.close()


@contextmanager
def refined_anew(tab: Any) -> Iterator[dict[str, Any]]:
    """Wait until what was done in the block has led to another refined pose; then what the page shows is in it."""
    tab.evaluate("async () => { window.shown = (await import('./browser.js')).shown; window.last = shown.refined; }")
    found: dict[str, Any] = {}
    yield found
    tab.wait_for_function("shown.refined && shown.refined !== window.last")
    found.update(tab.evaluate("({pose: shown.pose, refined: shown.refined})"))


@pytest.fixture(scope="module")
def refine_in_python(site: Path) -> Callable[..., tuple[np.ndarray, float]]:
    """The example of the page about ONNX."""
    onnxruntime = pytest.importorskip("onnxruntime")
    text = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
    code = re.search(r"^def refine.*?(?=^```)", text, re.MULTILINE | re.DOTALL)
    import cv2

    names = {"cv2": cv2, "np": np, "session": onnxruntime.InferenceSession(str(site / "browser" / "posefix.onnx"))}
    exec(code[0], names)

    def refine(image: np.ndarray, pose: np.ndarray) -> np.ndarray:
        given = pose[pose[:, 2] > 0, :2]
        low, extent = given.min(0), np.ptp(given, axis=0)
        return names["refine"](image, pose, np.concatenate([low - 0.15 * extent, 1.3 * extent]))[0]

    return refine


def check(found: dict[str, Any], image: np.ndarray, refine: Callable[..., np.ndarray]) -> None:
    pose = np.array(found["pose"], np.float64)
    expected, refined = refine(image, pose), np.array(found["refined"])
    assert np.abs(refined[:, :2] - expected[:, :2]).max() < 0.5
    np.testing.assert_allclose(refined[:, 2], expected[:, 2], atol=0.02)
    assert np.linalg.norm(refined[:, :2] - pose[:, :2], axis=1).max() > 5


def test_the_browser_finds_what_python_finds(tab: Any, refine_in_python: Callable[..., np.ndarray]) -> None:
    tab.wait_for_function("document.querySelector('output').textContent.includes('Expected OKS')")
    image = load_photos()[1][WALKER]
    first = tab.evaluate("import('./browser.js').then(({shown}) => ({pose: shown.pose, refined: shown.refined}))")
    check(first, image, refine_in_python)

    box = tab.locator("canvas").first.bounding_box()
    wrist, scale = first["pose"][9], box["width"] / image.shape[1]
    with refined_anew(tab) as found:  # by dragging a wrist
        tab.mouse.move(box["x"] + wrist[0] * scale, box["y"] + wrist[1] * scale)
        tab.mouse.down()
        tab.mouse.move(box["x"] + (wrist[0] + 30) * scale, box["y"] + (wrist[1] - 40) * scale, steps=3)
        tab.mouse.up()
    assert found["pose"][9][:2] == pytest.approx([wrist[0] + 30, wrist[1] - 40], abs=1)
    check(found, image, refine_in_python)


@pytest.mark.parametrize("library", ["movenet", "mediapipe"])
def test_poses_of_browsers_libraries_are_taken(
    library: str, tab: Any, refine_in_python: Callable[..., np.ndarray], rng: np.random.Generator, tmp_path: Path
) -> None:
    truth, images = load_photos()
    image, keypoints = images[1], truth.keypoints[0] + rng.normal(0, 5, (17, 2))
    height, width = image.shape[:2]
    if library == "movenet":
        said: Any = [{"keypoints": [{"x": x, "y": y, "score": 0.6} for x, y in keypoints.tolist()]}]
    else:
        landmarks = [{"x": 0.0, "y": 0.0, "visibility": 0.0}] * 33
        for place, (x, y) in zip(MEDIAPIPE, keypoints.tolist(), strict=True):
            landmarks[place] = {"x": x / width, "y": y / height, "visibility": 0.6}
        said = {"landmarks": [landmarks]}
    path = tmp_path / "pose.json"
    path.write_text(json.dumps(said))
    with refined_anew(tab) as found:
        tab.set_input_files("input[type=file]", [path, ROOT / "posefix" / "demo" / "park.jpg"])
    np.testing.assert_allclose(found["pose"], np.c_[keypoints, np.full(17, 0.6)], atol=1e-6)
    check(found, image, refine_in_python)


def test_the_code_for_other_pages_refines(tab: Any) -> None:
    page = (ROOT / "docs" / "browser" / "index.md").read_text(encoding="utf-8")
    code = re.search(r"^```html\n<script type=\"module\">\n(.*?)</script>", page, re.MULTILINE | re.DOTALL)
    found = [{"keypoints": [{"x": x, "y": y, "score": s} for x, y, s in tab.evaluate("shown.pose")]}]
    before = f"""const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
        context.putImageData(shown.photo, 0, 0);
        const detector = {{ estimatePoses: async () => ({json.dumps(found)}) }};"""
    tab.add_script_tag(type="module", content=f"{before}{code[1]}window.sample = keypoints;")
    tab.wait_for_function("window.sample")
    expected = tab.evaluate("shown.refined")
    np.testing.assert_allclose(tab.evaluate("sample"), expected, atol=1e-4)


def test_what_is_no_pose_is_said(tab: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("[1, 2]")
    tab.set_input_files("input[type=file]", path)
    tab.wait_for_function("document.querySelector('output').textContent.includes('17 (COCO')")
