"""COCO keypoint metrics by pycocotools' COCOeval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth, quietly

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")  # order of COCOeval.stats
Metrics = dict[str, float | None]


class Evaluation(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """pycocotools' evaluation of results against a ground truth."""

    def metrics(self) -> Metrics:
        """Return AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL in percent; None where nothing can be measured."""
        stats = (float(value) for value in self.stats)
        return {name: None if value == -1 else 100 * value for name, value in zip(METRICS, stats, strict=True)}


def evaluate(truth: GroundTruth, results: People) -> Evaluation:
    """Evaluate results.

    Results on images that the ground truth does not list are ignored, as are results whose category (``category_id`` in
    ``results.extra``; people if absent) is not annotated. If no result has an annotated category, the two files number
    their categories differently, and all results are evaluated as people.

    Args:
        truth: ground truth.
        results: N people in the skeleton of the ground truth; ``person_scores`` rank them.

    Raises:
        InputError: when the results have another number of keypoints, or are not finite.
    """
    evaluation, _ = prepare(truth, results)
    with quietly(), np.errstate(over="ignore", invalid="ignore"):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def prepare(truth: GroundTruth, results: People) -> tuple[Evaluation, np.ndarray]:
    """Prepare an evaluation with COCO's parameters and the skeleton's sigmas.

    As in pycocotools, the areas of detections (which decide on false positives in APM and APL) are those of the boxes
    if the first result has one, else those of the poses' extents. The extent also replaces single missing boxes.

    Returns:
        The evaluation, and (D,) int64 the row in ``results`` of detections 1, 2, ..., D.
    """
    if len(results.skeleton) != len(truth.skeleton):
        raise InputError(
            f"{truth.name}: has {len(truth.skeleton)} keypoints a person, the results have {len(results.skeleton)}"
        )
    rows = np.flatnonzero(np.isin(results.image_ids, truth.image_ids))
    points = results.keypoints[rows].astype(np.float64)
    if not (np.isfinite(points).all() and np.isfinite(results.person_scores[rows]).all()):
        raise InputError("the results have keypoints or scores that are not finite numbers")
    low, high = points.min(1, initial=np.inf), points.max(1, initial=-np.inf)
    extents = np.concatenate([low, high - low], axis=1)
    known = geometry.known_boxes(results.boxes[rows])
    boxes = np.where((known & known[:1].any())[:, None], results.boxes[rows].astype(np.float64), extents)
    keypoints = np.concatenate([points, results.scores[rows, :, None]], axis=-1)
    columns = {
        "image_id": results.image_ids[rows].tolist(),
        "category_id": _categories(truth, results, rows),
        "keypoints": keypoints.reshape(len(rows), 3 * len(truth.skeleton)),
        "score": results.person_scores[rows].tolist(),
        "bbox": boxes.tolist(),
        "area": boxes[:, 2:].prod(1).tolist(),
    }
    records = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    annotations = [{"id": i, "iscrowd": 0, **record} for i, record in enumerate(records, 1)]
    detections = COCO()
    detections.dataset = {**truth.coco.dataset, "annotations": annotations}
    with quietly():
        detections.createIndex()
        evaluation = Evaluation(truth.coco, detections, iouType="keypoints")
    evaluation.params.kpt_oks_sigmas = np.asarray(truth.skeleton.sigmas, np.float64)
    return evaluation, rows


def count_other_categories(results: People, truth: GroundTruth) -> int:
    """Count the results on annotated images that :func:`evaluate` ignores because of their category."""
    rows = np.flatnonzero(np.isin(results.image_ids, truth.image_ids))
    return sum(category not in truth.coco.cats for category in _categories(truth, results, rows))


def _categories(truth: GroundTruth, results: People, rows: np.ndarray) -> list[Any]:
    """Return the category ids of the results at ``rows``; that of people for all if none is annotated."""
    annotated = truth.coco.cats
    person = min(annotated)
    records = (results.extra[row] for row in rows.tolist())
    ids = (record.get("category_id") if isinstance(record, Mapping) else None for record in records)
    categories = [category if isinstance(category, int | float | str) else person for category in ids]
    return categories if any(category in annotated for category in categories) else [person] * len(rows)
