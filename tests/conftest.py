"""Shared fixtures: where the real data lies, and a seeded generator."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

settings.load_profile("ci")  # the same examples each time, however long each takes
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as for what a script starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(COLUMNS="80", TERM="xterm")
for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real photos and results; the test is skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("POSEFIX_DATA", default))
    if not (root / "coco" / "annotations").is_dir():
        pytest.skip(f"no data at {root}; set POSEFIX_DATA to the folder that holds coco/ and lspet/")
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20190401)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; tests that need it are skipped where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session", autouse=True)
def no_graphs_of_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Engines export networks anew, once for all tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that moves nothing."""
    from tests.tiny import save_checkpoint, tiny_checkpoint, tiny_config

    path = tmp_path_factory.mktemp("identity") / "identity.safetensors"
    config = tiny_config()
    still = config.model_copy(update={"model": config.model.model_copy(update={"keep_margin": 1.0})})
    save_checkpoint(path, tiny_checkpoint(still))
    return path
