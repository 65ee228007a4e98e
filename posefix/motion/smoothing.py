"""Smooth the people of a video along their tracks, and fill gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.source import takes_new
from posefix.motion.filters import FILLED_CONFIDENCE, interpolated, missing_run, smooth
from posefix.motion.linking import link
from posefix.motion.tracks import Track, tracks_of, with_tracks

if TYPE_CHECKING:
    from posefix.media.images import ImageFolder

# Maps times (T,) and keypoints (T, K, 3) of a Track to keypoints (T, K, 3) in all frames, also missing ones, and their
# confidences (T, K); NaN where there is no estimate.
Denoiser = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Result of smoothing the people of a video.

    Attributes:
        people: with track ids; people in filled frames are new.
        rows: (N,) int64 index of each person among the input people; -1 if new.
        tracks: after smoothing.
        linked: number of input people who had no track id and now have one.
        filled: number of filled frames, summed over people.
        unfilled: number of frames that could not be filled because the file has no place for new people there, or for
            want of an image.
    """

    people: People
    rows: np.ndarray
    tracks: list[Track]
    linked: int
    filled: int
    unfilled: int

    def before(self, input_people: People) -> People:
        """Return ``people`` with the keypoints and scores of the input people; new people are unchanged."""
        existing = self.rows >= 0
        columns = {name: getattr(self.people, name).copy() for name in ("keypoints", "scores")}
        for name, values in columns.items():
            values[existing] = getattr(input_people, name)[self.rows[existing]]
        return replace(self.people, **columns)


def smooth_people(
    people: People,
    denoise: Denoiser,
    fps: float = 30.0,
    times: np.ndarray | None = None,
    fill: int = 0,
    images: ImageFolder | None = None,
) -> Smoothed:
    """Smooth all tracks of a video, after linking people without track ids.

    Confidences are unchanged. Filled keypoints get half their neighbours', or less if ``denoise`` is less confident.

    Args:
        people: N people; image ids are frame numbers.
        denoise: such as :func:`filter_by`.
        fps: frames per second, used without ``times``.
        times: (F,) seconds of the frames of the video.
        fill: longest gap of people and keypoints to fill, in frames.
        images: people are filled in only in frames that have one of these.

    Raises:
        InputError: as :func:`posefix.motion.tracks.tracks_of`, or ``fill`` is not a whole number from 0 on.
    """
    if isinstance(fill, bool) or not isinstance(fill, Integral) or fill < 0:
        raise InputError(f"fill must be a whole number of frames from 0 on, got {fill!r:.40}")
    linked = link(people)
    tracks, filled, unfilled = [], 0, 0
    for track in tracks_of(linked, fps, times):
        smoothed = _smoothed(track, denoise, fill)
        fillable = (track.rows < 0) & np.isfinite(smoothed[..., 0]).any(1)
        no_place = fillable & ~takes_new(people, track.frames)
        if images is not None:
            no_place[fillable] |= np.array([frame not in images for frame in track.frames[fillable].tolist()], bool)
        smoothed[no_place] = (np.nan, np.nan, 0)
        filled, unfilled = filled + int((fillable & ~no_place).sum()), unfilled + int(no_place.sum())
        tracks.append(replace(track, keypoints=smoothed))
    new_ids = int((linked.track_ids != people.track_ids).sum())
    return Smoothed(*with_tracks(linked, tracks), tracks, new_ids, filled, unfilled)


def filter_by(method: str, cutoff: float) -> Denoiser:
    """Return a filter of :func:`posefix.motion.filters.smooth` as a denoiser."""

    def denoise(times: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        filtered = smooth(times, keypoints, method, cutoff=cutoff, fill=len(times))
        return filtered, filtered[..., 2]

    return denoise


def _smoothed(track: Track, denoise: Denoiser, fill: int) -> np.ndarray:
    """Denoise the keypoints (T, K, 3) of a track; NaN, NaN, 0 where there is still no estimate."""
    valid = track.keypoints[..., 2] > 0
    denoised, confidences = denoise(track.times, track.keypoints)
    output_valid = (valid | (missing_run(valid) <= fill)) & np.isfinite(denoised[..., :2]).all(-1)
    neighbours = interpolated(track.times, track.keypoints[..., 2:], valid)[..., 0]
    scores = np.where(valid, track.keypoints[..., 2], np.minimum(confidences, FILLED_CONFIDENCE * neighbours))
    return np.where(output_valid[..., None], np.dstack([denoised[..., :2], scores]), track.keypoints)
