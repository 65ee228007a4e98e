"""Tracks: one person over the frames of a video, as arrays over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People, concatenate

LONGEST_GAP = 30  # frames for which a person may be missing within a track


@dataclass(frozen=True, eq=False)
class Track:
    """One person over T frames, in order of time; the frames of gaps are among them, but for long gaps.

    Attributes:
        track_id: as :attr:`People.track_ids`.
        frames: (T,) int64 frame numbers, ascending.
        times: (T,) float64 seconds, ascending.
        keypoints: (T, K, 3) float64 x, y in pixels and confidence; NaN, NaN, 0 where there is no estimate.
        rows: (T,) int64 whose places among the people these are; -1 in gaps.
    """

    track_id: int
    frames: np.ndarray
    times: np.ndarray
    keypoints: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


def tracks_of(
    people: People, fps: float = 30.0, times: np.ndarray | None = None, longest_gap: int = LONGEST_GAP
) -> list[Track]:
    """The tracks of people who have track ids, by ascending id; who has none is in no track.

    Image ids are frame numbers. Where results are of every n-th frame only, those frames are the video's.

    Args:
        people: N people; :func:`posefix.motion.linking.link` gives them track ids.
        fps: frames a second, if there are no ``times``.
        times: (F,) seconds of frames 0, 1, ... of a video, ascending; they go on evenly for people beyond its end.
        longest_gap: frames of longer gaps are not among those of a track.

    Raises:
        InputError: two people in a frame have the same track id, times do not ascend, or ``fps`` is not above 0.
    """
    require_above_zero(fps, "fps")
    rows = np.flatnonzero(people.track_ids >= 0)
    rows = rows[np.lexsort((people.image_ids[rows], people.track_ids[rows]))]
    ids, frames = people.track_ids[rows], people.image_ids[rows]
    twice = np.flatnonzero((np.diff(ids) == 0) & (np.diff(frames) == 0))
    if len(twice):
        first, second = sorted(rows[twice[0] : twice[0] + 2].tolist())
        raise InputError(
            f"records {first} and {second} are two people with the track id {ids[twice[0]]} in frame "
            f"{frames[twice[0]]}: give each person an id of their own, or remove the ids"
        )
    if times is not None:
        times = np.asarray(times, np.float64)
        if len(back := np.flatnonzero(~(np.diff(times) > 0))):
            early, late = times[back[0] : back[0] + 2]
            raise InputError(f"frame {back[0] + 1} is at {late:g} s, frame {back[0]} at {early:g} s: times must ascend")
    step = frame_step(people.image_ids)
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    return [_track(people, part, step, longest_gap, fps, times) for part in np.split(rows, starts[1:]) if len(part)]


def with_tracks(people: People, tracks: Sequence[Track]) -> tuple[People, np.ndarray]:
    """People with the keypoints and confidences of their tracks where these have an estimate.

    A track's frames without a record but with an estimate become new people, who have the mean confidence as their
    score and come right after the people of the frames before, if these are in order, else last.

    Returns:
        The people, and (N,) int64 whose place among those given each has, -1 of new ones.
    """
    keypoints, scores = people.keypoints.copy(), people.scores.copy()
    new: list[People] = []
    for track in tracks:
        known = np.isfinite(track.keypoints).all(-1)
        old = track.rows >= 0
        rows, known_old = track.rows[old], known[old]
        keypoints[rows] = np.where(known_old[..., None], track.keypoints[old, :, :2], keypoints[rows])
        scores[rows] = np.where(known_old, track.keypoints[old, :, 2], scores[rows])
        if (filled := ~old & known.any(1)).any():
            new.append(_filled(people, track, filled, known))
    changed = people.with_keypoints(keypoints, scores)
    rows = np.arange(len(people))
    if not new:
        return changed, rows
    whole = replace(concatenate([changed, *new]), source=people.source)
    rows = np.append(rows, np.full(len(whole) - len(people), -1))
    if (np.diff(people.image_ids) < 0).any():
        return whole, rows
    order = np.argsort(whole.image_ids, kind="stable")
    return whole[order], rows[order]


def frame_step(frames: np.ndarray) -> int:
    """By how much the numbers of successive frames differ, mostly; 1 if there are fewer than two."""
    steps = np.diff(np.unique(frames))
    if not len(steps):
        return 1
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def times_at(frames: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Seconds (T,) of frames (T,); those that are not among the frames 0, 1, ... with ``times`` (F,) go on evenly."""
    last = len(times) - 1
    step = float(np.median(np.diff(times))) if last > 0 else 1 / 30
    within = np.clip(frames, 0, last)
    seconds: np.ndarray = times[within] + step * (frames - within)
    return seconds


def _track(
    people: People, part: np.ndarray, step: int, longest_gap: int, fps: float, seconds: np.ndarray | None
) -> Track:
    """The track of the people in the rows ``part``, who are in order of time."""
    known = people.image_ids[part]
    gaps = np.flatnonzero((np.diff(known) > step) & (np.diff(known) <= (longest_gap + 1) * step))
    missing = [np.arange(known[gap] + step, known[gap + 1], step) for gap in gaps]
    frames = np.sort(np.concatenate([known, *missing]))
    places = np.searchsorted(frames, known)
    rows = np.full(len(frames), -1, np.int64)
    rows[places] = part
    keypoints = np.full((len(frames), len(people.skeleton), 3), (np.nan, np.nan, 0.0))
    xyc = np.dstack([people.keypoints[part], people.scores[part]])
    keypoints[places] = np.where(xyc[..., 2:] > 0, xyc, (np.nan, np.nan, 0.0))
    times = frames / fps if seconds is None else times_at(frames, seconds)
    return Track(int(people.track_ids[part[0]]), frames, times, keypoints, rows)


def _filled(people: People, track: Track, chosen: np.ndarray, known: np.ndarray) -> People:
    """New people in the frames ``chosen`` (T,) bool of a track, with the estimates that are ``known`` (T, K) bool."""
    xyc, valid = np.where(known[..., None], track.keypoints, 0.0)[chosen], known[chosen]
    boxes = geometry.pose_boxes(xyc[..., :2], valid)
    return People(
        people.skeleton,
        xyc[..., :2],
        xyc[..., 2],
        track.frames[chosen],
        boxes=boxes,
        person_scores=xyc[..., 2].sum(1) / valid.sum(1),
        areas=geometry.areas_of(boxes),
        track_ids=np.full(len(xyc), track.track_id),
        extra=[None] * len(xyc),
    )
