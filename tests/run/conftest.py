"""Fixtures of the tests of runs: results, images, annotations and a checkpoint, all small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import write_world


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path, rng)
