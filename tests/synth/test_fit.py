"""The closed loop: what is fitted to drawn errors is what they were drawn from, and can be drawn from again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posefix.core import skeleton as skeletons
from posefix.core.people import People
from synth import ErrorType, Observation, Statistics, fit_statistics, neighbours_of, synthesize
from synth.fit import OVERLAPS, VISIBLE

COCO = skeletons.load("coco17")
KNOWN = Statistics.from_dict(
    {
        "jitter": [
            {"when": {"visible": [0, 5]}, "probability": {"knee": 0.3, "default": 0.2}},
            {"probability": {"face": 0.05, "default": 0.15}},
        ],
        "inversion": [{"probability": {"face": 0.02, "upper": 0.05, "lower": 0.15}}],
        "swap": [
            {"when": {"overlaps": [1, None]}, "probability": {"default": 0.1}},
            {"probability": {"default": 0.04}},
        ],
        "miss": [{"probability": {"wrist": 0.3, "default": 0.12}}],
        "distance": {"jitter": 0.3, "miss": 0.7},
    }
)


def groups_of_three(rng: np.random.Generator, images: int) -> People:
    """Three people side by side in each image, with from one to all keypoints annotated."""
    n = 3 * images
    offset = np.tile([[0.0, 0.0], [60.0, 20.0], [-70.0, 10.0]], (images, 1))[:, None]
    keypoints = 300 + offset + COCO.template * 100 + rng.normal(0, 3, (n, 17, 2))
    scores = 2 * (rng.random((n, 17)).argsort(1) < rng.integers(1, 18, (n, 1)))
    return People(COCO, keypoints, scores, np.arange(n) // 3, areas=np.full(n, 100.0**2))


def observed(people: People, statistics: Statistics, rng: np.random.Generator) -> Observation:
    neighbours = neighbours_of(people)
    neighbours.overlaps[:] = rng.integers(0, 5, len(people))
    drawn = synthesize(people, neighbours, statistics, rng)
    return Observation(people, drawn.keypoints, drawn.scores > 0, neighbours)


def test_the_frequencies_that_errors_were_drawn_from_come_back(rng: np.random.Generator) -> None:
    """Also where Inversions and Swaps are often impossible; of the nose, which has no counterpart, the others alone."""
    fitted = fit_statistics([observed(groups_of_three(rng, 4000), KNOWN, rng)])
    cells = np.array([(visible[0] + 1, overlaps[0]) for visible in VISIBLE for overlaps in OVERLAPS])
    asked, found = (s.probabilities(*cells.T, COCO) for s in (KNOWN, fitted))
    for table in (asked, found):
        table[:, COCO.flip == np.arange(17), ErrorType.INVERSION] = 0
        table /= table.sum(-1, keepdims=True)
    off = np.abs(found - asked)
    assert off[:6].max() < 0.1  # few keypoints are of people who have at most ten: some 4 standard errors
    assert off[6:].max() < 0.04
    assert off.mean() < 0.015


def test_distances_come_back_and_those_of_the_published_table_are_even(rng: np.random.Generator) -> None:
    people = groups_of_three(rng, 1500)[::3]  # alone, so that no position is given to somebody else
    people.scores[:, ::2] = 0
    fitted = fit_statistics([observed(people, KNOWN, rng)])
    assert fitted.distance.jitter == pytest.approx(0.3, abs=0.03)
    assert fitted.distance.miss == pytest.approx(0.7, abs=0.04)
    published = fit_statistics([observed(people, Statistics.load("posefix"), rng)])
    assert published.distance.jitter == pytest.approx(0.5, abs=0.02)


def test_a_fitted_table_is_written_read_and_drawn_from_for_other_skeletons_too(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    fitted = fit_statistics([observed(groups_of_three(rng, 100), KNOWN, rng)], "three friends")
    fitted.save(tmp_path / "mine.yaml")
    read = Statistics.load(tmp_path / "mine.yaml")
    assert read.to_dict() == fitted.to_dict() and read.description == "three friends"
    for name in ("coco17", "halpe26", "mpii16"):
        table = read.probabilities(np.array([3, 17]), np.array([0, 4]), skeletons.load(name))
        np.testing.assert_allclose(table.sum(-1), 1)


def test_several_estimators_count_together(rng: np.random.Generator) -> None:
    people = groups_of_three(rng, 400)
    parts = [observed(people[:600], KNOWN, rng), observed(people[600:], KNOWN, rng)]
    pooled = fit_statistics(parts)
    both = Observation(
        people,
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.valid for part in parts]),
        neighbours_of(people),
    )
    both.neighbours.overlaps[:] = np.concatenate([part.neighbours.overlaps for part in parts])
    assert pooled.to_dict() == fit_statistics([both]).to_dict()


def test_keypoints_that_were_not_given_count_as_nothing(rng: np.random.Generator) -> None:
    seen = observed(groups_of_three(rng, 1500), KNOWN, rng)
    gone = rng.random(seen.valid.shape) < 1 / 3
    held = seen._replace(keypoints=np.where(gone[..., None], 0, seen.keypoints), valid=seen.valid & ~gone)
    tables = [fit_statistics([s]).probabilities(np.array([15]), np.array([2]), COCO) for s in (seen, held)]
    assert np.abs(tables[0] - tables[1]).max() < 0.04
    assert tables[1][..., ErrorType.MISS].max() < 0.35


def test_there_is_nothing_to_fit_without_keypoints(rng: np.random.Generator) -> None:
    people = groups_of_three(rng, 3)
    people.scores[:] = 0
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_statistics([observed(people, KNOWN, rng)])
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_statistics([])
