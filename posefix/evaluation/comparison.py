"""Results before and after refinement, side by side: the metrics' gains, and what happened to each person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core.people import People
from posefix.evaluation.bootstrap import paired_bootstrap
from posefix.evaluation.coco import Metrics, evaluate
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import match_people, oks_with, truth_rows


def compare(
    truth: GroundTruth, before: People, after: People, resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, Metrics]:
    """Measure two sets of results in percent, and the gain with its 95 % interval by paired bootstrap over images.

    Args:
        truth: ground truth.
        before: results; see :func:`posefix.evaluation.coco.evaluate`.
        after: the refined ones.
        resamples: of the bootstrap.
        rng: of the bootstrap.

    Returns:
        ``{"before": {"AP": ..., ...}, "after": {"AP": ..., ...}, "gain": {"AP": ..., "AP_low": ..., "AP_high": ...,
        ...}}``; None where a metric cannot be measured.
    """
    first, second = evaluate(truth, before), evaluate(truth, after)
    return {
        "before": first.metrics(),
        "after": second.metrics(),
        "gain": paired_bootstrap(first, second, resamples, rng=rng),
    }


@dataclass(frozen=True)
class OksChange:
    """What refinement did to each of N results, by OKS with one and the same annotated person before and after.

    Attributes:
        before: (N,) float64 OKS; NaN where the result matches no annotated person, before and after.
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
        return OksChange(self.after, self.before, self.truth_rows).worst(count)


def oks_change(truth: People, before: People, after: People) -> OksChange:
    """Measure the OKS of each result before and after refinement.

    A result is measured with the person whom it matched before; one that matched none before but one after, with that
    person.

    Args:
        truth: annotated people.
        before: N results.
        after: the same N results, refined, in the same order.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} results before, {len(after)} after: they must be the same people")
    rows, later = (truth_rows(match_people(truth, results), len(results)) for results in (before, after))
    taken = np.isin(later, rows[rows >= 0])
    rows = np.where((rows < 0) & ~taken, later, rows)
    return OksChange(oks_with(truth, before, rows), oks_with(truth, after, rows), rows)
