"""See people in a room by random cameras: pinhole, at any height, still or following, steady or shaking."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.errors import require
from posefix.core.random import log_uniform
from posefix.motion.denoise import sizes_of

FIELD_OF_VIEW, FILL, PITCHES = (25.0, 90.0), (0.2, 0.9), 10.0  # degrees; share of the frame's height; roll, degrees
HEIGHT, STATURE, NEAREST = (-0.95, 2.05), 1.7, 1.0  # metres above the pelvis; a person's height; in front of the camera
OFF_CENTRE = 0.3  # metres by which the camera looks past the person
FOLLOWING, SHAKING, SHAKE, TREMOR = 0.4, 0.5, (0.05, 1.0), (0.2, 4.0)  # shares of cameras; degrees; Hz


class Projection(NamedTuple):
    """Keypoints as cameras see them, in units of each person's size: sqrt(area) in the median over the window."""

    keypoints: np.ndarray  # (N, T, K, 2) float32, y down
    depths: np.ndarray  # (N, T, K) float32, behind the middle of the hips, in the same units at that distance
    sizes: np.ndarray  # (N, T) float32, sqrt(area) in each frame
    points: np.ndarray  # (N, T, K, 3) float32 metres, in the cameras' axes: x right, y down, z away
    focal: np.ndarray  # (N,) float32, in the same units


def project(
    points: np.ndarray, root: np.ndarray, fps: np.ndarray, hips: list[int], rng: np.random.Generator
) -> Projection:
    """Project (N, T, K, 3) points in metres, y up, around a (N, T, 3) ``root``, one random camera for each of N.

    ``fps`` (N,) are frames a second, ``hips`` the two keypoints between which depth is 0.
    """
    n, frames = root.shape[:2]
    yaw = rng.uniform(0, 2 * np.pi, n)
    focal = 1 / np.tan(np.deg2rad(rng.uniform(*FIELD_OF_VIEW, n)) / 2)  # half the frame's height is 1
    distance = STATURE * focal / (2 * rng.uniform(*FILL, n))
    height = rng.uniform(*HEIGHT, n)
    middle = root.mean(1)
    aside = np.stack([np.sin(yaw), np.zeros(n), np.cos(yaw)], axis=1)
    reach = np.einsum("nti,ni->nt", root - middle[:, None], aside).max(1)
    distance = np.maximum(distance, reach + NEAREST + np.abs(points - root[:, :, None]).max((1, 2, 3)))
    place = middle + aside * distance[:, None] + np.stack([0 * height, height, 0 * height], axis=1)
    follows = np.where(rng.random(n) < FOLLOWING, rng.random(n), 0)[:, None, None]
    target = middle[:, None] + follows * (root - middle[:, None]) + OFF_CENTRE * rng.standard_normal((n, 1, 3))
    rotation = looking(target - place[:, None], np.array([0.0, 1.0, 0.0]))
    shaking = np.where(rng.random(n) < SHAKING, log_uniform(rng, SHAKE, n), 0)
    angles = np.deg2rad(shaking)[:, None, None] * _tremor(n, frames, fps, rng)
    angles[..., 2] += np.deg2rad(np.clip(rng.standard_normal(n) * PITCHES / 2, -PITCHES, PITCHES))[:, None]
    turns = require("scipy.spatial.transform", "video", "training").Rotation.from_euler("xyz", angles.reshape(-1, 3))
    rotation = turns.as_matrix().reshape(*angles.shape[:2], 3, 3) @ rotation
    seen = np.einsum("ntij,ntkj->ntki", rotation, points - place[:, None, None])
    plane = seen[..., :2] / np.maximum(seen[..., 2:], 0.1) * focal[:, None, None, None]
    sizes = sizes_of(np.ptp(plane, axis=2))
    size = np.median(sizes, axis=1)[:, None]
    z = seen[..., 2]
    hip = z[:, :, hips].mean(2, keepdims=True)
    depths = (z - hip) / np.maximum(hip, 0.1) * (focal[:, None] / size)[..., None]
    found = (plane / size[..., None, None], depths, sizes / size, seen, focal / size[:, 0])
    return Projection(*(values.astype(np.float32) for values in found))


def looking(direction: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations whose rows are right, down and forward of cameras that look in a direction (..., 3)."""
    forward = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right, axis=-1, keepdims=True) + 1e-9
    return np.stack([right, np.cross(forward, right), forward], axis=-2)


def _tremor(n: int, frames: int, fps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, frames, 3) of about unit size: three waves of random frequency for each axis."""
    frequency = log_uniform(rng, TREMOR, (n, 1, 3, 3))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 3, 3))
    seconds = np.arange(frames)[:, None, None] / fps[:, None, None, None]
    sway: np.ndarray = (np.sin(2 * np.pi * frequency * seconds + phase) / np.sqrt(frequency)).mean(-1)
    return sway
