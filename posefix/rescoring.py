"""Scores that rank refined people by how good they are: average precision is a matter of order, too.

The network's belief says how similar to the truth it expects each keypoint to be. The mean over a person, weighted by
the keypoints' confidences, is the OKS that it expects; the new score is that times the fourth root of the estimator's
own, which still knows best whether there is a person at all. (The exponent was chosen on held-out training images.)
People who were rescored before keep their score: of its own output a network always thinks well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from posefix.adapters.coco import ORIGINAL_SCORE
from posefix.adapters.records import is_number
from posefix.people import FARTHEST, People

OWN_EXPONENT = 0.25


def expected_oks(similarity: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Expected OKS of N people.

    Args:
        similarity: (N, K) expected keypoint similarity; NaN where nothing is known.
        scores: (N, K) confidences of the keypoints; their weights, between 0 and 1.

    Returns:
        (N,) float32 in [0, 1]; 0 where nothing is known of any keypoint.
    """
    weights = np.where(np.isfinite(similarity), np.clip(scores, 0, 1), 0)
    total = weights.sum(1)
    return ((weights * np.nan_to_num(similarity)).sum(1) / np.where(total > 0, total, 1)).astype(np.float32)


def own_scores(people: People) -> np.ndarray:
    """(N,) float32: what the estimator itself said; that is kept in the record of a person who was rescored before."""
    kept = [record.get(ORIGINAL_SCORE) for record in people.extra]
    usable = [_is_score(value) for value in kept]
    return np.where(usable, [value if ok else 0 for value, ok in zip(kept, usable, strict=True)], people.person_scores)


def rescored(people: People, expected: np.ndarray) -> People:
    """N people with new scores, and in ``extra`` the estimator's own as ``original_score``.

    Args:
        people: with the scores that they came with. Where any is below 0 they are taken for logits.
        expected: (N,) OKS, as of :func:`expected_oks`; NaN for people who were not refined and keep their score.
    """
    own = people.person_scores.astype(np.float64)
    if (own < 0).any():
        own = 1 / (1 + np.exp(-np.clip(own, -500, 500)))
    before = np.array([_is_score(record.get(ORIGINAL_SCORE)) for record in people.extra], bool)
    change = np.isfinite(expected) & ~before
    new = np.where(change, own**OWN_EXPONENT * np.nan_to_num(expected), people.person_scores)
    kept = zip(people.extra, change.tolist(), people.person_scores.tolist(), strict=True)
    extra = [{**record, ORIGINAL_SCORE: score} if changed else record for record, changed, score in kept]
    return replace(people, person_scores=new, extra=extra)


def _is_score(value: Any) -> bool:
    return is_number(value) and abs(value) <= FARTHEST
