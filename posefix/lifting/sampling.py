"""Poses as files of motion want them: y up, and a row for every frame, also where the person was not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import JOINTS, SIDES
from posefix.lifting.poses import Track3D

MOST_ROWS = 1000  # for each frame that there is


class Sampled(NamedTuple):
    """A track in R evenly spaced frames. Axes: x right, y up, z towards the camera, which is the origin; metres."""

    rate: float  # rows a second
    frames: np.ndarray  # (R,) int64
    times: np.ndarray  # (R,) float64 seconds
    keypoints: np.ndarray  # (R, K, 3) float64 from the middle of the hips; NaN where nothing is known
    root: np.ndarray  # (R, 3) float64, the middle of the hips; NaN where nothing is known


def y_up(points: np.ndarray) -> np.ndarray:
    """Turn points (..., 3) in a camera's axes (y down, z away) by half about x: float64, y up, z towards the camera."""
    turned: np.ndarray = points.astype(np.float64) * (1, -1, -1)
    return turned


def evenly(track: Track3D, fps: float) -> Sampled:
    """Give every frame between the first and the last of a track a row; ``fps`` is by the frames' numbers.

    Where the place of the hips is not known in a single frame, they are at the origin.

    Raises:
        InputError: by far most of the rows would be empty, as where frames are images of no video.
    """
    step = int(np.gcd.reduce(np.diff(track.frames))) or 1
    first, last = track.frames[[0, -1]].tolist()
    if last - first >= MOST_ROWS * step * len(track):
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
    if lacking := next((name for name in names if name not in skeleton.keypoint_names), None):
        raise InputError(
            f"{what} need shoulders, elbows, wrists, hips, knees and ankles, and skeleton {skeleton.name} has no "
            f"{lacking}"
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length 1; NaN for those of no length."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.where(lengths > 0, lengths, np.nan)
    return scaled
