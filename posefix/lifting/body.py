"""The body of standard size in which 3D poses are given, and where it is looked at from."""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.motion.camera import looking

HEIGHT = 1.75  # metres, of a person of standard size
# Metres, of such a person (Winter, Biomechanics and Motor Control of Human Movement, figure 4.1).
UPPER_ARM, FOREARM, THIGH, SHANK = (share * HEIGHT for share in (0.186, 0.146, 0.245, 0.246))
TRUNK, SHOULDER = 0.288 * HEIGHT, 0.129 * HEIGHT  # from between the hips to between the shoulders, from there to one
LIMBS = 2 * (UPPER_ARM + FOREARM + THIGH + SHANK)
SIDES = ("left", "right")
JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
LIMB_PARTS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
UP = np.array([0.0, -1.0, 0.0])  # in a camera's axes


def limbs_of(skeleton: Skeleton) -> np.ndarray:
    """(8, 2) int64 keypoints at the ends of upper arms, forearms, thighs and shanks, left and right in turn."""
    return np.array([[skeleton.index(f"{side}_{part}") for part in ends] for ends in LIMB_PARTS for side in SIDES])


def hips_of(skeleton: Skeleton) -> list[int]:
    """The two keypoints between which a pose has its root."""
    return [skeleton.index("left_hip"), skeleton.index("right_hip")]


def limb_lengths(keypoints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(..., L) lengths of limbs (L, 2) of poses (..., K, 3)."""
    lengths: np.ndarray = np.linalg.norm(keypoints[..., limbs[:, 1], :] - keypoints[..., limbs[:, 0], :], axis=-1)
    return lengths


def views(directions: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations from the camera's axes to those of a camera in its place that looks in a direction.

    A person looks alike wherever in the image they are, if they are seen along the line of sight to them (Yu et al.,
    PCLs, CVPR 2021). So that is how poses are lifted, and the camera's axes come after.
    """
    return looking(directions, UP)
