"""What an estimator gets wrong (Ronchi and Perona, ICCV 2017): errors of keypoints, people missed, false positives.

Results are matched to annotated people as COCOeval does, at OKS 0.1, the best 20 results of an image, people of at
least 32 x 32 px^2. Every annotated keypoint of a matched person is then Good, Jitter, Inversion, Swap or Miss; see
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

MIN_AREA = 32.0**2  # px^2; smaller people are matched but do not count
LARGE_AREA = 96.0**2  # px^2, COCO's border between medium and large
MAX_DETECTIONS = 20  # of an image, the best by score
KINDS = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
KIND_NAMES = tuple(kind.name.capitalize() for kind in KINDS)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The errors of N results on T annotated people that count."""

    truth: People  # T people, of at least ``MIN_AREA``
    results: People  # N results as they were given
    matched: np.ndarray  # (T,) int64 row of ``results`` that was matched to each person, -1 where there is none
    # (N,) bool, false positives: among the best of their image, and matched to no annotated person
    background: np.ndarray
    neighbours: Neighbours  # all others in the image of each person, with whom keypoints can be swapped
    unknown_images: int  # how many results are of images that the annotations lack

    @cached_property
    def types(self) -> np.ndarray:
        """(T, K) int8 :class:`synth.ErrorType`; UNLABELLED where the truth is not annotated or no result matches."""
        types = np.full(self.truth.scores.shape, ErrorType.UNLABELLED, np.int8)
        found = np.flatnonzero(self.found)
        if len(found):
            keypoints = self.results.keypoints[self.matched[found]]
            types[found], _ = classify(keypoints, self.truth[found], self.neighbours.take(found))
        return types

    @property
    def found(self) -> np.ndarray:
        """(T,) bool: people with a result."""
        return self.matched >= 0

    def counts(self, keypoints: np.ndarray | bool = True) -> np.ndarray:
        """(5,) int64 keypoints of each error type from GOOD on, of those chosen by a mask that broadcasts to (T, K)."""
        return np.bincount(self.types[(self.types >= 0) & keypoints], minlength=len(KINDS))

    def by_keypoint(self) -> np.ndarray:
        """(K, 5) int64 counts for each keypoint."""
        return np.stack([(self.types == kind).sum(0) for kind in KINDS], axis=1)

    def breakdown(self) -> dict[str, dict[str, np.ndarray]]:
        """Counts (5,) by keypoint, body group, annotated keypoints, overlapping people, size and the result's score.

        Scores are cut into thirds of the matched results, equal ones into the same.
        """
        skeleton = self.truth.skeleton
        scores = np.zeros(len(self.truth))
        scores[self.found] = self.results.person_scores[self.matched[self.found]]
        ranked = np.sort(scores[self.found])
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
        """The errors of other N results in the same order, each of the person to whom it was matched before."""
        return replace(self, results=results)

    def corrected(self, kind: ErrorType) -> People:
        """The results with every keypoint of one error type moved to its truth."""
        keypoints = self.results.keypoints.copy()
        people, columns = np.nonzero(self.types == kind)
        keypoints[self.matched[people], columns] = self.truth.keypoints[people, columns]
        return self.results.with_keypoints(keypoints)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""

        def named(counts: np.ndarray) -> dict[str, int]:
            return dict(zip(KIND_NAMES, counts.tolist(), strict=True))

        return {
            "people": len(self.truth),
            "found": int(self.found.sum()),
            "missed": int((~self.found).sum()),
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
    """Find the errors of results.

    Args:
        truth: ground truth.
        results: N results in the skeleton of the ground truth.
        min_area: px^2, of the people who count.
        max_detections: how many results of an image are looked at, the best by score.

    Raises:
        InputError: when results are of another number of keypoints, or not finite.
    """
    everyone = truth.people
    counts = everyone.areas >= min_area
    people = everyone[counts]
    evaluation, rows = prepare(truth, results)
    evaluation.params.iouThrs = np.array([MATCH_OKS])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[min_area, 1e10]], ["counted"]
    evaluation.params.maxDets = [max_detections]
    with quietly(), np.errstate(over="ignore", invalid="ignore"):
        evaluation.evaluate()
    evaluated = [entry for entry in evaluation.evalImgs if entry is not None]
    matched, background = _matches(evaluated, [a["id"] for a in people.extra], rows, len(results))
    neighbours = neighbours_of(everyone, np.flatnonzero(counts))
    return Diagnosis(people, results, matched, background, neighbours, len(results) - len(rows))


def transitions(before: Diagnosis, after: Diagnosis) -> np.ndarray:
    """(5, 5) int64 counts of keypoints by error type before (rows) and after (columns), in the order of ``KINDS``.

    Where the two are the same people in the same order (see :func:`same_people`), each keypoint is followed in the
    result that was matched before; else people are compared who were found both times.
    """
    later = before.with_results(after.results).types if same_people(before, after) else after.types
    return count_moves(before.types, later)


def count_moves(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(5, 5) int64 counts of keypoints by error type before (rows) and after (columns), of those that have one in both.

    ``before`` and ``after`` are int8 :class:`synth.ErrorType` of the same keypoints, of any shape.
    """
    both = (before >= 0) & (after >= 0)
    pairs = len(KINDS) * before[both].astype(np.int64) + after[both]
    return np.bincount(pairs, minlength=len(KINDS) ** 2).reshape(len(KINDS), len(KINDS))


def same_people(before: Diagnosis, after: Diagnosis) -> bool:
    """Whether two results have the same images, boxes and scores of the estimator in the same order, as if refined."""
    one, other = before.results, after.results
    if not np.array_equal(one.image_ids, other.image_ids) or not np.array_equal(one.boxes, other.boxes):
        return False
    return np.allclose(estimator_scores(one), estimator_scores(other), rtol=1e-5, atol=1e-6)  # written ones are rounded


def _matches(
    evaluated: list[dict[str, Any]], ids: list[int], rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read ``matched`` and ``background`` of a diagnosis from COCOeval's ``evalImgs`` of one threshold and area range.

    ``ids`` are those of the T annotations, ``rows`` (D,) the rows of the detections among the ``count`` results.
    """
    matched, background = np.full(len(ids), -1, np.int64), np.zeros(count, bool)
    place = {annotation: row for row, annotation in enumerate(ids)}
    for entry in evaluated:
        result_of = rows[np.array(entry["dtIds"], np.int64) - 1]
        background[result_of[(entry["dtMatches"][0] == 0) & ~entry["dtIgnore"][0].astype(bool)]] = True
        for annotation, detection in zip(entry["gtIds"], entry["gtMatches"][0], strict=True):
            if detection and annotation in place:
                matched[place[annotation]] = rows[int(detection) - 1]
    background[matched[matched >= 0]] = False  # an annotation's id may be 0, which COCOeval takes for no match
    return matched, background
