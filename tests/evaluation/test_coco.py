"""COCO metrics are pycocotools' own to the last digit, whatever the annotations and results leave out."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.evaluation.coco import METRICS, evaluate
from tests.evaluation_scenes import coco, flat, reference, scene


def percent(stats) -> list[float | None]:
    return [None if value == -1 else 100 * value for value in stats]


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_on_random_subsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset, records = scene(rng)
    subset = rng.choice(12, rng.integers(1, 12), replace=False) + 1
    for image_ids in (None, subset.tolist()):
        expected = percent(reference(dataset, records, image_ids).stats)
        assert list(evaluate(coco(dataset), records, image_ids).metrics().values()) == expected


@pytest.mark.parametrize("name", ["movenet-lightning.detbox", "posenet", "efficientpose"])
def test_equals_pycocotools_on_real_results(data_root, rng, name: str) -> None:
    path = data_root / "coco" / "annotations" / "person_keypoints_val.json"
    dataset = json.loads(path.read_text())
    records = json.loads((data_root / "coco" / "results" / "val" / f"{name}.json").read_text())
    images = [image["id"] for image in dataset["images"]]
    for image_ids in (None, *(rng.choice(images, n, replace=False).tolist() for n in (3, 60))):
        expected = percent(reference(dataset, records, image_ids).stats)
        assert list(evaluate(path, records, image_ids).metrics().values()) == expected


def test_the_areas_of_false_positives_come_from_boxes_as_in_pycocotools(rng) -> None:
    dataset, records = scene(rng, images=30)
    for entry in records:
        entry["bbox"] = rng.uniform(1, 200, 4).tolist()
    expected = percent(reference(dataset, records).stats)
    assert list(evaluate(coco(dataset), records).metrics().values()) == expected
    without = [{k: v for k, v in r.items() if k != "bbox"} for r in records]
    assert evaluate(coco(dataset), without).metrics()["APM"] != expected[METRICS.index("APM")]


def test_another_skeleton_is_measured_with_its_own_sigmas(rng) -> None:
    dataset, records = scene(rng, keypoints=5)
    sigmas = np.array([0.03, 0.05, 0.08, 0.1, 0.06])
    expected = percent(reference(dataset, records, sigmas=sigmas).stats)
    assert list(evaluate(coco(dataset), records, sigmas=sigmas).metrics().values()) == expected


def test_the_truth_itself_has_ap_100_and_nothing_has_ap_0(rng) -> None:
    dataset, _ = scene(rng, images=20)
    perfect = [
        {"image_id": a["image_id"], "keypoints": a["keypoints"], "score": 1.0}
        for a in dataset["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]
    assert evaluate(coco(dataset), perfect).metrics()["AP"] == pytest.approx(100)
    assert evaluate(coco(dataset), []).metrics()["AP"] == 0


def test_nobody_to_find_means_nothing_to_measure() -> None:
    empty = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    assert set(evaluate(coco(empty), []).metrics().values()) == {None}
    assert tuple(evaluate(coco(empty), []).metrics()) == METRICS


def test_what_cannot_be_measured_is_left_out_and_counted(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(coco(dataset), records).metrics()
    good = records[0]
    foreign = [{**good, "image_id": 999}, {**good, "image_id": "1"}]
    broken = [
        {**good, "keypoints": [float("nan"), *good["keypoints"][1:]]},
        {**good, "keypoints": [1e400, *good["keypoints"][1:]]},
        {**good, "keypoints": good["keypoints"][:-1]},
        {**good, "keypoints": ["3"] * 51},
        {**good, "keypoints": None},
        {**good, "image_id": [1]},
        {**good, "category_id": [1]},
        {**good, "category_id": {}},
        {"keypoints": good["keypoints"]},
        "record",
    ]
    result = evaluate(coco(dataset), [*foreign, *broken, *records])
    assert (result.evaluated, result.unknown_images, result.unusable) == (len(records), 2, len(broken))
    assert result.metrics() == expected


def test_extra_fields_other_categories_and_missing_scores(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(coco(dataset), records).metrics()
    decorated = [{**r, "track_id": 5, "segmentation": "?", "caption": "c", "area": -1, "id": "x"} for r in records]
    dogs = [{**records[0], "category_id": 18, "score": 2.0}]
    assert evaluate(coco(dataset), decorated + dogs).metrics() == expected
    unscored = [{k: v for k, v in r.items() if k != "score"} for r in records]
    by_mean = [{**r, "score": float(np.mean(r["keypoints"][2::3]))} for r in records]
    assert evaluate(coco(dataset), unscored).metrics() == evaluate(coco(dataset), by_mean).metrics()


def test_neither_annotations_nor_records_are_changed(rng) -> None:
    dataset, records = scene(rng)
    truth, kept = coco(dataset), copy.deepcopy(records)
    evaluate(truth, records)
    assert truth.dataset == dataset
    assert records == kept


def test_fields_that_other_data_sets_leave_out_get_their_plain_meaning(rng, tmp_path) -> None:
    dataset, records = scene(rng)
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
        annotation["area"] = 0.515 * annotation["bbox"][2] * annotation["bbox"][3]
    expected = evaluate(coco(dataset), records).metrics()
    for annotation in dataset["annotations"]:
        del annotation["iscrowd"], annotation["area"], annotation["num_keypoints"]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(dataset))
    assert evaluate(path, records).metrics() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("{", "cut off"),
        ("[" * 5000, "nested"),
        ("[]", "list"),
        ("5", "int"),
        ('{"images": []}', "'annotations'"),
        ('{"images": [3], "annotations": [], "categories": []}', "entry 0 of 'images'"),
        ('{"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": []}', "'image_id'"),
        ('{"images": [{"id": true}], "annotations": [], "categories": []}', "entry 0 of 'images' has no usable 'id'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "'categories' is empty"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, content: str, said: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        evaluate(path, [])
    assert "truth.json" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keypoints": flat(np.zeros((16, 2)), np.ones(16))}, "48 numbers .* expected 51"),
        ({"keypoints": [None] * 51}, "finite numbers"),
        ({"bbox": [1, 2, 3]}, "'bbox'"),
        ({"area": "big"}, "'area' must be a finite number"),
        ({"category_id": [1]}, r"'category_id' is \[1\], expected the id of a category"),
        ({"iscrowd": "no"}, "'iscrowd' is 'no', expected 0 or 1"),
        ({"num_keypoints": "all"}, "'num_keypoints' must be a number"),
        ({"image_id": "1"}, "image id '1', a string, others are numbers"),
    ],
)
def test_malformed_annotation_is_named(rng, tmp_path, change: dict, said: str) -> None:
    dataset, _ = scene(rng)
    dataset["annotations"][2].update(change)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(dataset))
    with pytest.raises(InputError, match=rf"truth\.json: annotation 3.*{said}"):
        evaluate(path, [])


def test_ids_that_cannot_tell_apart_are_refused(rng) -> None:
    dataset, _ = scene(rng)
    for place, key, value, said in (
        ("annotations", "id", "a", "annotation 'a': the 'id' must be an integer"),
        ("annotations", "id", 1, "2 annotations have the id 1"),
        ("images", "id", "3", "an image has the image id '3', a string, others are numbers"),
    ):
        changed = copy.deepcopy(dataset)
        changed[place][2][key] = value
        with pytest.raises(InputError, match=said):
            evaluate(coco(changed), [])
    dataset["categories"].append({"id": "dog"})
    with pytest.raises(InputError, match="a category has the category id 'dog', a string, others are numbers"):
        evaluate(coco(dataset), [])


def test_images_may_all_have_names(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(coco(dataset), records).metrics()
    for entry in dataset["images"]:
        entry["id"] = f"{entry['id']:03d}"
    for entry in (*dataset["annotations"], *records):
        entry["image_id"] = f"{entry['image_id']:03d}"
    assert evaluate(coco(dataset), records).metrics() == expected


def test_null_means_left_out(rng) -> None:
    dataset, records = scene(rng)
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
    expected = evaluate(coco(dataset), records).metrics()
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = annotation["num_keypoints"] = None
    records = [{**r, "category_id": None} for r in records]
    assert evaluate(coco(dataset), records).metrics() == expected


def test_results_that_number_their_categories_differently_are_people(rng) -> None:
    dataset, records = scene(rng)
    expected = evaluate(coco(dataset), records).metrics()
    assert expected["AP"] > 0
    dataset["categories"][0]["id"] = 7
    for annotation in dataset["annotations"]:
        annotation["category_id"] = 7
    assert evaluate(coco(dataset), records).metrics() == expected
    assert {r["category_id"] for r in records} == {1}
    one_person = [{**records[0], "category_id": 7}]
    assert evaluate(coco(dataset), one_person + records[1:]).metrics() == evaluate(coco(dataset), one_person).metrics()


def test_a_file_without_keypoints_and_unknown_images_are_refused(rng) -> None:
    dataset, records = scene(rng)
    with pytest.raises(InputError, match="777"):
        evaluate(coco(dataset), records, image_ids=[1, 777])
    for annotation in dataset["annotations"]:
        del annotation["keypoints"]
    with pytest.raises(InputError, match="no annotation has keypoints"):
        evaluate(coco(dataset), records)
