"""Draw 3D motion of the 17 COCO keypoints from motion capture, with random bodies, faces and frame rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.random import log_uniform

JOINTS = (
    *(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
    *("pelvis", "neck", "head", "head_end"),
)
PARENTS = np.array([13, 13, 0, 1, 2, 3, 12, 12, 6, 7, 8, 9, -1, 12, 13, 14])
# Bones with the same number have the same length factor: left and right of a part, then torso, neck and head.
BONES = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9])
MIRROR = np.array([1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13, 14, 15])
PELVIS, NECK, HEAD, SHOULDERS, HIPS = 12, 13, 14, (0, 1), (6, 7)

# Nose, eyes and ears in head axes (left, up, forward), metres from the base of the skull; spreads between people.
FACE = np.array(
    [[0, 0.045, 0.115], [0.035, 0.08, 0.085], [-0.035, 0.08, 0.085], [0.075, 0.055, 0.0], [-0.075, 0.055, 0.0]]
)
FACE_SPREAD, HEAD_SIZE = 0.012, 0.1

BONE_SPREAD, BODY_SPREAD = 0.08, 0.06  # of the log length of each bone, and of the whole body
# Annotators mark hips and shoulders further out and up than the joint centres: factors of the width, metres.
HIP_WIDTH, HIP_RISE, SHOULDER_WIDTH, SHOULDER_RISE = (1.0, 1.5), (0.0, 0.09), (0.95, 1.3), (-0.02, 0.05)
DEFINITION_SPREAD = 0.03  # metres, in trunk axes: estimators define keypoints differently
WARP = (0.7, 1.4)  # speed of the motion


@dataclass(frozen=True, eq=False)
class MotionCapture:
    """S segments of recorded motion, with F frames in total.

    Attributes:
        joints: (F, 16, 3) metres from the pelvis, in the order of ``JOINTS``; y is up.
        root: (F, 3) float32 metres, the pelvis relative to the segment's first frame.
        head_rotation: (F, 3, 3), columns: the head's left, up and forward.
        starts: (S + 1,) int64, first frames of the segments, and F.
        fps: frames per second.
    """

    joints: np.ndarray
    root: np.ndarray
    head_rotation: np.ndarray
    starts: np.ndarray
    fps: float

    @classmethod
    def load(cls, path: str | Path) -> MotionCapture:
        """Read an ``.npz`` of these arrays; raise InputError if it is missing or not valid."""
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file of motion capture; see docs/train.md, and set $POSEFIX_DATA")
        try:
            with np.load(path) as file:
                names = [str(name) for name in file["joint_names"]]
                capture = cls(file["joints"], file["root"], file["head_rotation"], file["starts"], float(file["fps"]))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a file of motion capture ({error})") from None
        if tuple(names) != JOINTS:
            raise InputError(f"{path}: its joints must be {', '.join(JOINTS)}")
        return capture

    def draw(
        self, fps: np.ndarray, frames: int, rng: np.random.Generator, definition: float = DEFINITION_SPREAD
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw windows of motion of people with random builds, half of them mirrored.

        Segments are drawn in proportion to their length. Windows longer than their segment are reflected in time.

        Args:
            fps: (N,) frames per second of the windows.
            frames: T, length of the windows.
            rng: source of randomness.
            definition: standard deviation of a keypoint's definition between people, in metres.

        Returns:
            COCO keypoints (N, T, 17, 3) float32 and the pelvis (N, T, 3), metres in the room.
        """
        n = len(fps)
        lengths = np.diff(self.starts)
        segment = rng.choice(len(lengths), n, p=lengths / lengths.sum())
        step = self.fps / fps * log_uniform(rng, WARP, n)
        spare = np.maximum(lengths[segment] - 1 - step * (frames - 1), 0)
        position = (rng.random(n) * spare)[:, None] + step[:, None] * np.arange(frames)
        joints, root, head = self._at(position, segment, lengths[segment])
        mirrored = rng.random(n) < 0.5
        joints[mirrored] = joints[mirrored][:, :, MIRROR] * np.array([-1, 1, 1], np.float32)
        root[mirrored] *= np.array([-1, 1, 1], np.float32)
        head[mirrored] = head[mirrored] * np.outer([-1, 1, 1], [-1, 1, 1]).astype(np.float32)
        return _keypoints(joints, root, head, rng, definition)

    def _at(self, position: np.ndarray, segment: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
        """Interpolate joints, root and head at fractional frames (N, T) of segments (cubic, Catmull-Rom)."""
        floor = np.floor(position)
        t = (position - floor)[..., None].astype(np.float32)
        weights = np.concatenate(
            [
                -0.5 * t**3 + t**2 - 0.5 * t,
                1.5 * t**3 - 2.5 * t**2 + 1,
                -1.5 * t**3 + 2 * t**2 + 0.5 * t,
                0.5 * t**3 - 0.5 * t**2,
            ],
            axis=-1,
        )
        last = (lengths - 1)[:, None, None]
        rows = floor[..., None].astype(np.int64) + np.arange(-1, 3)
        rows = np.abs((rows + last) % np.maximum(2 * last, 1) - last)  # reflect at the ends
        rows += self.starts[segment][:, None, None]
        return tuple(
            np.einsum("nti,nti...->nt...", weights, np.asarray(array[rows], np.float32))
            for array in (self.joints, self.root, self.head_rotation)
        )


def _keypoints(
    joints: np.ndarray, root: np.ndarray, head: np.ndarray, rng: np.random.Generator, definition: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the COCO keypoints, and the pelvis, of people with random builds."""
    n = len(joints)
    body = np.exp(BODY_SPREAD * rng.standard_normal((n, 1)))
    factors = (body * np.exp(BONE_SPREAD * rng.standard_normal((n, BONES.max() + 1))))[:, BONES].astype(np.float32)
    factors[:, HIPS] *= rng.uniform(*HIP_WIDTH, (n, 1))
    factors[:, SHOULDERS] *= rng.uniform(*SHOULDER_WIDTH, (n, 1))
    bones = joints - np.where(PARENTS[:, None] >= 0, joints[:, :, PARENTS], 0)
    joints = np.einsum("ij,ntjc->ntic", _bone_paths(), bones * factors[:, None, :, None])
    axes = _trunk_axes(joints)  # (N, T, 3, 3): left, up, forward
    shift = definition * rng.standard_normal((n, len(JOINTS), 3))
    shift[:, HIPS, 1] += rng.uniform(*HIP_RISE, (n, 1))
    shift[:, SHOULDERS, 1] += rng.uniform(*SHOULDER_RISE, (n, 1))
    joints = joints + np.einsum("ntac,nja->ntjc", axes, shift.astype(np.float32))
    face = FACE + FACE_SPREAD * rng.standard_normal((n, *FACE.shape)) * [0.5, 1, 1]
    face[:, [2, 4]] = face[:, [1, 3]] * [-1, 1, 1]
    face = face * np.exp(HEAD_SIZE * rng.standard_normal((n, 1, 1)))
    face = np.einsum("ntij,nkj->ntki", head, face.astype(np.float32)) + joints[:, :, HEAD, None]
    root = root * factors[:, 8, None, None]  # longer thighs, longer steps
    return np.concatenate([face, joints[:, :, :PELVIS]], axis=2) + root[:, :, None], root


def _trunk_axes(joints: np.ndarray) -> np.ndarray:
    """Return unit vectors (N, T, 3, 3) float32: left, up along the trunk, and forward."""
    up = joints[:, :, NECK] - joints[:, :, PELVIS]
    up /= np.linalg.norm(up, axis=-1, keepdims=True) + 1e-6
    left = joints[:, :, HIPS[0]] - joints[:, :, HIPS[1]]
    left -= (left * up).sum(-1, keepdims=True) * up
    left /= np.linalg.norm(left, axis=-1, keepdims=True) + 1e-6
    return np.stack([left, up, np.cross(left, up)], axis=2)


def _bone_paths() -> np.ndarray:
    """Return (16, 16) float32: 1 where a bone is on the path from the pelvis to a joint."""
    parent = np.arange(len(PARENTS)) == PARENTS[:, None]
    return np.linalg.inv(np.eye(len(PARENTS)) - parent).astype(np.float32)
