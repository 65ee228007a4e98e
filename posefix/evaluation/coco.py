"""COCO keypoint metrics by pycocotools' own COCOeval."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefix.core.errors import InputError
from posefix.evaluation.ground_truth import load_ground_truth, quietly

# The order of COCOeval.stats for keypoints.
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
_ID = (int, str, float, np.integer)  # what an image or a category may be called by


@dataclass(frozen=True)
class Detections:
    """Records as COCOeval reads them.

    Attributes:
        records: D records; the i-th gets the id i + 1 from pycocotools.
        rows: (D,) int64 place of each among the records that were given.
        unknown_images: how many were left out because the ground truth has no such image.
        unusable: how many were left out as unusable.
    """

    records: list[dict]
    rows: np.ndarray
    unknown_images: int
    unusable: int


@dataclass(frozen=True)
class Evaluation:
    """One set of results measured against one ground truth.

    Attributes:
        coco_eval: pycocotools' evaluation after ``evaluate``, ``accumulate`` and ``summarize``.
        evaluated: how many records were measured.
        unknown_images: how many were left out because the ground truth has no such image.
        unusable: how many were left out because their keypoints are not 3 K finite numbers, or because their
            ``image_id`` or ``category_id`` is neither a number nor a string.
    """

    coco_eval: COCOeval
    evaluated: int
    unknown_images: int
    unusable: int

    def metrics(self) -> dict[str, float | None]:
        """AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL in percent; None where there was nothing to measure."""
        stats = (float(value) for value in self.coco_eval.stats)
        return {name: None if value == -1 else 100 * value for name, value in zip(METRICS, stats, strict=True)}


def evaluate(
    ground_truth: str | Path | COCO,
    records: Iterable[Mapping[str, Any]],
    image_ids: Iterable[int] | None = None,
    sigmas: np.ndarray | None = None,
) -> Evaluation:
    """Measure results in COCO's format.

    Scores are taken as they are; a record without a usable ``score`` counts with the mean of its keypoints' scores.
    Records of unknown images, or whose keypoints, ``image_id`` or ``category_id`` are unusable, are left out and
    counted. Records of other categories than the annotated ones count for nothing, as in COCOeval; but where not one
    record is of an annotated category, the two files number their categories differently (people are 7 in one and 1 in
    the other), and all records are measured as people.

    Args:
        ground_truth: COCO keypoint annotations, as a file or a COCO object (which is not changed).
        records: results with ``image_id``, ``keypoints`` (x1, y1, score1, x2, ...) and, if there are, ``score``,
            ``bbox`` and ``category_id`` (a person if absent). They are not changed.
        image_ids: the images to measure on; all of the annotation file by default.
        sigmas: (K,) OKS sigmas of a skeleton other than COCO's 17 keypoints.

    Raises:
        InputError: for unusable annotations, or ``image_ids`` that they do not have.
    """
    keypoint_count = 17 if sigmas is None else len(sigmas)
    truth = load_ground_truth(ground_truth, keypoint_count)
    detections = detections_of(records, truth, keypoint_count)
    with quietly(), np.errstate(over="ignore", invalid="ignore"):
        coco_eval = coco_evaluation(truth, detections, sigmas, image_ids)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return Evaluation(coco_eval, len(detections.records), detections.unknown_images, detections.unusable)


def coco_evaluation(
    truth: COCO, detections: Detections, sigmas: np.ndarray | None = None, image_ids: Iterable[int] | None = None
) -> COCOeval:
    """pycocotools' evaluation, ready to run, with COCO's own parameters but for those that are given."""
    coco_eval = COCOeval(truth, _detection_index(truth, detections.records), iouType="keypoints")
    if sigmas is not None:
        coco_eval.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
    if image_ids is not None:
        coco_eval.params.imgIds = _known(image_ids, truth)
    return coco_eval


def _known(image_ids: Iterable[int], truth: COCO) -> list[int]:
    wanted = list(image_ids)
    if missing := [i for i in wanted if i not in truth.imgs]:
        first = ", ".join(str(i) for i in missing[:5])
        raise InputError(f"{len(missing)} of the images to evaluate are not in the annotations; the first: {first}")
    return wanted


def detections_of(records: Iterable[Mapping], truth: COCO, keypoint_count: int) -> Detections:
    """The usable records with just the fields that COCOeval reads.

    pycocotools takes the detections' areas (they decide which false positives count for APM and APL) from the boxes
    if the first record has one, else from the keypoints' extents; so do we, and use the extent where a box is missing.
    """
    person = min(truth.cats)
    detections: list[dict] = []
    rows: list[int] = []
    unknown = unusable = 0
    use_boxes: bool | None = None
    for row, record in enumerate(records):
        image_id = record.get("image_id") if isinstance(record, Mapping) else None
        keypoints = _vector(record.get("keypoints"), 3 * keypoint_count) if image_id is not None else None
        category = record.get("category_id") if isinstance(record, Mapping) else None
        category = person if category is None else category
        if keypoints is None or not (isinstance(image_id, _ID) and isinstance(category, _ID)):
            unusable += 1
            continue
        if image_id not in truth.imgs:
            unknown += 1
            continue
        score, box = _vector([record.get("score")], 1), _vector(record.get("bbox"), 4)
        detection = {
            "image_id": image_id,
            "category_id": category,
            "keypoints": keypoints,
            "score": float(keypoints[2::3].mean() if score is None else score[0]),
        }
        if use_boxes is None:
            use_boxes = box is not None
        if use_boxes:
            detection["bbox"] = (_extent(keypoints) if box is None else box).tolist()
        detections.append(detection)
        rows.append(row)
    if not any(detection["category_id"] in truth.cats for detection in detections):
        detections = [{**detection, "category_id": person} for detection in detections]
    return Detections(detections, np.array(rows, np.int64), unknown, unusable)


def _vector(values: Any, length: int) -> np.ndarray | None:
    """(length,) float64, or None where these are not that many finite numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    if array.shape != (length,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


def _extent(keypoints: np.ndarray) -> np.ndarray:
    points = keypoints.reshape(-1, 3)[:, :2]
    return np.concatenate([points.min(0), points.max(0) - points.min(0)])


def _detection_index(truth: COCO, detections: list[dict]) -> COCO:
    if detections:
        return truth.loadRes(detections)
    nobody = COCO()  # loadRes looks at the first record
    nobody.dataset = {
        "images": truth.dataset["images"],
        "categories": copy.deepcopy(truth.dataset["categories"]),
        "annotations": [],
    }
    nobody.createIndex()
    return nobody
