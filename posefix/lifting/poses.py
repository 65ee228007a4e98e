"""3D poses of people over time, in metres, and their file format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.skeleton import Skeleton

DECIMALS = 4  # of metres, in files
MILLIMETRES = 1000.0  # per metre


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: focal length and principal point (x, y), in pixels."""

    focal: float
    centre: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project (..., 3) metres in camera coordinates to (..., 2) float64 pixels; NaN behind the camera."""
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        pixels: np.ndarray = self.focal * points[..., :2] / depth + self.centre
        return pixels

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Return directions (..., 3) float64 of depth 1, in camera coordinates, through pixels (..., 2)."""
        plane = (np.asarray(pixels, np.float64) - self.centre) / self.focal
        return np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)


@dataclass(frozen=True, eq=False)
class Track3D:
    """One person in T frames. Axes are the camera's: x right, y down, z away from it.

    Attributes:
        track_id: of the 2D poses; -1 if unknown.
        frames: (T,) int64 image ids, in videos frame numbers, ascending.
        times: (T,) float64 seconds, ascending; 0 for a single image.
        keypoints: (T, K, 3) float32 metres from the mid-hip; NaN where unknown.
        root: (T, 3) float32 metres, the mid-hip from the camera; NaN where unknown.
        spreads: (T, K) float32 metres, expected distance of each keypoint to the truth.
        camera: that the person is seen by.
    """

    track_id: int
    frames: np.ndarray
    times: np.ndarray
    keypoints: np.ndarray
    root: np.ndarray
    spreads: np.ndarray
    camera: Camera

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def positions(self) -> np.ndarray:
        """(T, K, 3) float32 metres from the camera."""
        positions: np.ndarray = self.keypoints + self.root[:, None]
        return positions


@dataclass(frozen=True, eq=False)
class Poses3D:
    """3D poses of all people in a video or in a set of images."""

    skeleton: Skeleton
    fps: float
    tracks: tuple[Track3D, ...]


class _Track(msgspec.Struct):
    track_id: int
    frames: list[int]
    times: list[float]
    keypoints: list[list[list[float | None]]]
    root: list[list[float | None]]
    spreads: list[list[float | None]]
    camera: Camera


class _File(msgspec.Struct):
    skeleton: dict[str, Any]
    fps: float
    tracks: list[_Track]


def write_poses3d(poses: Poses3D, out: Path) -> None:
    """Write poses as JSON, atomically: ``{"skeleton", "fps", "tracks": [...]}`` with the fields of Track3D.

    Unknown values are null.
    """
    tracks = [
        _Track(
            track.track_id,
            track.frames.tolist(),
            np.round(track.times, 6).tolist(),
            _listed(track.keypoints),
            _listed(track.root),
            _listed(track.spreads),
            track.camera,
        )
        for track in poses.tracks
    ]
    write_atomically(out, msgspec.json.encode(_File(poses.skeleton.to_dict(), poses.fps, tracks)))


def read_poses3d(path: str | Path) -> Poses3D:
    """Read a file of :func:`write_poses3d`.

    Raises:
        InputError: the file is not valid; names the file and the track.
    """
    try:
        content = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a JSON file of 3D poses ({error}); posefix lift --out NAME.json writes one"
        ) from None
    skeleton = skeletons.from_dict(content.skeleton, f"{path}: skeleton")
    if not content.fps > 0:
        raise InputError(f"{path}: fps is {content.fps:g}, it must be above 0")
    return Poses3D(
        skeleton,
        content.fps,
        tuple(_track(t, len(skeleton), f"{path}: track {i}") for i, t in enumerate(content.tracks)),
    )


def _track(track: _Track, k: int, where: str) -> Track3D:
    t = len(track.frames)
    arrays = {}
    for name, shape in (("keypoints", (t, k, 3)), ("root", (t, 3)), ("spreads", (t, k))):
        try:
            array = np.array(getattr(track, name), dtype=np.float32)
        except ValueError:
            raise InputError(f"{where}: its {name} are of different lengths") from None
        if t and array.shape != shape:
            raise InputError(f"{where}: its {name} have shape {array.shape}, expected {shape}")
        arrays[name] = array.reshape(shape)
    frames, times = np.array(track.frames, np.int64), np.array(track.times, np.float64)
    if len(times) != t or not (np.diff(times) > 0).all() or not (np.diff(frames) > 0).all():
        raise InputError(f"{where}: needs as many times as frames, both ascending")
    if not track.camera.focal > 0:
        raise InputError(f"{where}: its camera's focal length is {track.camera.focal:g}, it must be above 0")
    return Track3D(track.track_id, frames, times, **arrays, camera=track.camera)


def _listed(values: np.ndarray) -> list[Any]:
    """Return nested lists of rounded numbers; None for NaN."""
    rounded = np.round(values.astype(np.float64), DECIMALS).astype(object)
    rounded[~np.isfinite(values)] = None
    listed: list[Any] = rounded.tolist()
    return listed
