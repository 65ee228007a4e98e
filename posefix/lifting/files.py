"""Write 3D poses in the format given by the file name's suffix."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError, require
from posefix.core.files import replacing, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.lifting.angles import joint_angles
from posefix.lifting.bvh import bvh
from posefix.lifting.poses import MILLIMETRES, Poses3D, Track3D, write_poses3d
from posefix.lifting.sampling import resampled


def write_npz(poses: Poses3D, out: Path) -> None:
    """Write NumPy arrays with a row for each person and frame (N in all), in the axes and units of :class:`Track3D`.

    ``frames``, ``times``, ``keypoints``, ``root`` and ``spreads`` as there; ``tracks`` (N,) as in file names; the
    camera's ``focal`` (N,) and ``centre`` (N, 2); ``keypoint_names`` (K,) and ``fps``.
    """
    tracks, lengths = poses.tracks, [len(track) for track in poses.tracks]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(track, name) for track in tracks])
        for name in ("frames", "times", "keypoints", "root", "spreads")
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        **arrays,
        tracks=np.repeat(track_labels(poses), lengths),
        focal=np.repeat([track.camera.focal for track in tracks], lengths),
        centre=np.repeat([track.camera.centre for track in tracks], lengths, axis=0),
        keypoint_names=np.array(poses.skeleton.keypoint_names),
        fps=np.array(poses.fps),
    )
    write_atomically(out, content.getvalue())


def write_angles(poses: Poses3D, out: Path) -> None:
    """Write :func:`posefix.lifting.angles.joint_angles` as CSV, a row for each person and frame."""
    text = io.StringIO()
    rows = csv.writer(text)
    for i, (label, track) in enumerate(zip(track_labels(poses), poses.tracks, strict=True)):
        names, angles = joint_angles(track, poses.skeleton)
        if not i:
            rows.writerow(["track", "frame", "time", *names])
        cells = np.where(np.isfinite(angles), np.char.mod("%.2f", angles), "").tolist()
        for frame, time, row in zip(track.frames.tolist(), (track.times.round(6) + 0.0).tolist(), cells, strict=True):
            rows.writerow([label, frame, f"{time:.6f}", *row])
    write_atomically(out, text.getvalue())


def write_bvh(poses: Poses3D, track: Track3D, out: Path) -> None:
    """Write a track as BVH; see :func:`posefix.lifting.bvh.bvh`."""
    write_atomically(out, bvh(track, poses.skeleton, poses.fps))


def marker_names(skeleton: Skeleton) -> list[str]:
    """Return the marker names of Pose2Sim and OpenSim: ``RHip`` for ``right_hip``, ``LBigToe`` for ``left_big_toe``."""
    short = (name.replace("left_", "l_").replace("right_", "r_") for name in skeleton.keypoint_names)
    return ["".join(word.capitalize() for word in name.split("_")) for name in short]


def write_trc(poses: Poses3D, track: Track3D, out: Path) -> None:
    """Write a track as TRC (OpenSim, Pose2Sim): metres, y up; unknown keypoints are empty, as OpenSim has it."""
    names, sampled = marker_names(poses.skeleton), resampled(track, poses.fps)
    positions = (sampled.keypoints + sampled.root[:, None]).reshape(len(sampled.frames), -1)
    cells = np.where(np.isfinite(positions), np.char.mod("%.5f", positions), "")
    # OpenSim does not count an empty last cell; Pose2Sim allows no tab after it.
    cells[cells[:, -1] == "", -1] = "nan"
    rate, count = f"{sampled.rate:g}", str(len(cells))
    header = [
        ["PathFileType", "4", "(X/Y/Z)", out.name],
        ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame"],
        [rate, rate, count, str(len(names)), "m", rate, str(sampled.frames[0])],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", "")), ""],
        ["", "", *(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"), ""],
    ]
    header[1].append("OrigNumFrames")
    header[2].append(count)
    rows = np.column_stack([sampled.frames.astype(str), np.char.mod("%.6f", sampled.times), cells])
    write_atomically(out, "".join("\t".join(row) + "\n" for row in [*header, *rows]))


def write_c3d(poses: Poses3D, track: Track3D, out: Path) -> None:
    """Write a track as C3D (Visual3D, Vicon, ...): millimetres, y up; unknown keypoints are invalid points.

    Raises:
        InputError: the file cannot be written, or ezc3d is not installed.
    """
    content = require("ezc3d", "c3d", "C3D").c3d()
    sampled = resampled(track, poses.fps)
    positions = (sampled.keypoints + sampled.root[:, None]) * MILLIMETRES
    points = content["parameters"]["POINT"]
    points["RATE"]["value"], points["UNITS"]["value"] = [sampled.rate], ["mm"]
    points["LABELS"]["value"] = marker_names(poses.skeleton)
    content.add_parameter("POINT", "X_SCREEN", ["+X"])
    content.add_parameter("POINT", "Y_SCREEN", ["+Y"])
    content["data"]["points"] = np.concatenate([positions, np.ones_like(positions[..., :1])], axis=-1).T
    with replacing(out) as new:
        content.write(str(new))


EVERYBODY: dict[str, Callable[[Poses3D, Path], None]] = {
    ".json": write_poses3d,
    ".npz": write_npz,
    ".csv": write_angles,
}
ONE_PERSON: dict[str, Callable[[Poses3D, Track3D, Path], None]] = {
    ".bvh": write_bvh,
    ".trc": write_trc,
    ".c3d": write_c3d,
}


def require_known_suffix(out: Path) -> None:
    """Raise InputError if no format has the suffix of ``out``, or if its writer is not installed."""
    if out.suffix not in (writers := {**EVERYBODY, **ONE_PERSON}):
        raise InputError(f"{out}: the end of the name chooses the format of 3D poses; use one of {', '.join(writers)}")
    if out.suffix == ".c3d":
        require("ezc3d", "c3d", "C3D")


def track_labels(poses: Poses3D) -> list[int]:
    """Return labels of people: their track ids, or numbers from 0 where ids are unknown or not distinct."""
    ids = [track.track_id for track in poses.tracks]
    return ids if len(set(ids)) == len(ids) and min(ids, default=0) >= 0 else list(range(len(ids)))


def write(poses: Poses3D, out: str | Path) -> list[Path]:
    """Write poses in the format given by the suffix of ``out``.

    A ``.bvh``, ``.trc`` or ``.c3d`` file holds one person. Several people get a file each, with the track id, or a
    number if ids are unknown, at the end of the name (``walk_7.bvh``).

    Returns:
        The files written.

    Raises:
        InputError: no format has this suffix, there is nobody, or a file cannot be written.
    """
    out = Path(out)
    require_known_suffix(out)
    if out.suffix != ".json" and not any(map(len, poses.tracks)):
        raise InputError(f"{out}: cannot be written, there are no people in these poses")
    if out.suffix in EVERYBODY:
        EVERYBODY[out.suffix](poses, out)
        return [out]
    paths = []
    for label, track in zip(track_labels(poses), poses.tracks, strict=True):
        if len(track):
            paths.append(out if len(poses.tracks) == 1 else out.with_name(f"{out.stem}_{label}{out.suffix}"))
            ONE_PERSON[out.suffix](poses, track, paths[-1])
    return paths
