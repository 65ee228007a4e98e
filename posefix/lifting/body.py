"""The standard-size body that 3D poses are expressed in, and the direction it is viewed from."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.motion.camera import looking

HEIGHT = 1.75  # metres, of a person of standard size
# Segment lengths in metres (Winter, Biomechanics and Motor Control of Human Movement, figure 4.1).
UPPER_ARM, FOREARM, THIGH, SHANK = (share * HEIGHT for share in (0.186, 0.146, 0.245, 0.246))
TRUNK, SHOULDER = 0.288 * HEIGHT, 0.129 * HEIGHT  # mid-hip to mid-shoulder, mid-shoulder to shoulder
LIMBS = 2 * (UPPER_ARM + FOREARM + THIGH + SHANK)
SIDES = ("left", "right")
JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
LIMB_PARTS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
UP = np.array([0.0, -1.0, 0.0])  # in camera coordinates


def limbs_of(skeleton: Skeleton) -> np.ndarray:
    """Return (8, 2) int64 end points of upper arms, forearms, thighs and shanks, left and right in turn."""
    return np.array([[skeleton.index(f"{side}_{part}") for part in ends] for ends in LIMB_PARTS for side in SIDES])


def hips_of(skeleton: Skeleton) -> list[int]:
    """Return the left and right hip, whose middle is the root of a pose."""
    return [skeleton.index("left_hip"), skeleton.index("right_hip")]


def limb_lengths(keypoints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """Return the lengths (..., L) of limbs (L, 2) of poses (..., K, 3)."""
    lengths: np.ndarray = np.linalg.norm(keypoints[..., limbs[:, 1], :] - keypoints[..., limbs[:, 0], :], axis=-1)
    return lengths


def views(directions: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) from camera coordinates to those of a camera that looks along ``directions``.

    Seen along the line of sight, a person looks alike anywhere in the image (Yu et al., PCLs, CVPR 2021). So poses are
    lifted in these coordinates and then rotated to the camera's.
    """
    return looking(directions, UP)
