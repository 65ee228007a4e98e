"""Files of 3D poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.lifting.poses import Camera, Poses3D, Track3D, read_poses3d, write_poses3d


def _poses(rng: np.random.Generator, frames: int = 5) -> Poses3D:
    keypoints = rng.normal(0, 0.4, (frames, 17, 3)).astype(np.float32)
    keypoints[1, 3] = np.nan
    root = rng.normal((0, 0, 4), 0.1, (frames, 3)).astype(np.float32)
    track = Track3D(
        7,
        np.arange(frames) + 3,
        np.arange(frames) / 25,
        keypoints,
        root,
        np.full((frames, 17), 0.05, np.float32),
        Camera(1000.0, (320.0, 240.0)),
    )
    return Poses3D(skeletons.load("coco17"), 25.0, (track,))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    poses = _poses(np.random.default_rng(0))
    write_poses3d(poses, tmp_path / "p.json")
    back = read_poses3d(tmp_path / "p.json")
    assert back.skeleton == poses.skeleton and back.fps == 25
    one, two = poses.tracks[0], back.tracks[0]
    assert two.track_id == 7 and two.camera == one.camera
    for name in ("frames", "times", "keypoints", "root", "spreads", "positions"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), atol=1.1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["tracks"][0]["frames"].append(99), "track 0: its keypoints have shape"),
        (lambda c: c["tracks"][0]["keypoints"][0].pop(), "track 0: its keypoints are of different lengths"),
        (lambda c: c["tracks"][0]["times"].reverse(), "track 0: needs as many times as frames, both ascending"),
        (lambda c: c["tracks"][0]["camera"].update(focal=0), "focal length is 0"),
        (lambda c: c.pop("skeleton"), "not a JSON file of 3D poses"),
        (lambda c: c.update(fps=0), "fps is 0"),
    ],
)
def test_damaged_files_get_a_sentence(tmp_path: Path, change, says: str) -> None:
    path = tmp_path / "p.json"
    write_poses3d(_poses(np.random.default_rng(0)), path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=says):
        read_poses3d(path)


def test_rays_and_projection_are_inverse() -> None:
    camera = Camera(900.0, (300.0, 200.0))
    points = np.random.default_rng(1).normal((0, 0, 4), 0.5, (50, 3))
    np.testing.assert_allclose(camera.rays(camera.project(points)) * points[:, 2:], points)
