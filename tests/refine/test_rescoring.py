"""New scores rank people by what is expected of them and by what the estimator said, and can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose, same_people, transitions
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import read, write
from posefix.refine.rescoring import estimator_scores, expected_oks, rescored
from tests.tiny import people_records, random_people


def people_of(scores: list[float], rng: np.random.Generator) -> People:
    people = random_people(rng, len(scores))
    people.person_scores = np.array(scores, np.float32)
    return people


def test_expected_oks_is_the_weighted_mean_of_what_is_known() -> None:
    similarity = np.array([[0.2, 0.8, np.nan], [np.nan] * 3, [0.5, 0.5, 0.5]])
    scores = np.array([[1.0, 0.5, 1.0], [1.0] * 3, [0.0] * 3])
    np.testing.assert_allclose(expected_oks(similarity, scores), [(0.2 + 0.4) / 1.5, np.nan, 0.5], rtol=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_a_score_grows_with_either_part(low: float, high: float, other: float) -> None:
    low, high = min(low, high), max(low, high)
    rng = np.random.default_rng(0)
    by_expected = rescored(people_of([other, other, 0.5], rng), np.array([low, high, 0.1], np.float32)).person_scores
    by_own = rescored(people_of([low, high, 0.5], rng), np.full(3, other, np.float32)).person_scores
    for scores in (by_expected, by_own):
        assert 0 <= scores[0] <= scores[1] <= 1


@given(st.lists(st.floats(-50, 200, width=32), min_size=2, max_size=6), st.integers(0, 5))
def test_a_new_score_depends_on_nobody_else_and_keeps_the_order(scores: list[float], row: int) -> None:
    rng, row = np.random.default_rng(0), row % len(scores)
    expected = np.full(len(scores), 0.5, np.float32)
    together = rescored(people_of(scores, rng), expected).person_scores
    alone = rescored(people_of(scores[row : row + 1], rng), expected[:1]).person_scores
    assert together[row] == alone[0] > 0
    order = np.argsort(scores, kind="stable")
    assert (np.diff(together[order]) >= 0).all()


@pytest.mark.parametrize("same", [0.0, 1.0, 0.3, -2.0])
def test_scores_that_are_all_the_same_say_nothing(same: float, rng: np.random.Generator) -> None:
    scores = rescored(people_of([same] * 3, rng), np.array([0.9, 0.1, 0.5], np.float32)).person_scores
    assert scores.argsort().tolist() == [1, 2, 0]


@pytest.mark.parametrize("known", [[0.9, 0.7, 0.4], [None, None, None]])
def test_results_that_were_rescored_are_followed_person_by_person(
    known: list, rng: np.random.Generator, tmp_path: Path
) -> None:
    path, again = tmp_path / "results.json", tmp_path / "again.json"
    records = people_records(people_of([0.9, 0.7, 0.4], rng))
    for record, score in zip(records, known, strict=True):
        record["score"] = score
    path.write_text(json.dumps(records))
    write(rescored(read(path), np.array([0.1, 0.5, 0.9], np.float32)), again)
    annotations = [
        {"id": i, "image_id": r["image_id"], "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 2000.0,
         "bbox": r["bbox"], "keypoints": [2 if k % 3 == 2 else v for k, v in enumerate(r["keypoints"])]}
        for i, r in enumerate(records, 1)
    ]  # fmt: skip
    truth = {"images": [{"id": i} for i in range(1, 4)], "annotations": annotations, "categories": [{"id": 1}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    before, after = (diagnose(GroundTruth.read(tmp_path / "truth.json"), read(p)) for p in (path, again))
    assert same_people(before, after)
    moves = transitions(before, after)
    assert moves.sum() == np.trace(moves) > 0


def test_people_who_were_not_refined_keep_their_score(rng: np.random.Generator) -> None:
    people = people_of([0.3, 0.9], rng)
    scores = rescored(people, np.array([np.nan, 0.5], np.float32)).person_scores
    assert scores[0] == np.float32(0.3) and scores[1] != np.float32(0.9)


def test_people_are_rescored_once(rng: np.random.Generator, tmp_path: Path) -> None:
    path, again = tmp_path / "results.json", tmp_path / "again.json"
    path.write_text(json.dumps(people_records(people_of([0.2, 0.7, 0.4], rng))))
    expected = np.array([0.9, 0.3, np.nan], np.float32)
    once = rescored(read(path), expected)
    np.testing.assert_allclose(once.person_scores[:2], np.array([0.2, 0.7]) ** 0.25 * expected[:2], rtol=1e-5)
    write(once, again)
    second = read(again)
    np.testing.assert_allclose(second.person_scores, once.person_scores, atol=1e-6)
    np.testing.assert_allclose(estimator_scores(second), [0.2, 0.7, 0.4], rtol=1e-6)
    for people in (once, second):
        twice = rescored(people, np.array([0.1, 0.9, np.nan], np.float32))
        np.testing.assert_array_equal(twice.person_scores, people.person_scores)
    write(rescored(second, expected), path)
    assert path.read_text() == again.read_text()
    assert [r.get("original_score") for r in second.extra] == pytest.approx([0.2, 0.7, None])


def test_records_without_a_score_get_one_and_odd_originals_are_not_believed(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    records = people_records(people_of([0.5, 0.5, 0.5], rng))
    del records[0]["score"]
    records[1]["original_score"] = "high"
    records[2]["original_score"] = float("inf")
    path = tmp_path / "results.json"
    path.write_text(json.dumps(records))
    people = read(path)
    np.testing.assert_allclose(estimator_scores(people), people.person_scores)
    write(rescored(people, np.full(3, 0.5, np.float32)), path)
    written = json.loads(path.read_text())
    assert all(isinstance(r["score"], float) for r in written)
    assert written[0]["original_score"] == pytest.approx(people.person_scores[0], abs=1e-5)
    assert [r["original_score"] for r in written[1:]] == [0.5, 0.5]
