"""Write an HTML viewer of 3D poses: rotatable, with the video and joint angles over time."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.lifting.angles import joint_angles
from posefix.lifting.files import track_labels
from posefix.lifting.poses import Poses3D, Track3D
from posefix.media.crops import Images
from posefix.media.opencv import cv2
from posefix.report.drawing import POSE, keypoint_sides, limb_sides
from posefix.report.pictures import embedded, render_page

MAX_PICTURES = 300  # longer videos repeat the previous picture between these
PICTURE_HEIGHT = 270  # px


def write_viewer(poses: Poses3D, out: str | Path, images: Images | None = None) -> None:
    """Write a self-contained HTML file that shows poses in any browser.

    Args:
        poses: people of a video, or of photographs, each photograph in a room of its own.
        out: of the page.
        images: the frames, of which up to 300 small pictures are shown.

    Raises:
        InputError: the page cannot be written, or jinja2 is not installed.
    """
    film = _page(poses, images) if any(np.isfinite(track.keypoints).all(-1).any() for track in poses.tracks) else None
    write_atomically(out, render_page("depth.html.j2", name=Path(out).stem, film=film, colors=POSE[:3]))


def _page(poses: Poses3D, images: Images | None) -> dict[str, Any]:
    """Return the data of the page's script: numbers, lists, and arrays of float32 in base64."""
    frames = np.unique(np.concatenate([track.frames for track in poses.tracks]))
    times = np.zeros(len(frames))
    for track in poses.tracks:
        times[np.searchsorted(frames, track.frames)] = track.times
    video = len(frames) > 1 and bool((np.diff(times) > 0).all())
    if not video:  # photographs: one per second
        times = np.arange(len(frames), dtype=np.float64)
    limbs = poses.skeleton.limbs
    points = np.concatenate([_positions(track) for track in poses.tracks])
    steps = np.concatenate([np.searchsorted(frames, track.frames) for track in poses.tracks])
    names, _ = joint_angles(poses.tracks[0], poses.skeleton)
    return {
        "frames": frames.tolist(),
        "times": times.round(4).tolist(),
        "video": video,
        "limbs": limbs.tolist(),
        "sides": limb_sides(keypoint_sides(poses.skeleton), limbs).tolist(),
        "keypoints": len(poses.skeleton),
        "rooms": [_room(points)] if video else [_room(points[steps == step]) for step in range(len(frames))],
        "people": [_person(*pair, poses, frames) for pair in zip(track_labels(poses), poses.tracks, strict=True)],
        "angles": len(names),
        "plots": _plots(names) if video and len(frames) > 1 else [],
        "pictures": _pictures(images, frames) if images is not None else [],
    }


def _room(points: np.ndarray) -> dict[str, Any]:
    """Return the middle of keypoints (N, K, 3), their extent around it, and the height of the floor."""
    finite = points[np.isfinite(points).all(-1)]
    if not len(finite):
        return {"middle": [0, 0, 3], "reach": 1, "floor": 1}
    middle = np.median(finite, axis=0)
    return {
        "middle": middle.tolist(),
        "reach": float(np.percentile(np.linalg.norm(finite - middle, axis=1), 98)),
        "floor": float(np.percentile(finite[:, 1], 99.5)),
    }


def _person(label: int, track: Track3D, poses: Poses3D, frames: np.ndarray) -> dict[str, Any]:
    """Return a person's positions and angles, and the indices of their frames."""
    return {
        "name": str(label),
        "steps": np.searchsorted(frames, track.frames).tolist(),
        "positions": _encoded(_positions(track)),
        "angles": _encoded(joint_angles(track, poses.skeleton)[1]),
        "focal": track.camera.focal,
        "centre": track.camera.centre,
    }


def _positions(track: Track3D) -> np.ndarray:
    """Return (T, K, 3) metres from the camera; 3 m in front of it if the root is never known."""
    return track.positions if np.isfinite(track.root).any() else track.keypoints + np.array([0, 0, 3.0])


def _plots(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the plots of angles, left and right in one: their names, and side and column of each line."""
    plots: dict[str, list[tuple[int, int]]] = {}
    for column, name in enumerate(names):
        side = name.startswith("left_") + 2 * name.startswith("right_")
        plots.setdefault(name.removeprefix("left_").removeprefix("right_"), []).append((side, column))
    return [{"name": name.replace("_", " "), "lines": lines} for name, lines in plots.items()]


def _pictures(images: Images, frames: np.ndarray) -> list[dict[str, Any]]:
    """Return small pictures of evenly spaced frames, with the frame's index and full size."""
    pictures = []
    for step in np.linspace(0, len(frames) - 1, min(len(frames), MAX_PICTURES)).astype(int).tolist():
        with suppress(InputError):  # the video is shorter than its results
            image = images[int(frames[step])]
            height, width = image.shape[:2]
            size = round(width * PICTURE_HEIGHT / height), PICTURE_HEIGHT
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            pictures.append({"step": step, "size": (width, height), "jpeg": embedded(small)})
    return pictures


def _encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
