"""How sure a gain in AP is: paired bootstrap over images, all resamples at once.

A resample draws as many images as there are, with replacement; that is a vector of image multiplicities. An image drawn
three times brings each of its detections and people three times, so precision and recall of a resample are cumulative
sums over the score-sorted detections weighted by the multiplicities, and no image is matched twice. Detections of one
image that is drawn several times have equal scores and stay together: the copies of one true positive raise the
precision step by step, so only the last of them can be on the precision envelope, and the copies of a false positive
only the next true positive sees. The result is therefore that of really copying the images, but for ties in score
between different detections, whose order is a matter of chance in COCOeval too (there the copied images would come in
turns, here one detection's copies come before the other's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix.evaluation.coco import METRICS, Evaluation

CONFIDENCE = 0.95
_CHUNK_ELEMENTS = 4_000_000  # detections x resamples that are in memory at a time


@dataclass(frozen=True)
class _Detections:
    """Detections of one category and area range in order of falling score, and the people to be found.

    Attributes:
        image: (D,) index of the image of each detection.
        counts_unmatched: (D,) bool, whether the detection is a false positive where it has no match.
        matched: for each IoU threshold the indices of the matched detections, ascending.
        counts_matched: for each IoU threshold whether each of those is a true positive; the rest are ignored.
        positives: (I,) number of people of each image that count.
    """

    image: np.ndarray
    counts_unmatched: np.ndarray
    matched: Sequence[np.ndarray]
    counts_matched: Sequence[np.ndarray]
    positives: np.ndarray


def paired_bootstrap(
    before: Evaluation, after: Evaluation, resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, dict[str, float | None]]:
    """Gain of each metric and its 95 % percentile interval, over resamples of the images.

    Both evaluations are measured on the same resampled images.

    Args:
        before: one set of results on some images.
        after: another on the same images.
        resamples: how many sets of images are drawn.
        rng: where the draws come from.

    Returns:
        For each metric ``gain``, ``low``, ``high`` (percent points) and ``positive``, the share of the resamples in
        which the gain is above 0. All are None where the metric cannot be measured on these images.

    Raises:
        ValueError: when the two were evaluated on different images.
    """
    images = before.coco_eval.params.imgIds
    if not np.array_equal(images, after.coco_eval.params.imgIds):
        raise ValueError("before and after must be evaluated on the same images")
    weights = draw_multiplicities(len(images), resamples, rng)
    differences = 100 * (resampled_metrics(after, weights) - resampled_metrics(before, weights))
    values_before, values_after = before.metrics(), after.metrics()
    summary: dict[str, dict[str, float | None]] = {}
    for name, difference in zip(METRICS, differences, strict=True):
        measured = difference[np.isfinite(difference)]
        first, second = values_before[name], values_after[name]
        if first is None or second is None or not len(measured):
            summary[name] = dict.fromkeys(("gain", "low", "high", "positive"))
            continue
        low, high = np.quantile(measured, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        summary[name] = {
            "gain": second - first,
            "low": float(low),
            "high": float(high),
            "positive": float((measured > 0).mean()),
        }
    return summary


def draw_multiplicities(images: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(I, R) int32: how often each of I images is drawn in each of R resamples of I images."""
    if images == 0:
        return np.zeros((0, resamples), np.int32)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).T.astype(np.int32)


def resampled_metrics(evaluation: Evaluation, weights: np.ndarray) -> np.ndarray:
    """The metrics of COCOeval with every image counted as often as its weight says.

    Args:
        evaluation: of I images.
        weights: (I, R) int, multiplicities of the images in R resamples.

    Returns:
        (10, R) float64 in [0, 1], in the order of ``METRICS``; NaN where a resample has nobody to be found.
    """
    parameters = evaluation.coco_eval.params
    thresholds, recalls = len(parameters.iouThrs), np.asarray(parameters.recThrs)
    areas, categories = len(parameters.areaRng), len(parameters.catIds)
    count = weights.shape[1]
    precision = np.full((categories, areas, thresholds, count), np.nan)
    recall = np.full_like(precision, np.nan)
    images = len(weights)
    for category in range(categories):
        for area in range(areas):
            start = (category * areas + area) * images
            table = _collect(evaluation.coco_eval.evalImgs[start : start + images], thresholds)
            step = max(1, _CHUNK_ELEMENTS // max(1, len(table.image)))
            for first in range(0, count, step):
                chunk = slice(first, first + step)
                values = _precision_and_recall(table, weights[:, chunk], recalls)
                precision[category, area, :, chunk], recall[category, area, :, chunk] = values
    at = {t: int(np.argmin(np.abs(parameters.iouThrs - t))) for t in (0.5, 0.75)}
    rows = [
        _mean(values)
        for measure in (precision, recall)
        for values in (measure[:, 0], measure[:, 0, at[0.5]], measure[:, 0, at[0.75]], measure[:, 1], measure[:, 2])
    ]
    return np.stack(rows)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over all but the last axis, of what is not NaN; NaN where nothing is left."""
    values = values.reshape(-1, values.shape[-1])
    known = np.isfinite(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _collect(image_evaluations: Sequence[dict[str, Any] | None], thresholds: int) -> _Detections:
    """COCOeval's per-image matches of one category and area range as arrays over all detections."""
    entries = [(i, e) for i, e in enumerate(image_evaluations) if e is not None]
    positives = np.zeros(len(image_evaluations), np.int64)
    for i, entry in entries:
        positives[i] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    scores = np.concatenate([np.zeros(0), *(e["dtScores"] for _, e in entries)])
    image = np.repeat([i for i, _ in entries], [len(e["dtScores"]) for _, e in entries]).astype(np.int64)
    empty = np.zeros((thresholds, 0), bool)
    matched = np.concatenate([empty, *(e["dtMatches"] != 0 for _, e in entries)], axis=1)
    ignored = np.concatenate([empty, *(e["dtIgnore"].astype(bool) for _, e in entries)], axis=1)
    order = np.argsort(-scores, kind="mergesort")
    image, matched, ignored = image[order], matched[:, order], ignored[:, order]
    indices = [np.flatnonzero(row) for row in matched]
    return _Detections(
        image=image,
        # Whether an unmatched detection is ignored depends on its area alone, so any threshold can tell.
        counts_unmatched=(~matched & ~ignored).any(0),
        matched=indices,
        counts_matched=[~row[index] for row, index in zip(ignored, indices, strict=True)],
        positives=positives,
    )


def _precision_and_recall(
    table: _Detections, weights: np.ndarray, recalls: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision over the recall thresholds, and recall, each (T, R), for multiplicities (I, R)."""
    positives = table.positives @ weights
    needed = _needed(positives, recalls)
    weighted = weights[table.image]
    unmatched = np.cumsum(weighted * table.counts_unmatched[:, None], axis=0, dtype=np.int32)
    precision = np.empty((len(table.matched), weights.shape[1]))
    recall = np.empty_like(precision)
    for t, (index, positive) in enumerate(zip(table.matched, table.counts_matched, strict=True)):
        rows = weighted[index]
        # Precision falls at every false positive: its maxima, all that is needed, stand at true positives.
        true = np.cumsum(rows[positive], axis=0, dtype=np.int32)
        not_false = np.cumsum(rows * table.counts_unmatched[index, None], axis=0, dtype=np.int32)
        false = unmatched[index[positive]] - not_false[positive]
        precision[t] = _interpolated(true, false, needed)
        recall[t] = (true[-1] if len(true) else 0) / np.maximum(positives, 1)
    nobody = positives == 0
    precision[:, nobody] = recall[:, nobody] = np.nan
    return precision, recall


def _needed(positives: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """(R, Q) int64: the least number n of people found with ``n / positives >= recall`` in floating point."""
    total = np.maximum(positives, 1)[:, None]
    least = np.ceil(recalls * total).astype(np.int64)
    least -= (least - 1) / total >= recalls
    least += least / total < recalls
    return least


def _interpolated(true: np.ndarray, false: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """(R,) mean over the recall thresholds of the highest precision at that recall or beyond.

    Args:
        true: (P, R) true positives so far, at each true positive.
        false: (P, R) false positives so far.
        needed: (R, Q) the true positives that each recall threshold asks for.
    """
    if not len(true):
        return np.zeros(len(needed))
    precision = true / (false + true + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    # One sorted vector for the search in all resamples: each is moved above the ones before it.
    columns = np.arange(len(needed))
    above = columns * (int(max(true[-1].max(), needed.max())) + 1)
    stacked = (true.T.astype(np.int64) + above[:, None]).ravel()
    first = np.searchsorted(stacked, needed + above[:, None], side="left") - (columns * len(true))[:, None]
    reached = first < len(true)
    found = envelope[np.minimum(first, len(true) - 1), columns[:, None]]
    return np.where(reached, found, 0.0).mean(axis=1)
