"""Project 3D motion with random pinhole cameras: at any height, fixed or following, steady or shaking."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.errors import require
from posefix.core.random import log_uniform
from posefix.motion.denoise import sizes_of

FIELD_OF_VIEW, FILL, MAX_ROLL = (25.0, 90.0), (0.2, 0.9), 10.0  # degrees; person's share of image height; degrees
HEIGHT, STATURE, NEAREST = (-0.95, 2.05), 1.7, 1.0  # metres: camera above the pelvis, person, person to camera
OFF_CENTRE = 0.3  # metres, standard deviation of the camera's target
FOLLOW_SHARE, SHAKE_SHARE, SHAKE_ANGLES, SHAKE_RATES = 0.4, 0.5, (0.05, 1.0), (0.2, 4.0)  # of cameras; degrees; Hz


class Projection(NamedTuple):
    """Projected keypoints in units of the person's size: the median over the window of sqrt(area)."""

    keypoints: np.ndarray  # (N, T, K, 2) float32, y down
    depths: np.ndarray  # (N, T, K) float32, relative to the mid-hip, in the same units at its distance
    sizes: np.ndarray  # (N, T) float32, sqrt(area) in each frame
    points: np.ndarray  # (N, T, K, 3) float32 metres, in camera coordinates: x right, y down, z away
    focal: np.ndarray  # (N,) float32, in the same units


def project(
    points: np.ndarray, root: np.ndarray, fps: np.ndarray, hips: list[int], rng: np.random.Generator
) -> Projection:
    """Project points through one random camera per person.

    Args:
        points: (N, T, K, 3) metres, y up.
        root: (N, T, 3) metres, the pelvis.
        fps: (N,) frames per second.
        hips: the two keypoints between which depth is 0.
        rng: source of randomness.
    """
    n, frames = root.shape[:2]
    yaw = rng.uniform(0, 2 * np.pi, n)
    focal = 1 / np.tan(np.deg2rad(rng.uniform(*FIELD_OF_VIEW, n)) / 2)  # half the frame's height is 1
    distance = STATURE * focal / (2 * rng.uniform(*FILL, n))
    height = rng.uniform(*HEIGHT, n)
    middle = root.mean(1)
    backwards = np.stack([np.sin(yaw), np.zeros(n), np.cos(yaw)], axis=1)
    reach = np.einsum("nti,ni->nt", root - middle[:, None], backwards).max(1)
    distance = np.maximum(distance, reach + NEAREST + np.abs(points - root[:, :, None]).max((1, 2, 3)))
    position = middle + backwards * distance[:, None] + np.stack([0 * height, height, 0 * height], axis=1)
    follows = np.where(rng.random(n) < FOLLOW_SHARE, rng.random(n), 0)[:, None, None]
    target = middle[:, None] + follows * (root - middle[:, None]) + OFF_CENTRE * rng.standard_normal((n, 1, 3))
    rotation = looking(target - position[:, None], np.array([0.0, 1.0, 0.0]))
    shaking = np.where(rng.random(n) < SHAKE_SHARE, log_uniform(rng, SHAKE_ANGLES, n), 0)
    angles = np.deg2rad(shaking)[:, None, None] * _tremor(n, frames, fps, rng)
    angles[..., 2] += np.deg2rad(np.clip(rng.standard_normal(n) * MAX_ROLL / 2, -MAX_ROLL, MAX_ROLL))[:, None]
    shake = require("scipy.spatial.transform", "video", "training").Rotation.from_euler("xyz", angles.reshape(-1, 3))
    rotation = shake.as_matrix().reshape(*angles.shape[:2], 3, 3) @ rotation
    camera_points = np.einsum("ntij,ntkj->ntki", rotation, points - position[:, None, None])
    image_points = camera_points[..., :2] / np.maximum(camera_points[..., 2:], 0.1) * focal[:, None, None, None]
    sizes = sizes_of(np.ptp(image_points, axis=2))
    size = np.median(sizes, axis=1)[:, None]
    z = camera_points[..., 2]
    hip = z[:, :, hips].mean(2, keepdims=True)
    depths = (z - hip) / np.maximum(hip, 0.1) * (focal[:, None] / size)[..., None]
    arrays = (image_points / size[..., None, None], depths, sizes / size, camera_points, focal / size[:, 0])
    return Projection(*(values.astype(np.float32) for values in arrays))


def looking(direction: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) whose rows are right, down and forward of cameras that look along ``direction``."""
    forward = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right, axis=-1, keepdims=True) + 1e-9
    return np.stack([right, np.cross(forward, right), forward], axis=-2)


def _tremor(n: int, frames: int, fps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n, frames, 3) camera shake of about unit size: three waves of random frequency per axis."""
    frequency = log_uniform(rng, SHAKE_RATES, (n, 1, 3, 3))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 3, 3))
    seconds = np.arange(frames)[:, None, None] / fps[:, None, None, None]
    sway: np.ndarray = (np.sin(2 * np.pi * frequency * seconds + phase) / np.sqrt(frequency)).mean(-1)
    return sway
