"""Synthetic ground truth and results for the tests of evaluation and report."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.evaluation.ground_truth import GroundTruth, quietly


def scene(rng: np.random.Generator, images: int = 12, noise: float = 0.05, keypoints: int = 17) -> tuple[dict, list]:
    """Annotations with people of all sizes, crowds, people without keypoints and empty images; results with misses,
    duplicates, false positives and all different scores."""
    annotations, records = [], []
    for image_id in range(1, images + 1):
        for _ in range(rng.integers(0, 4)):
            size = rng.uniform(20, 250)
            points = rng.uniform(0, 400, 2) + rng.uniform(0, size, (keypoints, 2))
            visible = np.where(rng.random(keypoints) < 0.7, rng.integers(1, 3, keypoints), 0)
            if rng.random() < 0.15:
                visible[:] = 0
            low, high = points.min(0), points.max(0)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": 1,
                "iscrowd": int(rng.random() < 0.1), "num_keypoints": int((visible > 0).sum()),
                "area": float(0.5 * np.prod(high - low)), "bbox": [*low.tolist(), *(high - low).tolist()],
                "keypoints": flat(points, visible),
            })  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                found = points + rng.normal(0, noise * size, points.shape)
                records.append(record(image_id, found, rng))
        if rng.random() < 0.5:
            records.append(record(image_id, rng.uniform(0, 500, (keypoints, 2)), rng))
    dataset = {
        "images": [{"id": i} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    return dataset, records


def record(image_id: int, points: np.ndarray, rng: np.random.Generator) -> dict:
    """A result of numbers that float32 holds exactly, so that people and records are measured to the same digit."""
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": flat(points.astype(np.float32), rng.random(len(points)).astype(np.float32)),
        "score": float(np.float32(rng.random())),
    }


def people_of(records: list[dict], skeleton: Skeleton | None = None) -> People:
    """Records of results as people; ``extra`` holds the records."""
    skeleton = skeleton or load("coco17")
    triples = np.array([r["keypoints"] for r in records], np.float32).reshape(-1, len(skeleton), 3)
    return People(
        skeleton,
        triples[..., :2],
        triples[..., 2],
        np.array([r["image_id"] for r in records], np.int64),
        boxes=np.array([r.get("bbox", [0, 0, 0, 0]) for r in records]),
        person_scores=np.array([r["score"] for r in records]),
        extra=records,
    )


def truth_of(dataset: dict, skeleton: Skeleton | None = None) -> GroundTruth:
    return GroundTruth.of_dataset(dataset, skeleton)


def flat(points: np.ndarray, third: np.ndarray) -> list[float]:
    return np.concatenate([points, np.asarray(third, float)[:, None]], axis=1).ravel().tolist()


def coco(dataset: dict) -> COCO:
    with quietly():
        built = COCO()
        built.dataset = copy.deepcopy(dataset)
        built.createIndex()
    return built


def reference(dataset: dict, records: list, image_ids: Iterable[int] | None = None, sigmas=None) -> COCOeval:
    """pycocotools as its own documentation uses it."""
    with quietly():
        truth = coco(dataset)
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(records)), "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
