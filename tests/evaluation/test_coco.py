"""COCO metrics are pycocotools' own to the last digit, whatever the annotations and results leave out."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.skeleton import from_dict
from posefix.evaluation.coco import METRICS, evaluate
from posefix.evaluation.ground_truth import GroundTruth, read_results, unlisted
from tests.evaluation_scenes import flat, people_of, reference, scene, truth_of
from tests.tiny import people_records


def percent(stats) -> list[float | None]:
    return [None if value == -1 else 100 * value for value in stats]


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_on_random_subsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset, records = scene(rng)
    truth, people = truth_of(dataset), people_of(records)
    assert list(evaluate(truth, people).metrics().values()) == percent(reference(dataset, records).stats)
    subset = (rng.choice(12, rng.integers(1, 12), replace=False) + 1).tolist()
    expected = percent(reference(dataset, records, subset).stats)
    assert list(evaluate(truth.on_images(subset), people).metrics().values()) == expected


@pytest.mark.parametrize("name", ["movenet-lightning.detbox", "posenet", "efficientpose"])
def test_equals_pycocotools_on_real_results(data_root, rng, name: str) -> None:
    path = data_root / "coco" / "annotations" / "person_keypoints_val.json"
    results = data_root / "coco" / "results" / "val" / f"{name}.json"
    dataset, truth = json.loads(path.read_text()), GroundTruth.read(path)
    people = read_results(results, truth)
    for image_ids in (None, *(rng.choice(truth.image_ids, n, replace=False).tolist() for n in (3, 60))):
        found = evaluate(truth if image_ids is None else truth.on_images(image_ids), people).metrics()
        assert list(found.values()) == percent(reference(dataset, people_records(people), image_ids).stats)
    of_the_file = percent(reference(dataset, json.loads(results.read_text())).stats)
    assert list(evaluate(truth, people).metrics().values()) == pytest.approx(of_the_file, abs=0.01)


def test_the_areas_of_false_positives_come_from_boxes_as_in_pycocotools(rng) -> None:
    dataset, records = scene(rng, images=30)
    for entry in records:
        entry["bbox"] = rng.uniform(1, 200, 4).astype(np.float32).tolist()
    expected = percent(reference(dataset, records).stats)
    assert list(evaluate(truth_of(dataset), people_of(records)).metrics().values()) == expected
    without = [{k: v for k, v in r.items() if k != "bbox"} for r in records]
    assert evaluate(truth_of(dataset), people_of(without)).metrics()["APM"] != expected[METRICS.index("APM")]


def test_another_skeleton_is_measured_with_its_own_sigmas(rng) -> None:
    dataset, records = scene(rng, keypoints=5)
    sigmas = np.array([0.03, 0.05, 0.08, 0.1, 0.06])
    expected = percent(reference(dataset, records, sigmas=sigmas).stats)
    keypoints = [{"name": str(i), "sigma": sigma, "group": "face"} for i, sigma in enumerate(sigmas)]
    skeleton = from_dict({"name": "five", "keypoints": keypoints})
    people = people_of(records, skeleton)
    assert list(evaluate(truth_of(dataset, skeleton), people).metrics().values()) == expected
    with pytest.raises(InputError, match="17 keypoints"):
        evaluate(truth_of({**dataset, "annotations": []}), people)


def test_the_truth_itself_has_ap_100_and_nothing_has_ap_0(rng) -> None:
    dataset, _ = scene(rng, images=20)
    perfect = [
        {"image_id": a["image_id"], "keypoints": a["keypoints"], "score": 1.0}
        for a in dataset["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]
    assert evaluate(truth_of(dataset), people_of(perfect)).metrics()["AP"] == pytest.approx(100)
    assert evaluate(truth_of(dataset), people_of([])).metrics()["AP"] == 0


def test_nobody_to_find_means_nothing_to_measure() -> None:
    empty = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    assert set(evaluate(truth_of(empty), people_of([])).metrics().values()) == {None}
    assert tuple(evaluate(truth_of(empty), people_of([])).metrics()) == METRICS


def test_results_of_unknown_images_are_left_out(rng) -> None:
    dataset, records = scene(rng)
    truth, people = truth_of(dataset), people_of(records)
    foreign = people_of([{**records[0], "image_id": 999}, *records, {**records[0], "image_id": -1}])
    assert evaluate(truth, foreign).metrics() == evaluate(truth, people).metrics()
    assert unlisted(foreign, truth) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_results_that_are_not_numbers_are_refused(rng, value: float) -> None:
    dataset, records = scene(rng)
    people = people_of(records)
    people.keypoints[1, 3, 0] = value
    with pytest.raises(InputError, match="not finite"):
        evaluate(truth_of(dataset), people)


def test_other_categories_count_for_nothing(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(truth_of(dataset), people_of(records)).metrics()
    dogs = [{**records[0], "category_id": 18, "score": 2.0}]
    assert evaluate(truth_of(dataset), people_of(records + dogs)).metrics() == expected


def test_neither_annotations_nor_results_are_changed(rng) -> None:
    dataset, records = scene(rng)
    kept, people = copy.deepcopy((dataset, records)), people_of(records)
    before = people.keypoints.copy()
    evaluate(truth_of(dataset), people)
    assert (dataset, records) == kept
    np.testing.assert_array_equal(people.keypoints, before)


def test_one_ground_truth_serves_every_evaluation(rng) -> None:
    dataset, records = scene(rng)
    truth, people = truth_of(dataset), people_of(records)
    expected = evaluate(truth, people).metrics()
    ids = {a["id"] for a in dataset["annotations"][::2]}
    fewer = {
        **dataset,
        "annotations": [{**a, "num_keypoints": 0} if a["id"] in ids else a for a in dataset["annotations"]],
    }
    assert evaluate(truth.ignoring(ids), people).metrics() == evaluate(truth_of(fewer), people).metrics() != expected
    evaluate(truth.on_images([1, 2]), people)
    assert evaluate(truth, people).metrics() == expected


def test_fields_that_other_data_sets_leave_out_get_their_plain_meaning(rng, tmp_path) -> None:
    dataset, records = scene(rng)
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
        annotation["area"] = 0.515 * annotation["bbox"][2] * annotation["bbox"][3]
    expected = evaluate(truth_of(dataset), people_of(records)).metrics()
    for annotation in dataset["annotations"]:
        del annotation["iscrowd"], annotation["area"], annotation["num_keypoints"]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(dataset))
    assert evaluate(GroundTruth.read(path), people_of(records)).metrics() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("{", "cut off"),
        ("[" * 5000, "nested"),
        ("[]", "`object`, got `array`"),
        ("5", "`int`"),
        ('{"images": []}', "`annotations`"),
        ('{"images": [3], "annotations": [], "categories": []}', "got `int` - at `images.0.`"),
        ('{"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": []}', "`image_id` - at `annotations.0.`"),
        ('{"images": [{"id": true}], "annotations": [], "categories": []}', "got `bool` - at `images.0..id`"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "length >= 1 - at `categories`"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, content: str, said: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        GroundTruth.read(path)
    assert "truth.json" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keypoints": flat(np.zeros((16, 2)), np.ones(16))}, "annotation 3: 48 numbers .* expected 51"),
        ({"keypoints": [None] * 51}, "`float`, got `null` - at `annotations.2..keypoints"),
        ({"keypoints": [float("nan")] * 51}, "annotation 3: keypoints.*finite numbers"),
        ({"bbox": [1, 2, 3]}, "length 4, got 3 - at `annotations.2..bbox`"),
        ({"area": "big"}, "got `str` - at `annotations.2..area`"),
        ({"category_id": [1]}, "`annotations.2..category_id`"),
        ({"iscrowd": "no"}, "`annotations.2..iscrowd`"),
        ({"num_keypoints": "all"}, "got `str` - at `annotations.2..num_keypoints`"),
        ({"image_id": "1"}, "got `str` - at `annotations.2..image_id`"),
        ({"image_id": 2**64}, "`annotations.2..image_id`"),
    ],
)
def test_malformed_annotation_is_named(rng, tmp_path, change: dict, said: str) -> None:
    dataset, _ = scene(rng)
    dataset["annotations"][2].update(change)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(dataset))
    with pytest.raises(InputError, match=rf"truth\.json: .*{said}"):
        GroundTruth.read(path)


def test_ids_that_cannot_tell_apart_are_refused(rng) -> None:
    dataset, _ = scene(rng)
    for place, key, value, said in (
        ("annotations", "id", "a", "`int`, got `str` - at `annotations.2..id`"),
        ("annotations", "id", 1, "several annotations have the id 1"),
        ("images", "id", "3", "got `str` - at `images.2..id`"),
    ):
        changed = copy.deepcopy(dataset)
        changed[place][2][key] = value
        with pytest.raises(InputError, match=said):
            truth_of(changed)
    with pytest.raises(InputError, match=r"`categories.1..id`"):
        truth_of({**dataset, "categories": [{"id": 1}, {"id": "dog"}]})


def test_null_means_left_out(rng) -> None:
    dataset, records = scene(rng)
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
    expected = evaluate(truth_of(dataset), people_of(records)).metrics()
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = annotation["num_keypoints"] = None
    records = [{**r, "category_id": None} for r in records]
    assert evaluate(truth_of(dataset), people_of(records)).metrics() == expected


def test_results_that_number_their_categories_differently_are_people(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(truth_of(dataset), people_of(records)).metrics()
    assert expected["AP"] > 0
    dataset["categories"][0]["id"] = 7
    for annotation in dataset["annotations"]:
        annotation["category_id"] = 7
    assert evaluate(truth_of(dataset), people_of(records)).metrics() == expected
    assert {r["category_id"] for r in records} == {1}
    truth, one_person = truth_of(dataset), [{**records[0], "category_id": 7}]
    found = evaluate(truth, people_of(one_person + records[1:])).metrics()
    assert found == evaluate(truth, people_of(one_person)).metrics()


def test_a_file_without_keypoints_and_unknown_images_are_refused(rng) -> None:
    dataset, _ = scene(rng)
    with pytest.raises(InputError, match="777"):
        truth_of(dataset).on_images([1, 777])
    for annotation in dataset["annotations"]:
        del annotation["keypoints"]
    with pytest.raises(InputError, match="no annotation has keypoints"):
        truth_of(dataset)
