"""Synthesised errors are found again, the published reading of real results is met, and corrections correct."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from posefix.cli.diagnose import diagnose as command
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from posefix.evaluation.coco import evaluate
from posefix.evaluation.diagnosis import KINDS, diagnose, transitions
from posefix.evaluation.error_report import ap_impact, optimal_scores
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import read
from synth import ErrorType, Statistics, neighbours_of, synthesize
from tests.evaluation_scenes import people_of, scene, truth_of
from tests.tiny import people_records

COCO = skeletons.load("coco17")


@pytest.fixture
def truth(rng: np.random.Generator) -> GroundTruth:
    dataset, _ = scene(rng, images=30)
    return truth_of(dataset)


def perfect(truth: GroundTruth) -> People:
    people = truth.people
    return replace(people, scores=np.ones_like(people.scores), person_scores=np.linspace(0.1, 1, len(people)), extra=[])


def test_the_truth_is_good_and_all_of_it_is_found(truth) -> None:
    found = diagnose(truth, perfect(truth))
    assert found.detected.all() and not found.background.any()
    assert found.counts()[ErrorType.GOOD] == found.truth.labelled.sum() > 0
    impact = ap_impact(truth, found.results)
    assert impact["as it is"]["AP"] == pytest.approx(100)


def test_synthesised_errors_are_found_again(truth, rng: np.random.Generator) -> None:
    people = truth.people
    drawn = synthesize(people, neighbours_of(people), Statistics.load("posefix"), rng, impute=0.0)
    results = perfect(truth).with_keypoints(drawn.keypoints, drawn.scores)
    order = rng.permutation(len(results))
    found = diagnose(truth, results[order])
    own = np.flatnonzero(found.detected)
    rows = order[found.matched[own]]
    ids = np.array([record["id"] for record in people.extra])
    same = ids[rows] == [record["id"] for record in found.truth[own].extra]
    assert same.mean() > 0.9  # the rest was matched to a neighbour
    np.testing.assert_array_equal(found.types[own][same], drawn.types[rows][same])


def test_real_results_are_read_as_by_an_independent_implementation(data_root) -> None:
    folder = data_root / "coco"
    results = read(folder / "results" / "val" / "movenet-lightning.json")
    found = diagnose(GroundTruth.read(folder / "annotations" / "person_keypoints_val.json"), results)
    assert found.detected.sum() == 443
    np.testing.assert_array_equal(found.counts(), [2953, 861, 262, 225, 670])


@pytest.mark.parametrize("seed", range(3))
def test_every_breakdown_adds_up_and_corrections_correct(seed: int) -> None:
    dataset, records = scene(np.random.default_rng(seed), images=40, noise=0.15)
    truth = truth_of(dataset)
    found = diagnose(truth, people_of(records))
    for rows in found.breakdown().values():
        np.testing.assert_array_equal(sum(rows.values()), found.counts())
    assert not found.background[found.matched[found.detected]].any()
    better = found
    for kind in KINDS[1:]:
        better = better.with_results(better.corrected(kind))
        assert better.counts()[kind] == 0
    assert better.counts()[ErrorType.GOOD] == found.counts().sum()

    moves = transitions(found, diagnose(truth, found.corrected(ErrorType.MISS)))
    np.testing.assert_array_equal(moves.sum(1), found.counts())
    assert moves[ErrorType.MISS, ErrorType.GOOD] == found.counts()[ErrorType.MISS]
    assert moves.trace() + moves[ErrorType.MISS, ErrorType.GOOD] == moves.sum()

    impact = {name: metrics["AP"] for name, metrics in ap_impact(truth, found.results).items()}
    assert all(impact[name] >= impact["as it is"] - 1e-9 for name in ("scores", "background", "missed people"))
    best = optimal_scores(found)
    assert (best[found.background] < 0).all() and (best[found.matched[found.detected]] >= 0.1).all()


def test_nothing_found_is_said_and_numbers_are_written(tmp_path, rng: np.random.Generator) -> None:
    dataset, records = scene(rng)
    annotations, empty, some = (tmp_path / name for name in ("truth.json", "empty.json", "some.json"))
    annotations.write_text(json.dumps(dataset))
    empty.write_text("[]")
    some.write_text(json.dumps(records))
    said = CliRunner().invoke(command, [str(empty), "--annotations", str(annotations)])
    assert said.exit_code == 0 and "no result matches any of the" in " ".join(said.output.split())
    out = tmp_path / "numbers.json"
    said = CliRunner().invoke(command, [str(some), str(empty), "--annotations", str(annotations), "--out", str(out)])
    assert said.exit_code == 0, said.output
    written = json.loads(out.read_text())
    assert written["diagnoses"][1]["found"] == 0
    assert {count for row in written["transitions"].values() for count in row.values()} == {0}
    wrong = CliRunner().invoke(command, [str(some), "--annotations", str(annotations), "--skeleton", "mpii16"])
    assert wrong.exit_code == 2 and "Traceback" not in wrong.output


def test_people_as_records_are_the_people_again(truth, tmp_path) -> None:
    people = perfect(truth)
    path = tmp_path / "people.json"
    path.write_text(json.dumps(people_records(people)))
    again = read(path)
    for name in ("keypoints", "scores", "image_ids", "person_scores", "boxes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(people, name))


def test_an_input_is_never_written_over(tmp_path, rng: np.random.Generator) -> None:
    dataset, records = scene(rng)
    annotations, results = tmp_path / "truth.json", tmp_path / "results.json"
    annotations.write_text(json.dumps(dataset))
    results.write_text(json.dumps(records))
    for out in (annotations, results):
        before = out.read_bytes()
        said = CliRunner().invoke(command, [str(results), "--annotations", str(annotations), "--out", str(out)])
        assert said.exit_code == 2 and "named twice" in said.output
        assert out.read_bytes() == before


@pytest.mark.parametrize("change", [lambda i: f"im{i}", lambda i: i + 2**64])
def test_images_that_are_not_numbered_are_refused(change, tmp_path, rng: np.random.Generator) -> None:
    dataset, records = scene(rng)
    for entry in dataset["images"]:
        entry["id"] = change(entry["id"])
    for entry in dataset["annotations"]:
        entry["image_id"] = change(entry["image_id"])
    annotations, results = tmp_path / "truth.json", tmp_path / "results.json"
    annotations.write_text(json.dumps(dataset))
    results.write_text(json.dumps(records))
    said = CliRunner().invoke(command, [str(results), "--annotations", str(annotations)])
    assert said.exit_code == 2 and "images[0].id" in said.output and "Traceback" not in said.output


def test_people_in_another_order_are_compared_by_person(truth, rng: np.random.Generator) -> None:
    people = perfect(truth)
    moved = people.with_keypoints(people.keypoints + rng.normal(0, 6, people.keypoints.shape).astype(np.float32))
    order = np.lexsort((-np.arange(len(people)), people.image_ids))
    forward = people[np.argsort(people.image_ids, kind="stable")]
    backward = moved[order]
    assert np.array_equal(forward.image_ids, backward.image_ids)
    before, after = diagnose(truth, forward), diagnose(truth, backward)
    np.testing.assert_array_equal(transitions(before, after), transitions(before, diagnose(truth, moved)))


def test_other_categories_count_for_nothing_here_too(truth) -> None:
    people = perfect(truth)
    people.extra = [{"category_id": 1 + i % 2} for i in range(len(people))]
    found = diagnose(truth, people)
    assert not np.isin(found.matched[found.detected], np.arange(1, len(people), 2)).any()
    assert ap_impact(truth, people)["as it is"] == evaluate(truth, people).metrics()


def test_small_people_are_worth_as_much_as_ap_says(truth) -> None:
    people = perfect(truth)
    dataset = copy.deepcopy(truth.coco.dataset)
    for annotation in dataset["annotations"]:
        annotation["keypoints"] = annotation["keypoints"].tolist()
    for annotation in dataset["annotations"][::2]:
        annotation["area"] = 30.0**2
    small = truth_of(dataset)
    impact = ap_impact(small, replace(people, person_scores=people.person_scores[::-1].copy()))
    assert impact["scores"]["AP"] == pytest.approx(100)
