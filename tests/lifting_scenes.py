"""Synthetic people in depth, for the tests of what writes and measures them."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import load
from posefix.lifting.poses import Camera, Poses3D, Track3D

COCO = load("coco17")
STANDING = np.array([  # COCO's keypoints of a person who faces the camera, in its axes (y down), from between the hips
    (0, -0.7, -0.1), (0.03, -0.74, -0.07), (-0.03, -0.74, -0.07), (0.07, -0.72, 0), (-0.07, -0.72, 0),
    (0.18, -0.5, 0), (-0.18, -0.5, 0), (0.22, -0.22, 0), (-0.22, -0.22, 0), (0.24, 0.04, -0.03), (-0.24, 0.04, -0.03),
    (0.1, 0, 0), (-0.1, 0, 0), (0.1, 0.43, -0.02), (-0.1, 0.43, -0.02), (0.1, 0.85, 0.02), (-0.1, 0.85, 0.02),
])  # fmt: skip


def walker(frames: int, track_id: int = 7, turn: float = 0.0) -> Track3D:
    """A person who walks, swinging arms and legs, and turns by so many radians a frame, from frame 3 on at 50 fps."""
    phase = np.sin(2 * np.pi * np.arange(frames) / 30)[:, None]
    keypoints = np.repeat(STANDING[None], frames, axis=0)
    for swinging, reach in (([9, 16, 14], 0.25), ([10, 15, 13], -0.25)):
        keypoints[:, swinging, 2] += reach * phase * (1, 1, 0.5)
    angle = turn * np.arange(frames)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(frames), np.ones(frames)
    about_y = np.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], axis=1).reshape(-1, 3, 3)
    root = np.array([0.3, 0.2, 4.0]) + np.arange(frames)[:, None] * (0.01, 0, -0.01)
    return Track3D(
        track_id,
        np.arange(frames) + 3,
        (np.arange(frames) + 3) / 50,
        np.einsum("tij,tkj->tki", about_y, keypoints).astype(np.float32),
        root.astype(np.float32),
        np.full((frames, 17), 0.05, np.float32),
        Camera(1000.0, (640.0, 360.0)),
    )


def poses_of(*tracks: Track3D, fps: float = 50.0) -> Poses3D:
    """Poses of people with COCO's keypoints."""
    return Poses3D(COCO, fps, tracks)
