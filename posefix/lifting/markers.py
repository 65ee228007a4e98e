"""Write a person's keypoints as markers of biomechanics: TRC (OpenSim, Pose2Sim) and C3D (Visual3D, Vicon, ...)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posefix.core.errors import require
from posefix.core.files import replacing, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.lifting.poses import MILLIMETRES, Poses3D, Track3D
from posefix.lifting.sampling import evenly


def marker_names(skeleton: Skeleton) -> list[str]:
    """What Pose2Sim and its OpenSim models call keypoints: ``RHip`` is ``right_hip``, ``LBigToe`` ``left_big_toe``."""
    short = (name.replace("left_", "l_").replace("right_", "r_") for name in skeleton.keypoint_names)
    return ["".join(word.capitalize() for word in name.split("_")) for name in short]


def write_trc(poses: Poses3D, track: Track3D, out: Path) -> None:
    """Write a track as TRC: metres, y up; what is not known is empty, as OpenSim has it."""
    names, frames = marker_names(poses.skeleton), evenly(track, poses.fps)
    places = (frames.keypoints + frames.root[:, None]).reshape(len(frames.frames), -1)
    cells = np.where(np.isfinite(places), np.char.mod("%.5f", places), "")
    # OpenSim counts the cells of a row and does not count an empty last one; Pose2Sim allows no tab after the last.
    cells[cells[:, -1] == "", -1] = "nan"
    rate, count = f"{frames.rate:g}", str(len(cells))
    header = [
        ["PathFileType", "4", "(X/Y/Z)", out.name],
        ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame"],
        [rate, rate, count, str(len(names)), "m", rate, str(frames.frames[0])],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", "")), ""],
        ["", "", *(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"), ""],
    ]
    header[1].append("OrigNumFrames")
    header[2].append(count)
    rows = np.column_stack([frames.frames.astype(str), np.char.mod("%.6f", frames.times), cells])
    write_atomically(out, "".join("\t".join(row) + "\n" for row in [*header, *rows]))


def write_c3d(poses: Poses3D, track: Track3D, out: Path) -> None:
    """Write a track as C3D: millimetres, y up; what is not known is an invalid point.

    Raises:
        InputError: the file cannot be written, or ezc3d is not installed.
    """
    content = require("ezc3d", "c3d", "C3D").c3d()
    frames = evenly(track, poses.fps)
    places = (frames.keypoints + frames.root[:, None]) * MILLIMETRES
    points = content["parameters"]["POINT"]
    points["RATE"]["value"], points["UNITS"]["value"] = [frames.rate], ["mm"]
    points["LABELS"]["value"] = marker_names(poses.skeleton)
    content.add_parameter("POINT", "X_SCREEN", ["+X"])
    content.add_parameter("POINT", "Y_SCREEN", ["+Y"])
    content["data"]["points"] = np.concatenate([places, np.ones_like(places[..., :1])], axis=-1).T
    with replacing(out) as new:
        content.write(str(new))
