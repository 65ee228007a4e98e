"""The vectorised bootstrap is COCOeval on copied images."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from posefix.evaluation.coco import METRICS, evaluate
from posefix.evaluation.comparison import draw_multiplicities, paired_bootstrap, resampled_metrics
from posefix.evaluation.ground_truth import GroundTruth, read_results
from tests.evaluation_scenes import people_of, reference, scene, truth_of


def copied(dataset: dict, records: list, weights: np.ndarray) -> tuple[dict, list]:
    """Each image as often as its weight says, under new ids."""
    images, annotations, results = [], [], []
    for image, weight in zip(dataset["images"], weights, strict=True):
        for _ in range(weight):
            new = len(images) + 1
            images.append({"id": new})
            for annotation in dataset["annotations"]:
                if annotation["image_id"] == image["id"]:
                    annotations.append({**annotation, "image_id": new, "id": len(annotations) + 1})
            results += [{**r, "image_id": new} for r in records if r["image_id"] == image["id"]]
    return {**dataset, "images": images, "annotations": annotations}, results


@pytest.mark.parametrize("seed", range(5))
def test_all_multiplicities_one_is_coco_eval(seed: int) -> None:
    dataset, records = scene(np.random.default_rng(seed), images=20)
    evaluation = evaluate(truth_of(dataset), people_of(records))
    value = resampled_metrics(evaluation, np.ones((20, 1), np.int32))[:, 0]
    np.testing.assert_allclose(value, evaluation.stats, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["movenet-lightning", "movenet-lightning.detbox", "movenet-multipose"])
def test_all_multiplicities_one_is_coco_eval_on_real_results(data_root, name: str) -> None:
    truth = GroundTruth.read(data_root / "coco" / "annotations" / "person_keypoints_val.json")
    evaluation = evaluate(truth, read_results(data_root / "coco" / "results" / "val" / f"{name}.json", truth))
    images = len(evaluation.params.imgIds)
    value = resampled_metrics(evaluation, np.ones((images, 2), np.int32))
    np.testing.assert_allclose(value, np.stack([evaluation.stats] * 2, 1), rtol=0, atol=1e-12)


def test_multiplicities_are_copies_of_images(rng) -> None:
    dataset, records = scene(rng, images=10)
    weights = draw_multiplicities(10, 12, rng)
    values = resampled_metrics(evaluate(truth_of(dataset), people_of(records)), weights)
    for column, value in zip(weights.T, values.T, strict=True):
        stats = reference(*copied(dataset, records, column)).stats
        np.testing.assert_allclose(np.nan_to_num(value, nan=-1), stats, rtol=0, atol=1e-12)


def test_draws_are_as_many_images_as_there_are(rng) -> None:
    weights = draw_multiplicities(50, 2000, rng)
    assert (weights.sum(0) == 50).all()
    assert weights.mean(1) == pytest.approx(np.ones(50), abs=0.15)
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.05)


def test_identical_results_gain_nothing_for_sure(rng) -> None:
    dataset, records = scene(rng)
    evaluation = evaluate(truth_of(dataset), people_of(records))
    summary = paired_bootstrap(evaluation, evaluate(truth_of(dataset), people_of(records)), 200, rng=rng)
    assert tuple(summary) == tuple(m + s for m in METRICS for s in ("", "_low", "_high"))
    assert set(summary.values()) == {0}


def test_exchanging_before_and_after_changes_the_sign() -> None:
    dataset, records = scene(np.random.default_rng(3), images=25, noise=0.15)
    better = copy.deepcopy(records)
    mean = {a["image_id"]: a["keypoints"] for a in dataset["annotations"]}
    for entry in better[::3]:
        entry["keypoints"] = mean.get(entry["image_id"], entry["keypoints"])
    a, b = evaluate(truth_of(dataset), people_of(records)), evaluate(truth_of(dataset), people_of(better))
    forth = paired_bootstrap(a, b, 300, rng=np.random.default_rng(1))
    back = paired_bootstrap(b, a, 300, rng=np.random.default_rng(1))
    assert forth["AP"] > 0
    for name in METRICS:
        assert forth[name] == pytest.approx(-back[name])
        assert forth[f"{name}_low"] == pytest.approx(-back[f"{name}_high"])
        assert forth[f"{name}_low"] <= forth[name] <= forth[f"{name}_high"]


def test_interval_narrows_with_the_number_of_images() -> None:
    widths = []
    for images in (20, 320):
        dataset, records = scene(np.random.default_rng(5), images=images, noise=0.03)
        worse = [{**r, "score": 1 - r["score"]} for r in records]
        summary = paired_bootstrap(
            evaluate(truth_of(dataset), people_of(records)),
            evaluate(truth_of(dataset), people_of(worse)),
            300,
            rng=np.random.default_rng(0),
        )
        widths.append(summary["AP_high"] - summary["AP_low"])
    assert 2 < widths[0] / widths[1] < 8  # as one over the root: 4


def test_interval_covers_the_true_gain() -> None:
    """Samples of images from a population whose true gain is known: a 95 % interval covers it nearly always."""
    dataset, records = scene(np.random.default_rng(7), images=1200, noise=0.03)
    rng, truth = np.random.default_rng(8), truth_of(dataset)
    noisy = [{**r, "keypoints": (np.array(r["keypoints"]) + rng.normal(0, 4, 51)).tolist()} for r in records]
    population = [evaluate(truth, people_of(r)) for r in (records, noisy)]
    true_gain = population[1].metrics()["AP"] - population[0].metrics()["AP"]
    covered = 0
    for start in range(1, 1200, 60):
        sample = truth.on_images(range(start, start + 60))
        pair = [evaluate(sample, people_of(r)) for r in (records, noisy)]
        interval = paired_bootstrap(*pair, 300, rng=rng)
        covered += interval["AP_low"] <= true_gain <= interval["AP_high"]
    assert covered >= 17  # of 20; fewer has a chance under 2 % at the nominal 95 %


def test_different_images_are_refused(rng) -> None:
    dataset, records = scene(rng)
    a, b = (evaluate(truth_of(dataset).on_images(ids), people_of(records)) for ids in ([1, 2, 3], [1, 2]))
    with pytest.raises(ValueError, match="same images"):
        paired_bootstrap(a, b, 10, rng=rng)


def test_nothing_to_measure_gives_none(rng) -> None:
    dataset, records = scene(rng)
    dataset["annotations"] = []
    evaluation = evaluate(truth_of(dataset), people_of(records))
    assert set(paired_bootstrap(evaluation, evaluation, 10, rng=rng).values()) == {None}
