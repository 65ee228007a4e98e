"""Fixtures of the tests of formats: a tiny refiner and an image."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.refine.refiner import Refiner
from tests.library_objects import HEIGHT, WIDTH
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner(tiny_checkpoint())


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
