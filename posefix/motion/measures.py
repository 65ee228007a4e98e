"""Measure poses in videos: their positions and, along annotated tracks, their movement.

Each annotated person in each frame is compared with one result: the best-scored one if the video has one annotated
person per frame, else the match of COCO's evaluation. e is the distance of a keypoint from its annotation, s =
sqrt(area) of the person; all annotated keypoints have equal weight.

======================  ===============================================================================================
``position_error``      mean e, % of s
``pck05, pck10, pck20`` % of keypoints with e within 5, 10, 20 % of the longer side of the box (PCK, Yang and Ramanan,
                        TPAMI 2013); frames without a result count as wrong
``AP``                  OKS AP by COCOeval over the frames of all clips
``acceleration_error``  mean |a - a'|, the second differences of result and annotation, % of s per frame^2 (Kanazawa
                        et al., CVPR 2019)
``smooth_acceleration_error`` the same, with a' of the annotations after a zero-phase low-pass of 6 Hz (Winter,
                        Biomechanics and Motor Control of Human Movement), since annotations jitter, too
``acceleration``        mean |a|
``jerk``                mean |third difference|, % of s per frame^3
``swapped_pairs``       % of left/right pairs, without the face, whose keypoints both have a similarity (KS) under 0.5
                        and are nearer to the annotation of their counterpart
``swaps``               such pairs per 100 frames
``missing``             % of annotated frames without a result
``lost``                % of frames with OKS under 0.1
``identity_switches``   number of changes of the track matched with a person (Bernardin and Stiefelhagen, 2008)
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
SHORT_TRACK = 12  # frames; tracks up to this length are not low-passed
WRONG_KS = 0.5  # KS below which a keypoint can be swapped with its counterpart
PCK = {"pck05": 0.05, "pck10": 0.1, "pck20": 0.2}
# Each measure is a quotient of two sums over all frames, times a factor.
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
UNITS = {  # "%" of what: see above
    **dict.fromkeys(RATIOS, "%"),
    **dict.fromkeys(("acceleration_error", "smooth_acceleration_error", "acceleration"), "%/frame^2"),
    "jerk": "%/frame^3",
    "swaps": "per 100 frames",
    "AP": "%",
}


@dataclass(frozen=True, eq=False)
class Clip:
    """One video: its annotations, with frame numbers as image ids, and results in the same skeleton."""

    truth: GroundTruth
    results: People
    fps: float = 30.0

    @cached_property
    def sums(self) -> dict[str, float]:
        """The numerators and denominators of all measures, and the identity switches, over all annotated people."""
        people, results = self.truth.people, link(self.results)
        single_person = len(np.unique(people.image_ids)) == len(people)
        untracked = single_person and (people.track_ids < 0).all()
        people = replace(people, track_ids=np.zeros(len(people))) if untracked else link(people)
        matched = _best_rows(people, results) if single_person else match_people(people, results)
        step = frame_step(people.image_ids)
        totals = dict.fromkeys({name for ratio in RATIOS.values() for name in ratio[:2]}, 0.0)
        totals["identity_switches"] = 0.0
        for track in tracks_of(people, self.fps):
            in_frame = track.rows >= 0
            rows = np.where(in_frame, matched[track.rows], -1)
            predictions = np.full((len(rows), *results.keypoints.shape[1:]), np.nan)
            predictions[rows >= 0] = results.keypoints[rows[rows >= 0]]
            labelled = in_frame[:, None] & people.labelled[track.rows]
            truth = Annotated(people[track.rows], in_frame, labelled, np.diff(track.frames, prepend=-1) == step)
            ids = results.track_ids[rows[rows >= 0]]
            sums = {
                **truth.position_sums(predictions),
                **truth.movement_sums(predictions, self.fps),
                "identity_switches": np.count_nonzero(np.diff(ids)),
            }
            totals = {name: total + float(sums[name]) for name, total in totals.items()}
        return totals


@dataclass(frozen=True, eq=False)
class Annotated:
    """The annotations of a person over T frames, for comparison with predictions (T, K, 2), NaN where there are none.

    Attributes:
        people: T people; arbitrary in frames of a gap.
        present: (T,) bool frames with an annotation.
        labelled: (T, K) bool annotated keypoints.
        follows: (T,) bool frames that directly follow the row before.
    """

    people: People
    present: np.ndarray
    labelled: np.ndarray
    follows: np.ndarray

    @cached_property
    def scale(self) -> np.ndarray:
        """(T, 1) float64 sqrt(area) of the person, px."""
        return np.sqrt(self.people.areas.astype(np.float64))[:, None]

    def position_sums(self, predictions: np.ndarray) -> dict[str, Any]:
        """Return the numerators and denominators of the measures of position."""
        truth, skeleton = self.people.keypoints.astype(np.float64), self.people.skeleton
        detected, annotated = np.isfinite(predictions[:, 0, 0]), self.labelled.any(1)
        valid = self.labelled & detected[:, None]
        distance = np.linalg.norm(predictions - truth, axis=-1)
        side = self.people.boxes[:, 2:].max(1, keepdims=True)
        similarity = np.nan_to_num(keypoint_similarity(predictions, truth, self.scale[:, 0] ** 2, skeleton.sigmas))
        oks = np.where(valid, similarity, 0).sum(1) / np.maximum(self.labelled.sum(1), 1)
        nearer = np.linalg.norm(predictions - truth[:, skeleton.flip], axis=-1) < distance
        swapped = valid & (similarity < WRONG_KS) & nearer
        left_keypoints = np.flatnonzero((skeleton.flip > np.arange(len(skeleton))) & (skeleton.groups != "face"))
        return {
            "error": (distance / self.scale)[valid].sum(),
            "found": valid.sum(),
            "keypoints": self.labelled.sum(),
            **{name: (valid & (distance <= share * side)).sum() for name, share in PCK.items()},
            "swapped": (swapped & swapped[:, skeleton.flip])[:, left_keypoints].sum(),
            "pairs": (valid & valid[:, skeleton.flip])[:, left_keypoints].sum(),
            "frames": annotated.sum(),
            "missing": (annotated & ~detected).sum(),
            "lost": (annotated & detected & (oks < MATCH_OKS)).sum(),
        }

    def movement_sums(self, predictions: np.ndarray, fps: float) -> dict[str, Any]:
        """Return the numerators and denominators of the measures of movement."""
        valid = self.labelled & np.isfinite(predictions[..., 0])
        pairs = valid[1:] & valid[:-1] & self.follows[1:, None]
        triples, quadruples = pairs[1:] & pairs[:-1], pairs[2:] & pairs[1:-1] & pairs[:-2]
        truth = self.people.keypoints.astype(np.float64)
        smooth = low_passed(truth, self.present, fps)
        second, true_second, smooth_second = (np.diff(points, 2, axis=0) for points in (predictions, truth, smooth))

        def total(vectors: np.ndarray, mask: np.ndarray) -> float:
            return float((np.linalg.norm(vectors, axis=-1) / self.scale[1 : 1 + len(vectors)])[mask].sum())

        return {
            "acceleration_error": total(second - true_second, triples),
            "smooth_acceleration_error": total(second - smooth_second, triples),
            "acceleration": total(second, triples),
            "jerk": total(np.diff(second, axis=0), quadruples),
            "triples": triples.sum(),
            "quadruples": quadruples.sum(),
        }


def measure_clips(clips: Sequence[Clip]) -> Metrics:
    """Measure all clips together; None where there is nothing to measure."""
    return _metrics(_sums(clips), evaluate(*_merged(clips)))


def compare_clips(
    before: Sequence[Clip], after: Sequence[Clip], resamples: int = 1000, *, rng: np.random.Generator
) -> dict[str, Metrics]:
    """Compare two results of the same clips, with 95 % bootstrap intervals over clips for the gains.

    Returns:
        As :func:`posefix.evaluation.comparison.compare`, and in ``gain`` ``filled``: % of frames only in ``after``.
    """
    sums, evaluations = [_sums(clips) for clips in (before, after)], [evaluate(*_merged(c)) for c in (before, after)]
    first, second = (_metrics(*pair) for pair in zip(sums, evaluations, strict=True))
    weights = draw_multiplicities(len(before), resamples, rng)
    drawn = [_resampled(*pair, weights, before) for pair in zip(sums, evaluations, strict=True)]
    gains = with_intervals(first, second, {name: drawn[1][name] - drawn[0][name] for name in first})
    missing = gains["missing"]
    gains["filled"] = None if missing is None else max(-missing, 0.0)
    return {"before": first, "after": second, "gain": gains}


def low_passed(keypoints: np.ndarray, present: np.ndarray, fps: float) -> np.ndarray:
    """Apply a zero-phase, second-order Butterworth low-pass of ``CUTOFF`` to annotations.

    Args:
        keypoints: (T, K, 2) pixels; keypoints without annotation are filtered, too.
        present: (T,) bool; frames without the person are interpolated.
        fps: frames per second.

    Returns:
        (T, K, 2) float64; unchanged if the track is too short, or the frame rate too low for the cutoff.
    """
    if len(keypoints) <= SHORT_TRACK or fps <= 2 * CUTOFF:
        return keypoints
    signal = require("scipy.signal", "video", "measuring videos")
    valid = np.broadcast_to(present[:, None], keypoints.shape[:2])
    dense = interpolated(np.arange(len(keypoints)), keypoints, valid)
    filtered: np.ndarray = signal.filtfilt(*signal.butter(2, CUTOFF / (fps / 2)), dense, axis=0)
    return filtered


def _best_rows(truth: People, results: People) -> np.ndarray:
    """Return (N,) int64 row of the best-scored result in each annotated person's frame; -1 if there is none."""
    if not len(results):
        return np.full(len(truth), -1, np.int64)
    order = np.lexsort((-results.person_scores, results.image_ids))
    frames, first = np.unique(results.image_ids[order], return_index=True)
    index = np.minimum(np.searchsorted(frames, truth.image_ids), len(frames) - 1)
    return np.where(frames[index] == truth.image_ids, order[first][index], -1)


def _sums(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Return each sum of :attr:`Clip.sums` as (C,) float64 over the clips."""
    return {name: np.array([clip.sums[name] for clip in clips]) for name in clips[0].sums}


def _metrics(sums: dict[str, np.ndarray], evaluation: Evaluation) -> Metrics:
    ratios = {name: float(value[0]) for name, value in _quotients(sums, np.ones((len(sums["found"]), 1))).items()}
    metrics: Metrics = {name: value if np.isfinite(value) else None for name, value in ratios.items()}
    switches = float(sums["identity_switches"].sum())
    return {**metrics, "AP": evaluation.metrics()["AP"], "identity_switches": switches}


def _quotients(sums: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return each measure (R,), with clips counted ``weights`` (C, R) times; NaN where there is nothing to measure."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            name: factor * (sums[numerator] @ weights) / (sums[denominator] @ weights)
            for name, (numerator, denominator, factor) in RATIOS.items()
        }


def _resampled(
    sums: dict[str, np.ndarray], evaluation: Evaluation, weights: np.ndarray, clips: Sequence[Clip]
) -> dict[str, np.ndarray]:
    """Return each measure (R,) of bootstrap resamples with multiplicities ``weights`` (C, R) of the clips."""
    images = np.repeat(weights, [len(clip.truth.image_ids) for clip in clips], axis=0)
    ap, switches = 100 * resampled_metrics(evaluation, images)[0], sums["identity_switches"] @ weights
    return {**_quotients(sums, weights), "AP": ap, "identity_switches": switches}


def _merged(clips: Sequence[Clip]) -> tuple[GroundTruth, People]:
    """Merge all clips into one data set with distinct image ids."""
    merged: dict[str, list[Any]] = {"images": [], "annotations": []}
    results, next_id = [], 0
    for clip in clips:
        data, ids = clip.truth.coco.dataset, clip.truth.image_ids
        shift = next_id - int(ids[0])
        merged["images"] += [{**image, "id": image["id"] + shift} for image in data["images"]]
        for annotation in data["annotations"]:
            new_id = len(merged["annotations"]) + 1
            merged["annotations"].append({**annotation, "image_id": annotation["image_id"] + shift, "id": new_id})
        clip_results = clip.results[np.isin(clip.results.image_ids, ids)]
        results.append(replace(clip_results, image_ids=clip_results.image_ids + shift, source=None))
        next_id += int(ids[-1] - ids[0]) + 1
    truth = clips[0].truth
    dataset = {**merged, "categories": truth.coco.dataset["categories"]}
    return GroundTruth(dataset, truth.skeleton, truth.name), concatenate(results)
