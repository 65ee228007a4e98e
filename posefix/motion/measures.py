"""How good poses are in video: their position and, against an annotated track, their movement.

For every annotated person of every frame one result counts: that with the best score where the frame has one annotated
person, else the one that COCO's evaluation matches. e is the distance of a keypoint from its annotation, s the square
root of the person's area; all annotated keypoints count alike.

======================  ===============================================================================================
``position_error``      mean e, % of s
``pck05, pck10, pck20`` share of keypoints with e within 5, 10, 20 % of the longer side of the box (PCK, Yang and
                        Ramanan, TPAMI 2013); a frame without a result is wrong
``AP``                  OKS AP by COCOeval over the frames of all clips
``acceleration_error``  mean |a - a'|, a and a' the second differences of result and annotation, % of s per frame^2
                        (Kanazawa et al., CVPR 2019)
``smooth_acceleration_error`` the same with a' that of the annotations after a zero-phase low-pass of 6 Hz (Winter,
                        Biomechanics and Motor Control of Human Movement): annotations jitter themselves
``acceleration``        mean |a|; 0 for a pose at rest
``jerk``                mean |third difference|, % of s per frame^3
``swapped_pairs``       % of left/right pairs but the face's of which both keypoints have a similarity (OKS's) under 0.5
                        and are nearer to the annotation of the other
``swaps``               such pairs in 100 frames
``missing``             % of annotated frames without a result
``lost``                % of frames with OKS under 0.1: the result is elsewhere
``identity_switches``   how often an annotated person's result is of another track than before (Bernardin and
                        Stiefelhagen, 2008)
======================  ===============================================================================================

Differences are over successive frames that all have a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from posefix.core.errors import require
from posefix.core.people import People, concatenate
from posefix.evaluation.coco import Evaluation, Metrics, evaluate
from posefix.evaluation.comparison import draw_multiplicities, resampled_metrics, with_intervals
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import MATCH_OKS, keypoint_similarity, match_people
from posefix.motion.filters import interpolated
from posefix.motion.linking import link
from posefix.motion.tracks import frame_step, tracks_of

CUTOFF = 6.0  # Hz, of the low-pass on annotations
SHORT = 12  # frames; tracks of no more have no low-pass
WRONG = 0.5  # similarity below which a keypoint can be its counterpart's
PCK = {"pck05": 0.05, "pck10": 0.1, "pck20": 0.2}
# Each measure is the quotient of two sums over all frames, times a factor.
RATIOS = {
    "position_error": ("error", "found", 100),
    **{name: (name, "keypoints", 100) for name in PCK},
    "acceleration_error": ("acceleration_error", "triples", 100),
    "smooth_acceleration_error": ("smooth_acceleration_error", "triples", 100),
    "acceleration": ("acceleration", "triples", 100),
    "jerk": ("jerk", "quadruples", 100),
    "swapped_pairs": ("swapped", "pairs", 100),
    "swaps": ("swapped", "frames", 100),
    "missing": ("missing", "frames", 100),
    "lost": ("lost", "frames", 100),
}
LOWER_IS_BETTER = frozenset(RATIOS) - frozenset(PCK) | {"identity_switches"}


@dataclass(frozen=True, eq=False)
class Clip:
    """One video: its annotations, with frame numbers as image ids, and results in the same skeleton."""

    truth: GroundTruth
    results: People
    fps: float = 30.0

    @cached_property
    def sums(self) -> dict[str, float]:
        """The sums of which the measures are quotients, and the identity switches, over all annotated people."""
        people, results = self.truth.people, link(self.results)
        alone = len(np.unique(people.image_ids)) == len(people)
        one = alone and (people.track_ids < 0).all()
        people = replace(people, track_ids=np.zeros(len(people))) if one else link(people)
        matched = _best(people, results) if alone else match_people(people, results)
        step = frame_step(people.image_ids)
        totals = dict.fromkeys({name for quotient in RATIOS.values() for name in quotient[:2]}, 0.0)
        totals["identity_switches"] = 0.0
        for track in tracks_of(people, self.fps):
            there = track.rows >= 0
            rows = np.where(there, matched[track.rows], -1)
            found = np.where((rows >= 0)[:, None, None], results.keypoints[rows], np.nan)
            seen = there[:, None] & people.labelled[track.rows]
            annotated = Annotated(people[track.rows], there, seen, np.diff(track.frames, prepend=-1) == step)
            ids = results.track_ids[rows[rows >= 0]]
            sums = {
                **annotated.position_sums(found),
                **annotated.movement_sums(found, self.fps),
                "identity_switches": np.count_nonzero(np.diff(ids)),
            }
            totals = {name: total + float(sums[name]) for name, total in totals.items()}
        return totals


@dataclass(frozen=True, eq=False)
class Annotated:
    """An annotated person over T frames, with which results ``found`` (T, K, 2), NaN where there is none, are compared.

    Attributes:
        people: T people; in frames of a gap anything.
        there: (T,) bool frames with an annotation.
        seen: (T, K) bool annotated keypoints.
        follows: (T,) bool frames that follow the one before.
    """

    people: People
    there: np.ndarray
    seen: np.ndarray
    follows: np.ndarray

    @cached_property
    def scale(self) -> np.ndarray:
        """(T, 1) float64 square root of the person's area, px."""
        return np.sqrt(self.people.areas.astype(np.float64))[:, None]

    def position_sums(self, found: np.ndarray) -> dict[str, Any]:
        """What the measures of position are quotients of."""
        truth, skeleton = self.people.keypoints.astype(np.float64), self.people.skeleton
        got, annotated = np.isfinite(found[:, 0, 0]), self.seen.any(1)
        both = self.seen & got[:, None]
        distance = np.linalg.norm(found - truth, axis=-1)
        side = self.people.boxes[:, 2:].max(1, keepdims=True)
        similarity = np.nan_to_num(keypoint_similarity(found, truth, self.scale[:, 0] ** 2, skeleton.sigmas))
        oks = np.where(both, similarity, 0).sum(1) / np.maximum(self.seen.sum(1), 1)
        nearer = np.linalg.norm(found - truth[:, skeleton.flip], axis=-1) < distance
        swapped = both & (similarity < WRONG) & nearer
        limbs = np.flatnonzero((skeleton.flip > np.arange(len(skeleton))) & (skeleton.groups != "face"))
        return {
            "error": (distance / self.scale)[both].sum(),
            "found": both.sum(),
            "keypoints": self.seen.sum(),
            **{name: (both & (distance <= share * side)).sum() for name, share in PCK.items()},
            "swapped": (swapped & swapped[:, skeleton.flip])[:, limbs].sum(),
            "pairs": (both & both[:, skeleton.flip])[:, limbs].sum(),
            "frames": annotated.sum(),
            "missing": (annotated & ~got).sum(),
            "lost": (annotated & got & (oks < MATCH_OKS)).sum(),
        }

    def movement_sums(self, found: np.ndarray, fps: float) -> dict[str, Any]:
        """What the measures of movement are quotients of."""
        both = self.seen & np.isfinite(found[..., 0])
        two = both[1:] & both[:-1] & self.follows[1:, None]
        three, four = two[1:] & two[:-1], two[2:] & two[1:-1] & two[:-2]
        truth = self.people.keypoints.astype(np.float64)
        smooth = low_passed(truth, self.there, fps)
        move, real, slow = (np.diff(points, 2, axis=0) for points in (found, truth, smooth))

        def total(vectors: np.ndarray, where: np.ndarray) -> float:
            return float((np.linalg.norm(vectors, axis=-1) / self.scale[1 : 1 + len(vectors)])[where].sum())

        return {
            "acceleration_error": total(move - real, three),
            "smooth_acceleration_error": total(move - slow, three),
            "acceleration": total(move, three),
            "jerk": total(np.diff(move, axis=0), four),
            "triples": three.sum(),
            "quadruples": four.sum(),
        }


def measure_clips(clips: Sequence[Clip]) -> Metrics:
    """The measures of all clips together; None where there is nothing to measure."""
    return _metrics(_sums(clips), evaluate(*_together(clips)))


def compare_clips(
    before: Sequence[Clip], after: Sequence[Clip], resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, Metrics]:
    """The measures of two results of the same clips, and the gain with its 95 % interval by bootstrap over clips.

    Returns:
        As :func:`posefix.evaluation.comparison.compare` does, and in ``gain`` also ``filled``, the share of frames, in
        percent, that ``after`` fills.
    """
    sums, evaluations = [_sums(clips) for clips in (before, after)], [evaluate(*_together(c)) for c in (before, after)]
    first, second = (_metrics(*pair) for pair in zip(sums, evaluations, strict=True))
    weights = draw_multiplicities(len(before), resamples, rng)
    drawn = [_resampled(*pair, weights, before) for pair in zip(sums, evaluations, strict=True)]
    gains = with_intervals(first, second, {name: drawn[1][name] - drawn[0][name] for name in first})
    missing = gains["missing"]
    gains["filled"] = None if missing is None else max(-missing, 0.0)
    return {"before": first, "after": second, "gain": gains}


def low_passed(keypoints: np.ndarray, there: np.ndarray, fps: float) -> np.ndarray:
    """Annotations after a zero-phase, second-order Butterworth low-pass of ``CUTOFF``.

    Args:
        keypoints: (T, K, 2) pixels. What is not annotated is filtered, too, at the coordinates that it has.
        there: (T,) bool; frames without the person are interpolated.
        fps: frames a second.

    Returns:
        (T, K, 2) float64; ``keypoints`` itself of short tracks, and of videos too slow for the cutoff.
    """
    if len(keypoints) <= SHORT or fps <= 2 * CUTOFF:
        return keypoints
    signal = require("scipy.signal", "video", "measuring videos")
    known = np.broadcast_to(there[:, None], keypoints.shape[:2])
    whole = interpolated(np.arange(len(keypoints)), keypoints, known)
    filtered: np.ndarray = signal.filtfilt(*signal.butter(2, CUTOFF / (fps / 2)), whole, axis=0)
    return filtered


def _best(truth: People, results: People) -> np.ndarray:
    """(N,) int64 for each of N annotated people the row of the best result of their frame; -1 where there is none."""
    if not len(results):
        return np.full(len(truth), -1, np.int64)
    order = np.lexsort((-results.person_scores, results.image_ids))
    frames, first = np.unique(results.image_ids[order], return_index=True)
    place = np.minimum(np.searchsorted(frames, truth.image_ids), len(frames) - 1)
    return np.where(frames[place] == truth.image_ids, order[first][place], -1)


def _sums(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Each sum of :attr:`Clip.sums` as (C,) float64 over the clips."""
    return {name: np.array([clip.sums[name] for clip in clips]) for name in clips[0].sums}


def _metrics(sums: dict[str, np.ndarray], evaluation: Evaluation) -> Metrics:
    found = {name: float(value[0]) for name, value in _quotients(sums, np.ones((len(sums["found"]), 1))).items()}
    metrics: Metrics = {name: value if np.isfinite(value) else None for name, value in found.items()}
    switches = float(sums["identity_switches"].sum())
    return {**metrics, "AP": evaluation.metrics()["AP"], "identity_switches": switches}


def _quotients(sums: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure, (R,), with the clips counted as often as ``weights`` (C, R) say; NaN where there is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            name: factor * (sums[above] @ weights) / (sums[below] @ weights)
            for name, (above, below, factor) in RATIOS.items()
        }


def _resampled(
    sums: dict[str, np.ndarray], evaluation: Evaluation, weights: np.ndarray, clips: Sequence[Clip]
) -> dict[str, np.ndarray]:
    """Each measure, (R,), of resamples of the clips with multiplicities ``weights`` (C, R)."""
    images = np.repeat(weights, [len(clip.truth.image_ids) for clip in clips], axis=0)
    ap, switches = 100 * resampled_metrics(evaluation, images)[0], sums["identity_switches"] @ weights
    return {**_quotients(sums, weights), "AP": ap, "identity_switches": switches}


def _together(clips: Sequence[Clip]) -> tuple[GroundTruth, People]:
    """All clips as one data set, the images of each with ids above those of the one before."""
    merged: dict[str, list[Any]] = {"images": [], "annotations": []}
    results, first = [], 0
    for clip in clips:
        data, ids = clip.truth.coco.dataset, clip.truth.image_ids
        shift = first - int(ids[0])
        merged["images"] += [{**image, "id": image["id"] + shift} for image in data["images"]]
        for annotation in data["annotations"]:
            number = len(merged["annotations"]) + 1
            merged["annotations"].append({**annotation, "image_id": annotation["image_id"] + shift, "id": number})
        of_clip = clip.results[np.isin(clip.results.image_ids, ids)]
        results.append(replace(of_clip, image_ids=of_clip.image_ids + shift, source=None))
        first += int(ids[-1] - ids[0]) + 1
    truth = clips[0].truth
    dataset = {**merged, "categories": truth.coco.dataset["categories"]}
    return GroundTruth(dataset, truth.skeleton, truth.name), concatenate(results)
