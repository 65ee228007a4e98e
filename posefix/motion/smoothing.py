"""Smooth the people of a video along their tracks, and fill gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.source import takes_new
from posefix.motion.filters import FILLED_CONFIDENCE, interpolated, missing_run, smooth
from posefix.motion.linking import link
from posefix.motion.tracks import Track, tracks_of, with_tracks

# (times (T,), keypoints (T, K, 3)), as of a Track, to keypoints (T, K, 3) in all frames, those that are missing
# included, and how sure each of them is (T, K); NaN where there is nothing to say.
Denoiser = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What became of the people of a video.

    Attributes:
        people: with their track ids; people in frames that were filled are new.
        rows: (N,) int64 whose place among the people given each of them has, -1 of new ones.
        tracks: those that were smoothed, as they are now.
        linked: how many of the people given had no track id, and have one now.
        filled: how many frames of people were filled.
        unfilled: how many could have been if the file that people come from had a place for them.
    """

    people: People
    rows: np.ndarray
    tracks: list[Track]
    linked: int
    filled: int
    unfilled: int

    def before(self, given: People) -> People:
        """The people who were ``given``, in the order of ``people``; those who are new are as there."""
        old = self.rows >= 0
        columns = {name: getattr(self.people, name).copy() for name in ("keypoints", "scores")}
        for name, values in columns.items():
            values[old] = getattr(given, name)[self.rows[old]]
        return replace(self.people, **columns)


def smooth_people(
    people: People, denoise: Denoiser, fps: float = 30.0, times: np.ndarray | None = None, fill: int = 0
) -> Smoothed:
    """Smooth all tracks of a video; people without a track id are linked before.

    Confidences stay. Those of filled keypoints are half their neighbours', or less if ``denoise`` is less sure.

    Args:
        people: N people; image ids are frame numbers.
        denoise: such as :func:`filter_by`.
        fps: frames a second, if there are no ``times``.
        times: (F,) seconds of the frames of the video.
        fill: keypoints, and people, that are missing in at most so many successive frames are filled.

    Raises:
        InputError: as :func:`posefix.motion.tracks.tracks_of`, or ``fill`` is no number of frames.
    """
    if isinstance(fill, bool) or not isinstance(fill, Integral) or fill < 0:
        raise InputError(f"fill must be a whole number of frames from 0 on, got {fill!r:.40}")
    linked = link(people)
    tracks, filled, unfilled = [], 0, 0
    for track in tracks_of(linked, fps, times):
        new = _smoothed(track, denoise, fill)
        gained = (track.rows < 0) & np.isfinite(new[..., 0]).any(1)
        lost = gained & ~takes_new(people, track.frames)
        new[lost] = (np.nan, np.nan, 0)
        filled, unfilled = filled + int((gained & ~lost).sum()), unfilled + int(lost.sum())
        tracks.append(replace(track, keypoints=new))
    new_ids = int((linked.track_ids != people.track_ids).sum())
    return Smoothed(*with_tracks(linked, tracks), tracks, new_ids, filled, unfilled)


def filter_by(method: str, cutoff: float) -> Denoiser:
    """A filter of :func:`posefix.motion.filters.smooth` as a denoiser."""

    def denoise(times: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        new = smooth(times, keypoints, method, cutoff=cutoff, fill=len(times))
        return new, new[..., 2]

    return denoise


def _smoothed(track: Track, denoise: Denoiser, fill: int) -> np.ndarray:
    """(T, K, 3) keypoints of a track after denoising; NaN, NaN, 0 where there is no estimate and none is filled in."""
    known = track.keypoints[..., 2] > 0
    new, sure = denoise(track.times, track.keypoints)
    wanted = (known | (missing_run(known) <= fill)) & np.isfinite(new[..., :2]).all(-1)
    neighbours = interpolated(track.times, track.keypoints[..., 2:], known)[..., 0]
    confidences = np.where(known, track.keypoints[..., 2], np.minimum(sure, FILLED_CONFIDENCE * neighbours))
    return np.where(wanted[..., None], np.dstack([new[..., :2], confidences]), track.keypoints)
