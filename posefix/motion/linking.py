"""Link the people of successive frames into tracks.

Tracks are extrapolated at constant velocity and assigned to the people of the next frame by the Hungarian algorithm.
The similarity is the mean of OKS and the IoU of widened boxes, for fast people (C-BIoU: Yang et al., WACV 2023).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posefix.core import geometry
from posefix.core.errors import require
from posefix.core.people import People
from posefix.evaluation.matching import keypoint_similarity
from posefix.formats.source import absent
from posefix.motion.filters import median_of_known
from posefix.motion.tracks import MAX_GAP, frame_step

MIN_SIMILARITY = 0.1  # less similar poses are never linked
BOX_BUFFER = 0.3  # margin on each side of a box, as a share of its size
DAMPING = 0.9  # of the velocity per frame, so that missing people come to rest
NEWEST_SHARE = 0.5  # weight of the newest frame in the running mean of velocities
MISSING_COST = 0.01  # per missing frame, so that recent tracks come first


def link(people: People) -> People:
    """Return people with track ids, linking those who have none.

    Image ids are a video's frame numbers, in any order. Gaps have up to ``MAX_GAP`` frames. Empty poses, and people
    of images that do not exist, get no id.
    Tracks with existing ids take the most frequent one, except in frames where somebody else has it.
    """
    known = people.labelled.any(1) & ~absent(people)
    if not (known & (people.track_ids < 0)).any():
        return people
    linker = Linker(people.skeleton.sigmas, frame_step(people.image_ids[~absent(people)]))
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(people.image_ids[rows], kind="stable")]
    frames, starts = np.unique(people.image_ids[rows], return_index=True)
    boxes = geometry.pose_boxes(people.keypoints, people.labelled)
    track_ids = np.full(len(people), -1, np.int64)
    for frame, r in zip(frames.tolist(), np.split(rows, starts[1:]), strict=False):
        track_ids[r] = linker.follow(frame, people.keypoints[r], people.scores[r], boxes[r])
    if (people.track_ids >= 0).any():
        track_ids = _completed(people, track_ids)
    return replace(people, track_ids=track_ids)


def _completed(people: People, linked: np.ndarray) -> np.ndarray:
    """Complete the track ids of people (N,) with the ids ``linked`` (N,) found by linking."""
    has_id = people.track_ids >= 0
    missing = np.flatnonzero(~has_id & (linked >= 0))
    ids: np.ndarray = people.track_ids.copy()
    new = linked + people.track_ids.max()  # larger than all ids in use
    for track_id in np.unique(linked[missing]):
        candidates, counts = np.unique(ids[has_id & (linked == track_id)], return_counts=True)
        rows = missing[linked[missing] == track_id]
        ids[rows] = candidates[np.argmax(counts)] if len(candidates) else new[rows]
    rows = np.append(np.flatnonzero(has_id), missing)  # original ids come first
    first = np.unique(np.column_stack([people.image_ids, ids])[rows], axis=0, return_index=True)[1]
    taken = rows[np.setdiff1d(np.arange(has_id.sum(), len(rows)), first)]
    ids[taken] = new[taken]
    return ids


class Linker:
    """Link people frame by frame, as needed for live video.

    Args:
        sigmas: (K,) the skeleton's OKS sigmas.
        step: difference of the numbers of successive frames.
    """

    def __init__(self, sigmas: np.ndarray, step: int = 1) -> None:
        self._assign = require("scipy.optimize", "video", "linking people").linear_sum_assignment
        self._sigmas, self._step = np.asarray(sigmas), step
        self._next_id = 1  # AlphaPose uses 0 for people without a track
        k = len(self._sigmas)
        self._ids, self._frames = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._keypoints, self._scores = np.zeros((0, k, 2)), np.zeros((0, k))
        self._boxes, self._velocities = np.zeros((0, 4)), np.zeros((0, 2))  # px, px a frame

    def follow(
        self, frame: int, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the track ids (N,) int64 of the people in the next frame.

        Args:
            frame: frame number, larger than all before.
            keypoints: (N, K, 2) pixels.
            scores: (N, K) confidences; 0 where there is no estimate.
            boxes: (N, 4) xywh around the keypoints, computed if not given.
        """
        boxes = geometry.pose_boxes(keypoints, scores > 0) if boxes is None else boxes
        self._forget(self._ids[frame - self._frames > (MAX_GAP + 1) * self._step])
        elapsed = (frame - self._frames)[:, None] / self._step
        shift = self._velocities * (1 - DAMPING**elapsed) / (1 - DAMPING)
        similarity = self._similarity(shift, keypoints, scores, boxes)
        similarity -= np.where(similarity >= MIN_SIMILARITY, MISSING_COST * (elapsed - 1), 0)
        tracks, matches = self._assign(np.where(similarity >= MIN_SIMILARITY, -similarity, 0.0))
        linked = similarity[tracks, matches] >= MIN_SIMILARITY
        tracks, matches = tracks[linked], matches[linked]

        ids, velocities = np.full(len(keypoints), -1, np.int64), np.zeros((len(keypoints), 2))
        ids[matches] = self._ids[tracks]
        shared = (self._scores[tracks] > 0) & (scores[matches] > 0)
        motion = median_of_known(keypoints[matches] - self._keypoints[tracks], shared)
        velocities[matches] = (1 - NEWEST_SHARE) * self._velocities[tracks] + NEWEST_SHARE * motion / elapsed[tracks]
        is_new = ids < 0
        ids[is_new] = self._next_id + np.arange(is_new.sum())
        self._next_id += int(is_new.sum())

        self._forget(ids)
        self._ids = np.concatenate([self._ids, ids])
        self._frames = np.concatenate([self._frames, np.full(len(ids), frame)])
        self._keypoints = np.concatenate([self._keypoints, keypoints])
        self._scores = np.concatenate([self._scores, scores])
        self._boxes = np.concatenate([self._boxes, boxes])
        self._velocities = np.concatenate([self._velocities, velocities])
        return ids

    def _forget(self, ids: np.ndarray) -> None:
        kept = ~np.isin(self._ids, ids)
        for name in ("_ids", "_frames", "_keypoints", "_scores", "_boxes", "_velocities"):
            setattr(self, name, getattr(self, name)[kept])

    def _similarity(
        self, shift: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray
    ) -> np.ndarray:
        """Return (M, N) float64 similarities in [0, 1] of M tracks, moved by ``shift`` (M, 2) px, and N people."""
        areas = np.sqrt(geometry.areas_of(self._boxes)[:, None] * geometry.areas_of(boxes))
        ks = keypoint_similarity((self._keypoints + shift[:, None])[:, None], keypoints, areas, self._sigmas)
        weights = np.sqrt(np.clip(self._scores, 0, None)[:, None] * np.clip(scores, 0, None)[None])
        oks = (weights * ks).sum(-1) / np.maximum(weights.sum(-1), 1e-9)
        predicted = self._boxes + np.pad(shift, ((0, 0), (0, 2)))
        similarity: np.ndarray = (oks + geometry.iou(_widened(predicted)[:, None], _widened(boxes))) / 2
        return similarity


def _widened(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[..., :2] - BOX_BUFFER * boxes[..., 2:], (1 + 2 * BOX_BUFFER) * boxes[..., 2:]], -1)
