"""The paper's way, which the benchmark compares with, gives the numbers of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posefix.demo import load_photos
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from tests.tiny import tiny_checkpoint
from tools.benchmark_cases import draw_people
from tools.plain_posefix import PlainRefiner, compare_synthesis


def test_plain_refinement_is_the_refiners(tmp_path: Path) -> None:
    people, images = draw_people(20, tmp_path)
    checkpoint = tiny_checkpoint()
    refined = Refiner(checkpoint).refine(people, images, RefineSettings(flip_test=True, batch_size=7)).keypoints
    plain = PlainRefiner(checkpoint.network, batch=8)(people, images)
    np.testing.assert_allclose(plain, refined, atol=0.05)
    assert (np.abs(plain - people.keypoints) > 5).mean() > 0.1


def test_plain_synthesis_draws_what_is_diagnosed_as_often(rng: np.random.Generator) -> None:
    right, difference = compare_synthesis(load_photos()[0], 30, rng)
    assert right
    assert difference < 0.04
