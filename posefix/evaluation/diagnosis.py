"""What an estimator gets wrong (Ronchi and Perona, ICCV 2017): errors of keypoints, people missed, people made up.

Results are matched to annotated people as COCOeval does, at OKS 0.1, the best 20 results of an image, people of at
least 32 x 32 px^2. Every annotated keypoint of a matched person is then Good, Jitter, Inversion, Swap or Miss; see
:mod:`synth.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.core.skeleton import GROUPS
from posefix.evaluation.coco import coco_evaluation
from posefix.evaluation.ground_truth import GroundTruth, quietly
from posefix.evaluation.matching import MATCH_OKS
from posefix.refine.rescoring import estimator_scores
from synth import ErrorType, Neighbours, Observation, classify, neighbour_index

MIN_AREA = 32.0**2  # px^2; smaller people are matched but do not count
LARGE_AREA = 96.0**2  # px^2, COCO's border between medium and large
MAX_DETECTIONS = 20  # of an image, the best by score
KINDS = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
VISIBLE = {"1 to 5": (1, 5), "6 to 10": (6, 10), "11 or more": (11, None)}
OVERLAPS = {"none": (0, 0), "1 or 2": (1, 2), "3 or more": (3, None)}


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The errors of N results on T annotated people that count.

    Attributes:
        truth: T people, of at least ``MIN_AREA``.
        results: N results as they were given.
        matched: (T,) int64 row of ``results`` that was matched to each person, -1 where nobody was found.
        background: (N,) bool, results that are among the best of their image and nobody's: false positives.
        types: (T, K) int8 :class:`synth.ErrorType`; UNLABELLED where the truth is not annotated or nobody was found.
        similarity: (T, K) float32 keypoint similarity of the best candidate.
        neighbours: everybody else in the image of each person, with whom keypoints can be swapped.
        unknown_images: how many results are of images that the annotations lack.
    """

    truth: People
    results: People
    matched: np.ndarray
    background: np.ndarray
    types: np.ndarray
    similarity: np.ndarray
    neighbours: Neighbours
    unknown_images: int = 0

    @property
    def found(self) -> np.ndarray:
        """(T,) bool: people with a result."""
        return self.matched >= 0

    def counts(self, keypoints: np.ndarray | None = None) -> np.ndarray:
        """(5,) int64 keypoints of each error type from GOOD on, of those chosen by a mask that broadcasts to (T, K)."""
        chosen = self.types >= 0
        if keypoints is not None:
            chosen = chosen & keypoints
        return np.bincount(self.types[chosen], minlength=len(KINDS))

    def by_keypoint(self) -> np.ndarray:
        """(K, 5) int64 counts for each keypoint."""
        return np.stack([(self.types == kind).sum(0) for kind in KINDS], axis=1)

    def breakdown(self) -> dict[str, dict[str, np.ndarray]]:
        """Counts (5,) by keypoint, body group, annotated keypoints, overlapping people, size and the result's score.

        Scores are cut into thirds of the matched results.
        """
        skeleton, visible = self.truth.skeleton, self.truth.labelled.sum(1)
        large = self.truth.areas >= LARGE_AREA
        scores = np.full(len(self.truth), np.nan)
        scores[self.found] = self.results.person_scores[self.matched[self.found]]
        thirds = _thirds(scores)
        return {
            "keypoint": dict(zip(skeleton.keypoint_names, self.by_keypoint(), strict=True)),
            "group": {name: self.counts(skeleton.group(name)) for name in GROUPS},
            "annotated keypoints": {n: self.counts(_within(visible, r)[:, None]) for n, r in VISIBLE.items()},
            "overlapping people": {
                n: self.counts(_within(self.neighbours.overlaps, r)[:, None]) for n, r in OVERLAPS.items()
            },
            "size": {"medium": self.counts(~large[:, None]), "large": self.counts(large[:, None])},
            "score": {n: self.counts((thirds == i)[:, None]) for i, n in enumerate(("lowest", "middle", "highest"))},
        }

    def with_results(self, results: People) -> Diagnosis:
        """The errors of other N results in the same order, each of the person to whom it was matched before."""
        return _classified(self.truth, results, self.matched, self.background, self.neighbours, self.unknown_images)

    def corrected(self, kind: ErrorType) -> People:
        """The results with every keypoint of one error type moved to its truth."""
        keypoints = self.results.keypoints.copy()
        people, columns = np.nonzero(self.types == kind)
        keypoints[self.matched[people], columns] = self.truth.keypoints[people, columns]
        return self.results.with_keypoints(keypoints)

    def observation(self) -> Observation:
        """What :mod:`synth.fit` measures, of the people who were found."""
        rows = np.flatnonzero(self.found)
        results = self.results[self.matched[rows]]
        return Observation(self.truth[rows], results.keypoints, results.scores > 0, self.neighbours.take(rows))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "people": len(self.truth),
            "found": int(self.found.sum()),
            "missed": int((~self.found).sum()),
            "background": int(self.background.sum()),
            "unknown_images": self.unknown_images,
            "errors": _named(self.counts()),
            "by": {
                name: {label: _named(counts) for label, counts in rows.items()}
                for name, rows in self.breakdown().items()
            },
        }


def diagnose(
    truth: GroundTruth, results: People, *, min_area: float = MIN_AREA, max_detections: int = MAX_DETECTIONS
) -> Diagnosis:
    """Find the errors of results.

    Args:
        truth: what is right.
        results: N results in the skeleton of the ground truth.
        min_area: px^2, of the people who count.
        max_detections: how many results of an image are looked at, the best by score.

    Raises:
        InputError: when results are of another number of keypoints, or not finite.
    """
    everybody = truth.people
    counts = everybody.areas >= min_area
    people = everybody[counts]
    evaluation, rows = coco_evaluation(truth, results)
    evaluation.params.iouThrs = np.array([MATCH_OKS])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[min_area, 1e10]], ["counted"]
    evaluation.params.maxDets = [max_detections]
    with quietly(), np.errstate(over="ignore", invalid="ignore"):
        evaluation.evaluate()
    matched, background = _matches(evaluation.evalImgs, [a["id"] for a in people.extra], rows, len(results))
    neighbours = neighbour_index(everybody).gather(everybody, counts)
    return _classified(people, results, matched, background, neighbours, len(results) - len(rows))


def _classified(
    truth: People,
    results: People,
    matched: np.ndarray,
    background: np.ndarray,
    neighbours: Neighbours,
    unknown_images: int,
) -> Diagnosis:
    types = np.full(truth.scores.shape, ErrorType.UNLABELLED, np.int8)
    similarity = np.zeros(truth.scores.shape, np.float32)
    found = np.flatnonzero(matched >= 0)
    if len(found):
        types[found], similarity[found] = classify(
            results.keypoints[matched[found]], truth[found], neighbours.take(found)
        )
    return Diagnosis(truth, results, matched, background, types, similarity, neighbours, unknown_images)


def transitions(before: Diagnosis, after: Diagnosis) -> np.ndarray:
    """(5, 5) int64 counts of keypoints by error type before (rows) and after (columns), in the order of ``KINDS``.

    Where the two are the same people in the same order (see :func:`same_people`), each keypoint is followed in the
    result that was matched before; else people are compared who were found both times.
    """
    earlier = before.types
    later = before.with_results(after.results).types if same_people(before, after) else after.types
    both = (earlier >= 0) & (later >= 0)
    pairs = earlier[both].astype(np.int64) * len(KINDS) + later[both]
    return np.bincount(pairs, minlength=len(KINDS) ** 2).reshape(len(KINDS), len(KINDS))


def same_people(before: Diagnosis, after: Diagnosis) -> bool:
    """Whether two results have the same images, boxes and scores of the estimator in the same order, as if refined."""
    pairs = [[getattr(seen.results, name) for seen in (before, after)] for name in ("image_ids", "boxes")]
    first, second = (estimator_scores(seen.results) for seen in (before, after))
    same = all(np.array_equal(one, other) for one, other in pairs)
    return same and np.allclose(first, second, rtol=1e-5, atol=1e-6)  # a written score is rounded


def _matches(
    evaluated: list[dict[str, Any] | None], ids: list[int], rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """What COCOeval matched.

    Args:
        evaluated: its ``evalImgs`` of one threshold and area range.
        ids: T annotation ids.
        rows: (D,) row of each detection among the results.
        count: N results.

    Returns:
        (T,) int64 row of the result of each annotation, -1 for none, and (N,) bool, results that are nobody's.
    """
    matched, background = np.full(len(ids), -1, np.int64), np.zeros(count, bool)
    place = {annotation: row for row, annotation in enumerate(ids)}
    for entry in evaluated:
        if entry is None:
            continue
        result_of = rows[np.array(entry["dtIds"], np.int64) - 1]
        background[result_of[(entry["dtMatches"][0] == 0) & ~entry["dtIgnore"][0].astype(bool)]] = True
        for annotation, detection in zip(entry["gtIds"], entry["gtMatches"][0], strict=True):
            if detection and annotation in place:
                matched[place[annotation]] = rows[int(detection) - 1]
    background[matched[matched >= 0]] = False  # also where the annotation's id is 0, COCOeval's sign for nobody
    return matched, background


def _within(values: np.ndarray, bounds: tuple[int, int | None]) -> np.ndarray:
    low, high = bounds
    return (values >= low) & (values <= (np.inf if high is None else high))


def _thirds(scores: np.ndarray) -> np.ndarray:
    """(T,) 0, 1 or 2: the third of the scores that each falls into, equal ones into the same; -1 for NaN."""
    known = np.isfinite(scores)
    if not known.any():
        return np.full(len(scores), -1)
    ranked = np.sort(scores[known])
    rank = np.searchsorted(ranked, scores[known]) / len(ranked)
    thirds = np.full(len(scores), -1)
    thirds[known] = np.minimum((3 * rank).astype(int), 2)
    return thirds


def _named(counts: np.ndarray) -> dict[str, int]:
    return {kind.name.capitalize(): int(count) for kind, count in zip(KINDS, counts, strict=True)}
