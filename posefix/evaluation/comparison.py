"""Results before and after refinement, side by side: the metrics' gains, and what happened to each person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core.people import People
from posefix.evaluation.bootstrap import paired_bootstrap
from posefix.evaluation.coco import METRICS, Metrics, evaluate
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import MATCH_OKS, match_people
from posefix.evaluation.oks import oks


def compare(
    truth: GroundTruth, before: People, after: People, resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, Metrics]:
    """Measure two sets of results in percent, and the gain with its 95 % interval by paired bootstrap over images.

    Args:
        truth: what is right.
        before: results; see :func:`posefix.evaluation.coco.evaluate`.
        after: the refined ones.
        resamples: of the bootstrap.
        rng: of the bootstrap.

    Returns:
        ``{"before": {"AP": ..., ...}, "after": {"AP": ..., ...}, "gain": {"AP": ..., "AP_low": ..., "AP_high": ...,
        ...}}``; None where a metric cannot be measured.
    """
    first, second = evaluate(truth, before), evaluate(truth, after)
    gains = paired_bootstrap(first, second, resamples, rng=rng)
    gain = {
        name + suffix: gains[name][key]
        for name in METRICS
        for suffix, key in (("", "gain"), ("_low", "low"), ("_high", "high"))
    }
    return {"before": first.metrics(), "after": second.metrics(), "gain": gain}


def person_oks(truth: People, results: People, threshold: float = MATCH_OKS) -> tuple[np.ndarray, np.ndarray]:
    """OKS of each result with the annotated person that it is matched to.

    Args:
        truth: annotated people; ``scores`` are visibilities, ``areas`` are known.
        results: N results on the same images.
        threshold: OKS below which nothing is matched.

    Returns:
        (N,) float64 OKS, NaN where unmatched; (N,) int64 row in ``truth``, -1 where unmatched.
    """
    rows = np.full(len(results), -1, np.int64)
    matched = match_people(truth, results, threshold)
    found = np.flatnonzero(matched >= 0)
    rows[matched[found]] = found
    return oks_with(truth, results, rows), rows


def oks_with(truth: People, results: People, rows: np.ndarray) -> np.ndarray:
    """(N,) float64 OKS of each of N results with the person in that row (N,) of ``truth``; NaN where the row is -1."""
    values = np.full(len(results), np.nan)
    known = np.flatnonzero(rows >= 0)
    people = truth[rows[known]]
    values[known] = oks(
        results.keypoints[known], people.keypoints, people.labelled, people.areas, truth.skeleton.sigmas
    )
    return values


@dataclass(frozen=True)
class OksChange:
    """What refinement did to each of N results, by OKS with one and the same annotated person before and after.

    Attributes:
        before: (N,) float64 OKS; NaN where the result is no annotated person's, before and after.
        after: (N,) float64 OKS.
        truth_rows: (N,) int64 row of the annotated person, -1 where there is none.
    """

    before: np.ndarray
    after: np.ndarray
    truth_rows: np.ndarray

    def worst(self, count: int) -> np.ndarray:
        """Rows of the at most ``count`` results that lost most, the greatest loss first; only those that lost."""
        change = self.after - self.before
        order = np.argsort(change, kind="stable")
        return order[change[order] < 0][:count]

    def best(self, count: int) -> np.ndarray:
        """Rows of the at most ``count`` results that won most, the greatest gain first; only those that won."""
        change = self.after - self.before
        order = np.argsort(-change, kind="stable")
        return order[change[order] > 0][:count]


def oks_change(truth: People, before: People, after: People) -> OksChange:
    """OKS of each result before and after refinement.

    A result is matched to a person where it was before; one that was nobody's before but is somebody's after counts
    with that person.

    Args:
        truth: annotated people.
        before: N results.
        after: the same N results, refined, in the same order.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} results before, {len(after)} after: they must be the same people")
    _, rows = person_oks(truth, before)
    _, later = person_oks(truth, after)
    taken = np.isin(later, rows[rows >= 0])
    rows = np.where((rows < 0) & ~taken, later, rows)
    return OksChange(oks_with(truth, before, rows), oks_with(truth, after, rows), rows)
