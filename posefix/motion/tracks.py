"""Tracks: one person over the frames of a video, as arrays over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People, concatenate, require_pixels
from posefix.formats.source import absent

MAX_GAP = 30  # frames that a person may be missing within a track


@dataclass(frozen=True, eq=False)
class Track:
    """One person over T frames, in order of time, including the frames of short gaps.

    Attributes:
        track_id: as :attr:`People.track_ids`.
        frames: (T,) int64 frame numbers, ascending.
        times: (T,) float64 seconds, ascending.
        keypoints: (T, K, 3) float64 x, y in pixels and confidence; NaN, NaN, 0 where there is no estimate.
        rows: (T,) int64 index among the people; -1 in gaps.
    """

    track_id: int
    frames: np.ndarray
    times: np.ndarray
    keypoints: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


def tracks_of(
    people: People, fps: float = 30.0, times: np.ndarray | None = None, longest_gap: int = MAX_GAP
) -> list[Track]:
    """Return the tracks of all people with track ids, by ascending id.

    Image ids are frame numbers. If results exist for every n-th frame only, the others are not gaps. People of images
    that do not exist are in no track.

    Args:
        people: N people; :func:`posefix.motion.linking.link` gives them track ids.
        fps: frames per second, used without ``times``.
        times: (F,) seconds of frames 0, 1, ... of a video, ascending; extrapolated evenly beyond its end.
        longest_gap: frames of longer gaps are left out of the track.

    Raises:
        InputError: two people in a frame have the same track id, the images' names do not end in distinct numbers,
            times are no numbers or do not ascend, ``fps`` is not above 0, or coordinates are not pixels.
    """
    require_above_zero(fps, "fps")
    require_frame_numbers(people)
    exist = ~absent(people)
    require_pixels(people[exist])
    rows = np.flatnonzero(exist & (people.track_ids >= 0))
    rows = rows[np.lexsort((people.image_ids[rows], people.track_ids[rows]))]
    ids, frames = people.track_ids[rows], people.image_ids[rows]
    duplicates = np.flatnonzero((np.diff(ids) == 0) & (np.diff(frames) == 0))
    if len(duplicates):
        first, second = sorted(rows[duplicates[0] : duplicates[0] + 2].tolist())
        raise InputError(
            f"records {first} and {second} are two people with the track id {ids[duplicates[0]]} in frame "
            f"{frames[duplicates[0]]}: give each person an id of their own, or remove the ids"
        )
    if times is not None:
        times = np.asarray(times)
        if times.ndim != 1 or not len(times) or times.dtype.kind not in "iuf":
            raise InputError("times must be the seconds of all frames of the video, one number for each")
        if len(bad := np.flatnonzero(~(np.diff(times) > 0))):
            early, late = times[bad[0] : bad[0] + 2]
            raise InputError(f"frame {bad[0] + 1} is at {late:g} s, frame {bad[0]} at {early:g} s: times must ascend")
    step = frame_step(people.image_ids[exist])
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    return [_track(people, group, step, longest_gap, fps, times) for group in np.split(rows, starts[1:]) if len(group)]


def frame_rate(tracks: Sequence[Track]) -> float | None:
    """Return the frames per second of tracks, the median over their frames; None if no track has two."""
    rates = [np.diff(track.frames) / np.diff(track.times) for track in tracks if len(track) > 1]
    return float(np.median(np.concatenate(rates))) if rates else None


def of_photographs(tracks: Sequence[Track]) -> bool:
    """Return whether most people are in tracks of a single frame, as happens with photographs instead of frames."""
    counts = [int((track.rows >= 0).sum()) for track in tracks]
    return 2 * counts.count(1) > sum(counts)


def require_frame_numbers(people: People) -> None:
    """Raise InputError if image ids are only positions in the sorted names of several images."""
    if people.source and people.source.synthetic_ids and len(np.unique(people.image_ids[~absent(people)])) > 1:
        raise InputError(
            "the images' names do not all end in different numbers, which must count the frames of one video: rename "
            "the images and results (frame_0001.jpg), or give one video at a time; photographs can be lifted one by "
            "one (posefix lift --single)"
        )


def with_tracks(people: People, tracks: Sequence[Track]) -> tuple[People, np.ndarray]:
    """Return people with the keypoints and confidences of their tracks, where these have an estimate.

    A track's frames with an estimate but no record become new people with the mean confidence as their score. They
    follow the other people of their frame if frames are in order, else they come last.

    Returns:
        The people, and (N,) int64 the index of each among the input people, -1 if new.
    """
    keypoints, scores = people.keypoints.copy(), people.scores.copy()
    new: list[People] = []
    for track in tracks:
        valid = np.isfinite(track.keypoints).all(-1)
        existing = track.rows >= 0
        rows, existing_valid = track.rows[existing], valid[existing]
        keypoints[rows] = np.where(existing_valid[..., None], track.keypoints[existing, :, :2], keypoints[rows])
        scores[rows] = np.where(existing_valid, track.keypoints[existing, :, 2], scores[rows])
        if (filled := ~existing & valid.any(1)).any():
            new.append(_filled(people, track, filled, valid))
    changed = people.with_keypoints(keypoints, scores)
    rows = np.arange(len(people))
    if not new:
        return changed, rows
    merged = replace(concatenate([changed, *new]), source=people.source)
    rows = np.append(rows, np.full(len(merged) - len(people), -1))
    if (np.diff(people.image_ids) < 0).any():
        return merged, rows
    order = np.argsort(merged.image_ids, kind="stable")
    return merged[order], rows[order]


def frame_step(frames: np.ndarray) -> int:
    """Return the most frequent difference between successive frame numbers; 1 for fewer than two frames."""
    steps = np.diff(np.unique(frames))
    if not len(steps):
        return 1
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def times_at(frames: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return seconds (T,) of frames (T,), given ``times`` (F,) of frames 0, 1, ...; extrapolated beyond the ends."""
    last = len(times) - 1
    step = float(np.median(np.diff(times))) if last > 0 else 1 / 30
    clipped = np.clip(frames, 0, last)
    seconds: np.ndarray = times[clipped] + step * (frames - clipped)
    return seconds


def _track(
    people: People, group: np.ndarray, step: int, longest_gap: int, fps: float, seconds: np.ndarray | None
) -> Track:
    """Build the track of the people in rows ``group``, ordered by time."""
    known_frames = people.image_ids[group]
    counts = np.rint(np.diff(known_frames) / step).astype(int) - 1  # missing frames between successive known ones
    gaps = np.flatnonzero((counts > 0) & (counts <= longest_gap))
    missing = [
        np.linspace(known_frames[gap], known_frames[gap + 1], counts[gap] + 2).round()[1:-1] for gap in gaps.tolist()
    ]
    frames = np.sort(np.concatenate([known_frames, *missing]).astype(np.int64))
    indices = np.searchsorted(frames, known_frames)
    rows = np.full(len(frames), -1, np.int64)
    rows[indices] = group
    keypoints = np.full((len(frames), len(people.skeleton), 3), (np.nan, np.nan, 0.0))
    xyc = np.dstack([people.keypoints[group], people.scores[group]])
    keypoints[indices] = np.where(xyc[..., 2:] > 0, xyc, (np.nan, np.nan, 0.0))
    times = frames / fps if seconds is None else times_at(frames, seconds)
    return Track(int(people.track_ids[group[0]]), frames, times, keypoints, rows)


def _filled(people: People, track: Track, chosen: np.ndarray, valid: np.ndarray) -> People:
    """Return new people in the frames ``chosen`` (T,) bool of a track, with the estimates ``valid`` (T, K) bool."""
    keypoints, chosen_valid = np.where(valid[..., None], track.keypoints, 0.0)[chosen], valid[chosen]
    boxes = geometry.pose_boxes(keypoints[..., :2], chosen_valid)
    return People(
        people.skeleton,
        keypoints[..., :2],
        keypoints[..., 2],
        track.frames[chosen],
        boxes=boxes,
        person_scores=keypoints[..., 2].sum(1) / chosen_valid.sum(1),
        areas=geometry.areas_of(boxes),
        track_ids=np.full(len(keypoints), track.track_id),
        extra=[None] * len(keypoints),
    )
