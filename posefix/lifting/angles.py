"""Angles of joints, in degrees, as far as keypoints show them.

Keypoints give the long axis of each limb, and a left-right axis of hips and of shoulders; they show no turning of a
limb about itself, and no tilt of the pelvis: the trunk stands in for the pelvis. With that, angles are as the
International Society of Biomechanics recommends: Wu et al., J. Biomech. 35 (2002) for the hip, Wu et al.,
J. Biomech. 38 (2005) for shoulder and elbow, Grood and Suntay, J. Biomech. Eng. 105 (1983) for the knee.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.lifting.body import JOINTS, SIDES
from posefix.lifting.poses import Track3D
from posefix.lifting.sampling import require_limbs, unit, y_up

UP = np.array([0.0, 1.0, 0.0])
HANGING = 10.0  # degrees from the trunk's axis within which an arm points nowhere around it


def joint_angles(track: Track3D, skeleton: Skeleton) -> tuple[tuple[str, ...], np.ndarray]:
    """Compute the angles of a person's joints.

    ======================  ==========================================================================================
    ``trunk_lean``          between the axis of the trunk, from hips to shoulders, and the camera's vertical
    ``hip_flexion``         of the thigh from the trunk's axis, in its sagittal plane; forwards is positive
    ``hip_adduction``       of the thigh out of that plane; outwards (abduction) is negative
    ``knee_flexion``        between thigh and shank; 0 is straight
    ``shoulder_elevation``  between upper arm and trunk; 0 hangs down, 180 is overhead
    ``shoulder_plane``      in which the arm is elevated: 0 sideways, 90 forwards; NaN of arms along the trunk
    ``elbow_flexion``       between upper arm and forearm; 0 is straight
    ======================  ==========================================================================================

    All but the first are there twice, with ``left_`` and ``right_`` before the name.

    Returns:
        A names, and (T, A) float64 degrees; NaN where a keypoint is not known.

    Raises:
        InputError: the skeleton lacks joints of arms or legs.
    """
    require_limbs(skeleton, "joint angles")
    at = dict(zip(skeleton.keypoint_names, np.moveaxis(y_up(track.keypoints), 1, 0), strict=True))
    hips, shoulders = ((at[f"left_{part}"] + at[f"right_{part}"]) / 2 for part in ("hip", "shoulder"))
    trunk = unit(shoulders - hips)
    angles = {"trunk_lean": _between(trunk, UP)}
    for side, outwards in zip(SIDES, (-1, 1), strict=True):
        shoulder, elbow, wrist, hip, knee, ankle = (at[f"{side}_{joint}"] for joint in JOINTS)
        right, forward = _axes(at["right_hip"] - at["left_hip"], trunk)
        thigh = unit(knee - hip)
        angles[f"{side}_hip_flexion"] = _degrees(_dot(thigh, forward), -_dot(thigh, trunk))
        angles[f"{side}_hip_adduction"] = -outwards * np.rad2deg(np.arcsin(np.clip(_dot(thigh, right), -1, 1)))
        angles[f"{side}_knee_flexion"] = _between(thigh, ankle - knee)
        right, forward = _axes(at["right_shoulder"] - at["left_shoulder"], trunk)
        arm = unit(elbow - shoulder)
        elevation = angles[f"{side}_shoulder_elevation"] = _between(arm, -trunk)
        plane = _degrees(_dot(arm, forward), outwards * _dot(arm, right))
        angles[f"{side}_shoulder_plane"] = np.where(np.abs(elevation - 90) < 90 - HANGING, plane, np.nan)
        angles[f"{side}_elbow_flexion"] = _between(arm, wrist - elbow)
    return tuple(angles), np.stack(list(angles.values()), axis=1)


def _axes(right: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors to a person's right, made perpendicular to ``up``, and forward."""
    right = unit(right - _dot(right, up)[:, None] * up)
    return right, np.cross(up, right)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees, 0 to 180, between vectors (T, 3)."""
    return _degrees(np.linalg.norm(np.cross(a, b), axis=-1), _dot(a, b))


def _degrees(sine: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    angle: np.ndarray = np.rad2deg(np.arctan2(sine, cosine))
    return angle


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product: np.ndarray = (a * b).sum(-1)
    return product
