"""Gains of metrics with confidence intervals, by paired bootstrap over images.

A resample draws as many images as there are, with replacement, so it is a vector of image multiplicities. Precision and
recall of a resample are cumulative sums over the score-sorted detections, weighted by the multiplicities of their
images, so detections are matched only once. The result equals that of COCOeval on copied images, except for the order
of detections with equal scores, which is arbitrary in COCOeval too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.evaluation.coco import METRICS, Evaluation, Metrics, evaluate
from posefix.evaluation.ground_truth import GroundTruth

CONFIDENCE = 0.95
_CHUNK_ELEMENTS = 4_000_000  # detections x resamples in memory at a time


def compare(
    truth: GroundTruth, before: People, after: People, resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, Metrics]:
    """Evaluate results before and after refinement, in percent; see :func:`evaluate` and :func:`paired_bootstrap`.

    Returns:
        ``{"before": {"AP": ..., ...}, "after": {"AP": ..., ...}, "gain": {"AP": ..., "AP_low": ..., "AP_high": ...,
        ...}}``; None where a metric cannot be measured.
    """
    evaluation_before, evaluation_after = evaluate(truth, before), evaluate(truth, after)
    return {
        "before": evaluation_before.metrics(),
        "after": evaluation_after.metrics(),
        "gain": paired_bootstrap(evaluation_before, evaluation_after, resamples, rng=rng),
    }


def paired_bootstrap(
    before: Evaluation, after: Evaluation, resamples: int = 1000, *, rng: np.random.Generator
) -> Metrics:
    """Compute the gain of each metric and its 95 % percentile interval over resamples of the images.

    Args:
        before, after: evaluations of two sets of results on the same images.
        resamples: number of resamples drawn with ``rng``.

    Returns:
        For each metric its gain, such as ``AP``, and the interval, ``AP_low`` and ``AP_high``, in percentage points;
        all None where the metric cannot be measured.

    Raises:
        ValueError: when the two were evaluated on different images.
    """
    images = before.params.imgIds
    if not np.array_equal(images, after.params.imgIds):
        raise ValueError("before and after must be evaluated on the same images")
    weights = draw_multiplicities(len(images), resamples, rng)
    differences = 100 * (resampled_metrics(after, weights) - resampled_metrics(before, weights))
    return with_intervals(before.metrics(), after.metrics(), dict(zip(METRICS, differences, strict=True)))


def with_intervals(before: Metrics, after: Metrics, drawn: Mapping[str, np.ndarray]) -> Metrics:
    """Compute the gain of each metric and its 95 % percentile interval from resampled gains (R,), ``drawn``.

    Returns:
        As :func:`paired_bootstrap`.
    """
    gains: Metrics = {}
    for name, draws in drawn.items():
        gains |= {name: None, f"{name}_low": None, f"{name}_high": None}
        first, second, measured = before[name], after[name], draws[np.isfinite(draws)]
        if first is not None and second is not None and len(measured):
            low, high = np.quantile(measured, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            gains |= {name: second - first, f"{name}_low": float(low), f"{name}_high": float(high)}
    return gains


def draw_multiplicities(images: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the multiplicities (I, R) int32 of I images in R resamples."""
    if images == 0:
        return np.zeros((0, resamples), np.int32)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.asarray(drawn.T, np.int32)


def resampled_metrics(evaluation: Evaluation, weights: np.ndarray) -> np.ndarray:
    """Compute COCOeval's metrics on R resamples of the images.

    Args:
        evaluation: of I images.
        weights: (I, R) int, multiplicities of the images in each resample.

    Returns:
        (10, R) float64 in [0, 1], in the order of ``METRICS``; NaN where a resample has no annotated people.
    """
    parameters = evaluation.params
    images, count = weights.shape
    categories, areas = len(parameters.catIds), len(parameters.areaRng)
    evaluated = np.array(evaluation.evalImgs, object).reshape(categories, areas, images)
    measured = np.full((2, categories, areas, len(parameters.iouThrs), count), np.nan)
    for category, area in np.ndindex(categories, areas):
        is_evaluated = np.array([entry is not None for entry in evaluated[category, area]], bool)
        entries = evaluated[category, area, is_evaluated]
        step = max(1, _CHUNK_ELEMENTS // max(1, sum(len(entry["dtIds"]) for entry in entries)))
        for first in range(0, count if len(entries) else 0, step):
            chunk = slice(first, first + step)
            values = _precision_and_recall(entries, weights[is_evaluated, chunk], np.asarray(parameters.recThrs))
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


def _precision_and_recall(entries: Sequence[dict[str, Any]], weights: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """Compute mean precision over the recall thresholds, and recall, (2, T, R), of one category and area range.

    ``entries`` are COCOeval's ``evalImgs`` of I images, ``weights`` (I, R) their multiplicities.
    """
    order = np.argsort(-np.concatenate([entry["dtScores"] for entry in entries]), kind="mergesort")
    matched, ignored = (
        np.concatenate([entry[key] for entry in entries], axis=1)[:, order] != 0 for key in ("dtMatches", "dtIgnore")
    )
    positives = np.array([np.count_nonzero(np.equal(entry["gtIgnore"], 0)) for entry in entries]) @ weights
    counts = np.repeat(weights, [len(entry["dtIds"]) for entry in entries], axis=0)[order]
    total = np.maximum(positives, 1)
    metrics = np.empty((2, len(matched), weights.shape[1]))
    for t, (is_matched, is_counted) in enumerate(zip(matched, ~ignored, strict=True)):
        # Precision falls at every false positive, so its maxima are at true positives, and only these are computed.
        positions = np.flatnonzero(is_matched & is_counted)
        false_positives = np.cumsum(counts * (~is_matched & is_counted)[:, None], axis=0, dtype=np.int32)[positions]
        true_positives = np.cumsum(counts[positions], axis=0, dtype=np.int32)
        precision = true_positives / (false_positives + true_positives + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        # A recall threshold takes the precision at the first true positive that reaches it.
        reached = np.searchsorted(recalls, true_positives / total, side="right")
        newly_reached = np.diff(reached, axis=0, prepend=0)
        metrics[0, t] = (newly_reached * envelope).sum(0) / len(recalls)
        metrics[1, t] = true_positives[-1:].sum(0) / total
    metrics[..., positives == 0] = np.nan
    return metrics
