"""Link the people of successive frames: who is who.

Tracks are continued at constant velocity and assigned to a frame's people at the least total cost (the Hungarian
algorithm); the cost is one less a similarity, half of it the OKS, half the overlap of widened boxes (C-BIoU: Yang et
al., WACV 2023), so that a fast person is found again. A person who is missing is looked for in the next frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posefix.core import geometry
from posefix.core.errors import require
from posefix.core.people import People
from posefix.evaluation.matching import keypoint_similarity
from posefix.motion.filters import median_of_known
from posefix.motion.tracks import LONGEST_GAP, frame_step

LEAST_SIMILARITY = 0.1  # below, two poses are of different people
BOX_BUFFER = 0.3  # of a box's size, by which it is widened on each side
DAMPING = 0.9  # of the velocity with each frame: who is missing does not walk on forever
NEWEST = 0.5  # weight of the last frame's velocity in the mean of all
MISSING_COST = 0.01  # for each frame that a person was missing: who was there last comes first


def link(people: People) -> People:
    """People with track ids: those that they have, and for all others those that linking finds.

    People are those of one video. Image ids are frame numbers; their order in the file does not matter. People without
    any estimate get no id; who is missing for at most ``LONGEST_GAP`` frames is still the same. Who is linked with
    people who have an id gets the one that most of them have, unless somebody in the frame has it already.
    """
    if not (people.labelled.any(1) & (people.track_ids < 0)).any():
        return people
    linker = Linker(people.skeleton.sigmas, LONGEST_GAP * frame_step(people.image_ids))
    rows = np.flatnonzero(people.labelled.any(1))
    rows = rows[np.argsort(people.image_ids[rows], kind="stable")]
    frames, starts = np.unique(people.image_ids[rows], return_index=True)
    boxes = geometry.pose_boxes(people.keypoints, people.labelled)
    track_ids = np.full(len(people), -1, np.int64)
    for frame, part in zip(frames.tolist(), np.split(rows, starts[1:]), strict=False):
        track_ids[part] = linker.follow(frame, people.keypoints[part], people.scores[part], boxes[part])
    if (people.track_ids >= 0).any():
        track_ids = _completed(people, track_ids)
    return replace(people, track_ids=track_ids)


def _completed(people: People, found: np.ndarray) -> np.ndarray:
    """The track ids (N,) that people have, and those that follow from ``found`` (N,) by linking for who has none."""
    given = people.track_ids >= 0
    without = np.flatnonzero(~given & (found >= 0))
    ids: np.ndarray = people.track_ids.copy()
    new = found + people.track_ids.max()  # larger than all that there are
    for track in np.unique(found[without]):
        theirs, counts = np.unique(ids[given & (found == track)], return_counts=True)
        rows = without[found[without] == track]
        ids[rows] = theirs[np.argmax(counts)] if len(theirs) else new[rows]
    rows = np.append(np.flatnonzero(given), without)  # who has an id keeps it
    first = np.unique(np.column_stack([people.image_ids, ids])[rows], axis=0, return_index=True)[1]
    taken = rows[np.setdiff1d(np.arange(given.sum(), len(rows)), first)]
    ids[taken] = new[taken]
    return ids


class Linker:
    """Say who is who frame by frame, as for live use.

    Args:
        sigmas: (K,) the skeleton's OKS sigmas.
        longest_gap: for how many frames a person may be missing and still be the same.
    """

    def __init__(self, sigmas: np.ndarray, longest_gap: int = LONGEST_GAP) -> None:
        self._assign = require("scipy.optimize", "video", "linking people").linear_sum_assignment
        self._sigmas, self._longest_gap = np.asarray(sigmas), longest_gap
        self._next = 1  # AlphaPose's 0 says that there is no track
        k = len(self._sigmas)
        self._ids, self._frames = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._keypoints, self._scores = np.zeros((0, k, 2)), np.zeros((0, k))
        self._boxes, self._velocities = np.zeros((0, 4)), np.zeros((0, 2))  # px, px a frame

    def follow(
        self, frame: int, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray | None = None
    ) -> np.ndarray:
        """The ids (N,) int64 of the people of a frame that is later than all before.

        Args:
            frame: its number.
            keypoints: (N, K, 2) pixels.
            scores: (N, K) confidences; 0 where there is no estimate.
            boxes: (N, 4) xywh around the keypoints, if they are known.
        """
        boxes = geometry.pose_boxes(keypoints, scores > 0) if boxes is None else boxes
        self._forget(self._ids[frame - self._frames > self._longest_gap + 1])
        elapsed = (frame - self._frames)[:, None]
        shift = self._velocities * (1 - DAMPING**elapsed) / (1 - DAMPING)
        similarity = self._similarity(shift, keypoints, scores, boxes)
        similarity -= np.where(similarity >= LEAST_SIMILARITY, MISSING_COST * (elapsed - 1), 0)
        tracks, found = self._assign(np.where(similarity >= LEAST_SIMILARITY, -similarity, 0.0))
        linked = similarity[tracks, found] >= LEAST_SIMILARITY
        tracks, found = tracks[linked], found[linked]

        ids, velocities = np.full(len(keypoints), -1, np.int64), np.zeros((len(keypoints), 2))
        ids[found] = self._ids[tracks]
        moved = _displacement(self._keypoints[tracks], self._scores[tracks], keypoints[found], scores[found])
        velocities[found] = (1 - NEWEST) * self._velocities[tracks] + NEWEST * moved / elapsed[tracks]
        new = ids < 0
        ids[new] = self._next + np.arange(new.sum())
        self._next += int(new.sum())

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
        """(M, N) float64 in [0, 1] of M tracks, shifted by (M, 2) px, and N people of a frame."""
        areas = np.sqrt(geometry.areas_of(self._boxes)[:, None] * geometry.areas_of(boxes))
        similar = keypoint_similarity((self._keypoints + shift[:, None])[:, None], keypoints, areas, self._sigmas)
        weights = np.sqrt(np.clip(self._scores, 0, None)[:, None] * np.clip(scores, 0, None)[None])
        oks = (weights * similar).sum(-1) / np.maximum(weights.sum(-1), 1e-9)
        predicted = self._boxes + np.pad(shift, ((0, 0), (0, 2)))
        found: np.ndarray = (oks + geometry.iou(_widened(predicted)[:, None], _widened(boxes))) / 2
        return found


def _widened(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[..., :2] - BOX_BUFFER * boxes[..., 2:], (1 + 2 * BOX_BUFFER) * boxes[..., 2:]], -1)


def _displacement(before: np.ndarray, scores: np.ndarray, after: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 2) px, the median of how far the keypoints that both poses have moved; 0 if they have none in common."""
    return median_of_known(after - before, (scores > 0) & (others > 0))
