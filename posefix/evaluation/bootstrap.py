"""How sure a gain in AP is: paired bootstrap over images, all resamples at once.

A resample draws as many images as there are, with replacement, so it is a vector of image multiplicities. Precision and
recall of a resample are cumulative sums over the score-sorted detections, weighted by the multiplicities of their
images; nothing is matched twice. The result is that of COCOeval on copied images, except for the order of different
detections with equal scores, which is arbitrary in COCOeval too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix.evaluation.coco import METRICS, Evaluation, Metrics

CONFIDENCE = 0.95
_CHUNK_ELEMENTS = 4_000_000  # detections x resamples that are in memory at a time


@dataclass(frozen=True)
class _Detections:
    """Detections of one category and area range in order of falling score, and the people to be found.

    Attributes:
        image: (D,) index of the image of each detection.
        matched: (T, D) bool, whether it is matched at each IoU threshold.
        true: (T, D) bool, whether it is a true positive; other matches are ignored.
        false: (D,) bool, whether it is a false positive where it has no match.
        positives: (I,) number of people of each image that count.
    """

    image: np.ndarray
    matched: np.ndarray
    true: np.ndarray
    false: np.ndarray
    positives: np.ndarray


def paired_bootstrap(
    before: Evaluation, after: Evaluation, resamples: int = 1000, *, rng: np.random.Generator
) -> Metrics:
    """Measure the gain of each metric and its 95 % percentile interval, over resamples of the images.

    Args:
        before: one set of results on some images.
        after: another on the same images.
        resamples: how many sets of images are drawn; both are measured on each.
        rng: where the draws come from.

    Returns:
        For each metric its gain, such as ``AP``, and the interval, ``AP_low`` and ``AP_high``, in percent points; all
        None where it cannot be measured.

    Raises:
        ValueError: when the two were evaluated on different images.
    """
    images = before.coco_eval.params.imgIds
    if not np.array_equal(images, after.coco_eval.params.imgIds):
        raise ValueError("before and after must be evaluated on the same images")
    weights = draw_multiplicities(len(images), resamples, rng)
    differences = 100 * (resampled_metrics(after, weights) - resampled_metrics(before, weights))
    values_before, values_after = before.metrics(), after.metrics()
    gains: Metrics = {}
    for name, difference in zip(METRICS, differences, strict=True):
        gains |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
        measured = difference[np.isfinite(difference)]
        first, second = values_before[name], values_after[name]
        if first is not None and second is not None and len(measured):
            low, high = np.quantile(measured, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            gains |= {name: second - first, f"{name}_low": float(low), f"{name}_high": float(high)}
    return gains


def draw_multiplicities(images: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(I, R) int32: how often each of I images is drawn in each of R resamples of I images."""
    if images == 0:
        return np.zeros((0, resamples), np.int32)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).T.astype(np.int32)


def resampled_metrics(evaluation: Evaluation, weights: np.ndarray) -> np.ndarray:
    """Compute COCOeval's metrics with every image counted as often as its weight says.

    Args:
        evaluation: of I images.
        weights: (I, R) int, multiplicities of the images in R resamples.

    Returns:
        (10, R) float64 in [0, 1], in the order of ``METRICS``; NaN where a resample has no people to be found.
    """
    parameters = evaluation.coco_eval.params
    images, count = weights.shape
    thresholds, areas, categories = len(parameters.iouThrs), len(parameters.areaRng), len(parameters.catIds)
    evaluated = np.array(evaluation.coco_eval.evalImgs, object).reshape(categories, areas, images)
    measured = np.empty((2, categories, areas, thresholds, count))
    for category, area in np.ndindex(categories, areas):
        detections = _collect(evaluated[category, area], thresholds)
        step = max(1, _CHUNK_ELEMENTS // max(1, len(detections.image)))
        for first in range(0, count, step):
            chunk = slice(first, first + step)
            values = _precision_and_recall(detections, weights[:, chunk], np.asarray(parameters.recThrs))
            measured[:, category, area, :, chunk] = values
    at_50, at_75 = (int(np.argmin(np.abs(parameters.iouThrs - threshold))) for threshold in (0.5, 0.75))
    rows = [
        values.reshape(-1, count)
        for measure in measured
        for values in (measure[:, 0], measure[:, 0, at_50], measure[:, 0, at_75], measure[:, 1], measure[:, 2])
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.stack([np.nanmean(row, axis=0) for row in rows])


def _collect(evaluated: Sequence[dict[str, Any] | None], thresholds: int) -> _Detections:
    """Gather COCOeval's matches in the images of one category and area range."""
    entries = [(i, entry) for i, entry in enumerate(evaluated) if entry is not None]
    positives = np.zeros(len(evaluated), np.int64)
    for i, entry in entries:
        positives[i] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for _, entry in entries)])
    order = np.argsort(-scores, kind="mergesort")
    image = np.repeat([i for i, _ in entries], [len(entry["dtScores"]) for _, entry in entries]).astype(np.int64)
    matched, ignored = (
        np.concatenate([np.zeros((thresholds, 0)), *(entry[key] for _, entry in entries)], axis=1)[:, order] != 0
        for key in ("dtMatches", "dtIgnore")
    )
    # Whether an unmatched detection is ignored depends on its area alone, so any threshold can tell.
    false = (~matched & ~ignored).any(0)
    return _Detections(image[order], matched, matched & ~ignored, false, positives)


def _precision_and_recall(detections: _Detections, weights: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """(2, T, R) mean precision over the recall thresholds, and recall, for multiplicities (I, R)."""
    positives = detections.positives @ weights
    total = np.maximum(positives, 1)
    weighted = weights[detections.image]
    unmatched = np.cumsum(weighted * detections.false[:, None], axis=0, dtype=np.int32)
    measured = np.empty((2, len(detections.matched), weights.shape[1]))
    for t, (is_matched, is_true) in enumerate(zip(detections.matched, detections.true, strict=True)):
        matched, true = np.flatnonzero(is_matched), np.flatnonzero(is_true)
        # Precision falls at every false positive, so its maxima, all that is needed, are at true positives.
        not_false = np.cumsum(weighted[matched] * detections.false[matched, None], axis=0, dtype=np.int32)
        false = unmatched[true] - not_false[is_true[matched]]
        found = np.cumsum(weighted[true], axis=0, dtype=np.int32)
        precision = found / (false + found + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        # Each recall threshold has the precision at the first true positive that reaches it.
        reached = np.searchsorted(recalls, found / total, side="right")
        newly_reached = np.diff(reached, axis=0, prepend=0)
        measured[0, t] = (newly_reached * envelope).sum(0) / len(recalls)
        measured[1, t] = found[-1:].sum(0) / total
    measured[..., positives == 0] = np.nan
    return measured
