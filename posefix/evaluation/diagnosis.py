"""Diagnose the errors of an estimator (Ronchi and Perona, ICCV 2017): keypoint errors, missed people, false positives.

Results are matched to annotated people as in COCOeval, at OKS 0.1, with the best 20 results of an image and people of
at least 32 x 32 px^2. Each annotated keypoint of a matched person is then Good, Jitter, Inversion, Swap or Miss; see
:mod:`synth.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.core.skeleton import GROUPS
from posefix.evaluation.coco import prepare
from posefix.evaluation.ground_truth import GroundTruth, quietly
from posefix.evaluation.matching import MATCH_OKS
from posefix.refine.rescoring import estimator_scores
from synth import ErrorType, Neighbours, classify, neighbours_of

MIN_AREA = 32.0**2  # px^2; smaller people are matched but not counted
LARGE_AREA = 96.0**2  # px^2, COCO's limit between medium and large
MAX_DETECTIONS = 20  # per image, the best by score
KINDS = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
KIND_NAMES = tuple(kind.name.capitalize() for kind in KINDS)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The errors of N results on T annotated people."""

    truth: People  # T people, of at least ``MIN_AREA``
    results: People  # N results
    matched: np.ndarray  # (T,) int64 row of ``results`` matched to each person, -1 where there is none
    background: np.ndarray  # (N,) bool, false positives: among the best of their image, but not matched
    neighbours: Neighbours  # other people in each person's image, with whom keypoints can be swapped
    unknown_images: int  # number of results on images that the annotations do not list

    @cached_property
    def types(self) -> np.ndarray:
        """Error types (T, K) int8 :class:`synth.ErrorType`; UNLABELLED without annotation or matched result."""
        types = np.full(self.truth.scores.shape, ErrorType.UNLABELLED, np.int8)
        rows = np.flatnonzero(self.detected)
        if len(rows):
            keypoints = self.results.keypoints[self.matched[rows]]
            types[rows], _ = classify(keypoints, self.truth[rows], self.neighbours.take(rows))
        return types

    @property
    def detected(self) -> np.ndarray:
        """Mask (T,) bool of people with a matched result."""
        return self.matched >= 0

    def counts(self, keypoints: np.ndarray | bool = True) -> np.ndarray:
        """Count the error types (5,) int64 from GOOD on, of the keypoints in a mask that broadcasts to (T, K)."""
        return np.bincount(self.types[(self.types >= 0) & keypoints], minlength=len(KINDS))

    def by_keypoint(self) -> np.ndarray:
        """Count the error types (K, 5) int64 of each keypoint."""
        return np.stack([(self.types == kind).sum(0) for kind in KINDS], axis=1)

    def breakdown(self) -> dict[str, dict[str, np.ndarray]]:
        """Count error types (5,) by keypoint, body group, annotated keypoints, overlapping people, size and score.

        Scores are split into thirds of the matched results; equal scores are in the same third.
        """
        skeleton = self.truth.skeleton
        scores = np.zeros(len(self.truth))
        scores[self.detected] = self.results.person_scores[self.matched[self.detected]]
        ranked = np.sort(scores[self.detected])
        thirds = 3 * np.searchsorted(ranked, scores) // max(len(ranked), 1)

        def by(labels: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
            return {name: self.counts((labels == label)[:, None]) for label, name in enumerate(names)}

        return {
            "keypoint": dict(zip(skeleton.keypoint_names, self.by_keypoint(), strict=True)),
            "group": {name: self.counts(skeleton.group(name)) for name in GROUPS},
            "annotated keypoints": by(
                np.digitize(self.truth.labelled.sum(1), [6, 11]), ("1 to 5", "6 to 10", "11 or more")
            ),
            "overlapping people": by(np.digitize(self.neighbours.overlaps, [1, 3]), ("none", "1 or 2", "3 or more")),
            "size": by(np.digitize(self.truth.areas, [LARGE_AREA]), ("medium", "large")),
            "score": by(thirds, ("lowest", "middle", "highest")),
        }

    def with_results(self, results: People) -> Diagnosis:
        """Diagnose N other results in the same order, keeping the matches."""
        return replace(self, results=results)

    def corrected(self, kind: ErrorType) -> People:
        """Return the results with all keypoints of one error type moved to the truth."""
        keypoints = self.results.keypoints.copy()
        people, columns = np.nonzero(self.types == kind)
        keypoints[self.matched[people], columns] = self.truth.keypoints[people, columns]
        return self.results.with_keypoints(keypoints)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""

        def named(counts: np.ndarray) -> dict[str, int]:
            return dict(zip(KIND_NAMES, counts.tolist(), strict=True))

        return {
            "people": len(self.truth),
            "found": int(self.detected.sum()),
            "missed": int((~self.detected).sum()),
            "background": int(self.background.sum()),
            "unknown_images": self.unknown_images,
            "errors": named(self.counts()),
            "by": {
                name: {label: named(counts) for label, counts in rows.items()}
                for name, rows in self.breakdown().items()
            },
        }


def diagnose(
    truth: GroundTruth, results: People, *, min_area: float = MIN_AREA, max_detections: int = MAX_DETECTIONS
) -> Diagnosis:
    """Diagnose the errors of results.

    Args:
        truth: ground truth.
        results: N results in the skeleton of the ground truth.
        min_area: px^2, minimum area of the people who count.
        max_detections: number of results per image that count, the best by score.

    Raises:
        InputError: when the results have another number of keypoints, or are not finite.
    """
    everyone = truth.people
    counted = everyone.areas >= min_area
    people = everyone[counted]
    evaluation, rows = prepare(truth, results)
    evaluation.params.iouThrs = np.array([MATCH_OKS])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[min_area, 1e10]], ["counted"]
    evaluation.params.maxDets = [max_detections]
    with quietly(), np.errstate(over="ignore", invalid="ignore"):
        evaluation.evaluate()
    evaluated = [entry for entry in evaluation.evalImgs if entry is not None]
    matched, background = _matches(evaluated, [a["id"] for a in people.extra], rows, len(results))
    neighbours = neighbours_of(everyone, np.flatnonzero(counted))
    return Diagnosis(people, results, matched, background, neighbours, len(results) - len(rows))


def transitions(before: Diagnosis, after: Diagnosis) -> np.ndarray:
    """Count keypoints (5, 5) int64 by error type before (rows) and after (columns), in the order of ``KINDS``.

    If both results are the same people in the same order (:func:`same_people`), the matches of ``before`` are used for
    both; else the people found in both are compared.
    """
    types_after = before.with_results(after.results).types if same_people(before, after) else after.types
    return count_moves(before.types, types_after)


def count_moves(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Count keypoints (5, 5) int64 by error type before (rows) and after (columns), where both are known.

    ``before`` and ``after`` are int8 :class:`synth.ErrorType` of the same keypoints, of any shape.
    """
    known = (before >= 0) & (after >= 0)
    pairs = len(KINDS) * before[known].astype(np.int64) + after[known]
    return np.bincount(pairs, minlength=len(KINDS) ** 2).reshape(len(KINDS), len(KINDS))


def same_people(before: Diagnosis, after: Diagnosis) -> bool:
    """Return whether two results have the same images, boxes and estimator scores in the same order, as if refined."""
    a, b = before.results, after.results
    if not np.array_equal(a.image_ids, b.image_ids) or not np.array_equal(a.boxes, b.boxes):
        return False
    return np.allclose(estimator_scores(a), estimator_scores(b), rtol=1e-5, atol=1e-6)  # files round scores


def _matches(
    evaluated: list[dict[str, Any]], ids: list[int], rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Extract ``matched`` and ``background`` of a diagnosis from COCOeval's ``evalImgs``.

    ``ids`` are the T annotation ids, ``rows`` (D,) the rows of the detections among the ``count`` results.
    """
    matched, background = np.full(len(ids), -1, np.int64), np.zeros(count, bool)
    truth_row = {annotation: row for row, annotation in enumerate(ids)}
    for entry in evaluated:
        detections = rows[np.array(entry["dtIds"], np.int64) - 1]
        background[detections[(entry["dtMatches"][0] == 0) & ~entry["dtIgnore"][0].astype(bool)]] = True
        for annotation, detection in zip(entry["gtIds"], entry["gtMatches"][0], strict=True):
            if detection and annotation in truth_row:
                matched[truth_row[annotation]] = rows[int(detection) - 1]
    background[matched[matched >= 0]] = False  # COCOeval takes annotation id 0 for no match
    return matched, background
