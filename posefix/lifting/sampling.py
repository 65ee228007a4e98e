"""Resample 3D poses for motion files: y up, and a row for every frame, also where the person is missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import JOINTS, SIDES
from posefix.lifting.poses import Track3D

MAX_ROWS = 1000  # per frame of the track


class Sampled(NamedTuple):
    """A track in R evenly spaced frames. Axes: x right, y up, z towards the camera, which is the origin; metres."""

    rate: float  # rows per second
    frames: np.ndarray  # (R,) int64
    times: np.ndarray  # (R,) float64 seconds
    keypoints: np.ndarray  # (R, K, 3) float64 from the mid-hip; NaN where unknown
    root: np.ndarray  # (R, 3) float64, the mid-hip; NaN where unknown


def y_up(points: np.ndarray) -> np.ndarray:
    """Convert points (..., 3) from camera coordinates (y down, z away) to float64, y up, z towards the camera."""
    converted: np.ndarray = points.astype(np.float64) * (1, -1, -1)
    return converted


def resampled(track: Track3D, fps: float) -> Sampled:
    """Sample a track at every frame from its first to its last; ``fps`` refers to frame numbers.

    If the root is never known, it is put at the origin.

    Raises:
        InputError: nearly all rows would be empty, as for images that are not from a video.
    """
    step = int(np.gcd.reduce(np.diff(track.frames))) or 1
    first, last = track.frames[[0, -1]].tolist()
    if last - first >= MAX_ROWS * step * len(track):
        raise InputError(
            f"track {track.track_id} has {len(track)} frames from {first} to {last}, too few for a file with a row for "
            "every frame; write .json, .npz or .csv"
        )
    rows = (track.frames - first) // step
    frames = np.arange(first, last + 1, step)
    keypoints = np.full((len(frames), *track.keypoints.shape[1:]), np.nan)
    root = np.full((len(frames), 3), np.nan)
    keypoints[rows] = y_up(track.keypoints)
    root[rows] = y_up(track.root) if np.isfinite(track.root).any() else 0
    times = np.interp(frames, track.frames, track.times).round(6) + 0.0  # no -0
    return Sampled(fps / step, frames, times, keypoints, root)


def require_limbs(skeleton: Skeleton, what: str) -> None:
    """Raise InputError, in a sentence that begins with ``what``, if a skeleton lacks a joint of an arm or a leg."""
    names = (f"{side}_{joint}" for joint in JOINTS for side in SIDES)
    if missing := next((name for name in names if name not in skeleton.keypoint_names), None):
        raise InputError(
            f"{what} need shoulders, elbows, wrists, hips, knees and ankles, and skeleton {skeleton.name} has no "
            f"{missing}"
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Normalise vectors (..., 3) to length 1; NaN for vectors of length 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    normalized: np.ndarray = vectors / np.where(lengths > 0, lengths, np.nan)
    return normalized
