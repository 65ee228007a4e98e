"""Before, after and gain; and what happened to each person."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.evaluation.coco import METRICS, evaluate
from posefix.evaluation.comparison import compare
from posefix.evaluation.matching import match_people, oks_change, oks_with, truth_rows
from posefix.report.tables import summary_table
from tests.evaluation_scenes import people_of, scene, truth_of

SKELETON = load("coco17")


def crowd(rng: np.random.Generator, people: int = 12, images: int = 3) -> People:
    """Annotated people far from each other, several an image."""
    keypoints = np.arange(people)[:, None, None] * 300.0 + rng.uniform(0, 100, (people, 17, 2))
    return People(
        SKELETON,
        keypoints,
        np.full((people, 17), 2),
        np.arange(people) % images,
        person_scores=rng.random(people),
        areas=np.full(people, 5000),
    )


def test_gain_is_after_less_before(rng) -> None:
    dataset, records = scene(rng, images=20, noise=0.1)
    truth, people = truth_of(dataset), people_of(records)
    moved = people.with_keypoints(people.keypoints + rng.normal(0, 3, people.keypoints.shape))
    metrics = compare(truth, people, moved, 100, rng=rng)
    assert metrics["before"] == evaluate(truth, people).metrics()
    assert metrics["after"] == evaluate(truth, moved).metrics()
    assert set(metrics["gain"]) == {m + s for m in METRICS for s in ("", "_low", "_high")}
    for name in METRICS:
        assert metrics["gain"][name] == metrics["after"][name] - metrics["before"][name]
        assert metrics["gain"][f"{name}_low"] <= metrics["gain"][f"{name}_high"]


def test_table_says_what_the_metrics_say(rng) -> None:
    names = {"AP": 40.123, "APM": None, "AR": 50.0}
    gain = {"AP": 2.5, "AP_low": 1.25, "AP_high": 3.75, "APM": None, "APM_low": None, "APM_high": None}
    gain |= {"AR": 1.0, "AR_low": 1.0, "AR_high": 1.0}  # of a single image
    console = Console(file=io.StringIO(), width=100)
    console.print(summary_table({"before": names, "after": {"AP": 42.623, "APM": None, "AR": 51.0}, "gain": gain}))
    lines = console.file.getvalue().splitlines()
    (row,) = [line for line in lines if "AP " in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["AP", "40.12", "42.62", "+2.50", "[+1.25, +3.75]"]
    (row,) = [line for line in lines if "APM" in line]
    assert row.count("-") == 4
    (row,) = [line for line in lines if "AR " in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["AR", "50.00", "51.00", "+1.00", "-"]


def test_results_find_their_people_in_any_order(rng) -> None:
    truth = crowd(rng)
    order = rng.permutation(len(truth))
    results = truth[order].with_keypoints(truth.keypoints[order] + rng.normal(0, 1, (12, 17, 2)))
    rows = truth_rows(match_people(truth, results), len(results))
    np.testing.assert_array_equal(rows, order)
    assert (oks_with(truth, results, rows) > 0.8).all()


def test_a_person_goes_to_the_better_scored_of_two_results(rng) -> None:
    truth = crowd(rng, people=1, images=1)
    keypoints = np.stack([truth.keypoints[0] + 1, truth.keypoints[0], truth.keypoints[0] + 5000])
    results = People(SKELETON, keypoints, np.ones((3, 17)), np.zeros(3), person_scores=np.array([0.9, 0.8, 0.95]))
    rows = truth_rows(match_people(truth, results), len(results))
    np.testing.assert_array_equal(rows, [0, -1, -1])
    assert np.isnan(oks_with(truth, results, rows)[1:]).all()


def test_oks_change_ranks_people_by_what_they_lost_and_won(rng) -> None:
    truth = crowd(rng)
    shift = np.full(12, 6.0)
    before = truth.with_keypoints(truth.keypoints + shift[:, None, None])
    shift[:3], shift[3:6] = [7, 8, 9], [5, 4, 3]
    after = truth.with_keypoints(truth.keypoints + shift[:, None, None])
    change = oks_change(truth, before, after)
    np.testing.assert_array_equal(change.worst(10), [2, 1, 0])
    np.testing.assert_array_equal(change.best(2), [5, 4])
    back = oks_change(truth, after, before)
    np.testing.assert_array_equal(back.best(10), [2, 1, 0])


def test_a_result_that_becomes_somebodys_counts_with_that_person(rng) -> None:
    truth = crowd(rng, people=2, images=1)
    before = truth.with_keypoints(truth.keypoints + np.array([0, 1000])[:, None, None])
    change = oks_change(truth, before, truth)
    np.testing.assert_array_equal(change.truth_rows, [0, 1])
    assert change.before[1] == pytest.approx(0, abs=1e-6)
    assert change.after[1] == pytest.approx(1)


def test_annotations_of_nobody_match_nobody(rng) -> None:
    found = crowd(rng)
    unlabelled = replace(found, scores=np.zeros_like(found.scores))
    np.testing.assert_array_equal(match_people(unlabelled, found), np.full(len(found), -1))
    assert len(match_people(People.empty(SKELETON), found)) == 0
