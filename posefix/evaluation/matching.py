"""Match results to annotated people, and compute OKS (object keypoint similarity) before and after refinement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posefix.core.people import People

MATCH_OKS = 0.1  # minimum OKS of a match (Ronchi and Perona, ICCV 2017)


def keypoint_similarity(keypoints: np.ndarray, truth: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Compute keypoint similarities ``exp(-d^2 / (2 s^2 k^2))`` with ``k = 2 sigma``; all arguments broadcast.

    Args:
        keypoints: (..., K, 2) pixels.
        truth: (..., K, 2) pixels, annotated.
        areas: (...) px^2, the annotated person's area s^2.
        sigmas: (K,) the skeleton's OKS sigmas.

    Returns:
        (..., K) float64 in [0, 1].
    """
    offset = np.asarray(keypoints, np.float64) - np.asarray(truth, np.float64)
    variance = (2.0 * np.asarray(sigmas, np.float64)) ** 2
    scale = np.asarray(areas, np.float64)[..., None] + np.spacing(1)
    with np.errstate(over="ignore"):
        similarity: np.ndarray = np.exp(-(offset**2).sum(-1) / variance / scale / 2)
    return similarity


def oks(
    keypoints: np.ndarray, truth: np.ndarray, labelled: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Compute OKS (...) float64 in [0, 1] as pycocotools' ``computeOks``; 0 for people without annotated keypoints.

    It is the mean of :func:`keypoint_similarity`, which has the same arguments, over ``labelled`` (..., K) bool.
    """
    labelled = np.asarray(labelled, bool)
    similarity = keypoint_similarity(keypoints, truth, areas, sigmas)
    mean: np.ndarray = np.where(labelled, similarity, 0.0).sum(-1) / np.maximum(labelled.sum(-1), 1)
    return mean


def thresholds_passed(similarity: np.ndarray) -> np.ndarray:
    """Return the share (...) of COCO's OKS thresholds 0.5, 0.55, ..., 0.95 that OKS values (...) pass."""
    share: np.ndarray = (similarity[..., None] >= np.linspace(0.5, 0.95, 10)).mean(-1)
    return share


def match_people(truth: People, results: People) -> np.ndarray:
    """Match results to annotated people as COCOeval does: greedily by score, each to the free person of best OKS.

    Returns:
        (N,) int64 row of ``results`` for each of N annotated people, -1 where there is none.
    """
    matched = np.full(len(truth), -1, np.int64)
    annotated = np.flatnonzero(truth.labelled.any(1))
    by_image = annotated[np.argsort(truth.image_ids[annotated], kind="stable")]
    ranked = np.lexsort((-results.person_scores, results.image_ids))
    ids, starts = np.unique(truth.image_ids[by_image], return_index=True)
    for image_id, people in zip(ids, np.split(by_image, starts)[1:], strict=True):
        start, end = np.searchsorted(results.image_ids[ranked], [image_id, image_id + 1])
        candidates = ranked[start:end]
        similarity = oks(
            results.keypoints[candidates][:, None],
            truth.keypoints[people][None],
            truth.labelled[people][None],
            truth.areas[people][None],
            truth.skeleton.sigmas,
        )
        free = np.ones(len(people), bool)
        for candidate, row in zip(candidates, similarity, strict=True):
            best = int(np.argmax(np.where(free, row, -1)))
            if free[best] and row[best] >= MATCH_OKS:
                matched[people[best]], free[best] = candidate, False
    return matched


def truth_rows(matched: np.ndarray, results: int) -> np.ndarray:
    """Invert a match (T,): the row (N,) int64 of the annotated person of each of N results, -1 for none."""
    rows = np.full(results, -1, np.int64)
    people = np.flatnonzero(matched >= 0)
    rows[matched[people]] = people
    return rows


def oks_with(truth: People, results: People, rows: np.ndarray) -> np.ndarray:
    """Compute the OKS (N,) float64 of results with the people at ``rows`` (N,) of ``truth``; NaN for row -1."""
    values = np.full(len(results), np.nan)
    known = np.flatnonzero(rows >= 0)
    people = truth[rows[known]]
    values[known] = oks(
        results.keypoints[known], people.keypoints, people.labelled, people.areas, truth.skeleton.sigmas
    )
    return values


@dataclass(frozen=True)
class OksChange:
    """OKS of N results before and after refinement, each with the same annotated person."""

    before: np.ndarray  # (N,) float64 OKS; NaN for results that match no annotated person
    after: np.ndarray  # (N,) float64 OKS, likewise
    truth_rows: np.ndarray  # (N,) int64 row of the annotated person, -1 where there is none

    def worst(self, count: int) -> np.ndarray:
        """Return the rows of up to ``count`` results with the largest loss, largest first."""
        change = self.after - self.before
        lowest = np.argsort(change, kind="stable")[:count]
        worst: np.ndarray = lowest[change[lowest] < 0]
        return worst

    def best(self, count: int) -> np.ndarray:
        """Return the rows of up to ``count`` results with the largest gain, largest first."""
        return OksChange(self.after, self.before, self.truth_rows).worst(count)


def oks_change(truth: People, before: People, after: People) -> OksChange:
    """Compute the OKS of each result before and after refinement.

    The annotated person is the one matched before, else the one matched after. ``after`` holds the N results of
    ``before`` in the same order.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} results before, {len(after)} after: they must be the same people")
    rows, rows_after = (truth_rows(match_people(truth, results), len(results)) for results in (before, after))
    taken = np.isin(rows_after, rows[rows >= 0])
    rows = np.where((rows < 0) & ~taken, rows_after, rows)
    return OksChange(oks_with(truth, before, rows), oks_with(truth, after, rows), rows)
