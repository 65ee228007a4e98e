"""Compute joint angles in degrees from 3D keypoints.

Keypoints show the long axis of each limb and the left-right axes of hips and shoulders, but neither axial rotation of
limbs nor pelvic tilt; the trunk stands in for the pelvis. Otherwise angles follow the International Society of
Biomechanics: Wu et al., J. Biomech. 35 (2002) for the hip, Wu et al., J. Biomech. 38 (2005) for shoulder and elbow,
Grood and Suntay, J. Biomech. Eng. 105 (1983) for the knee.
"""

from __future__ import annotations

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.lifting.body import JOINTS, SIDES
from posefix.lifting.poses import Track3D
from posefix.lifting.sampling import require_limbs, unit, y_up

UP = np.array([0.0, 1.0, 0.0])
MIN_ELEVATION = 10.0  # degrees from the trunk's axis; closer arms have no plane of elevation


def joint_angles(track: Track3D, skeleton: Skeleton) -> tuple[tuple[str, ...], np.ndarray]:
    """Compute the joint angles of a person.

    ======================  ==========================================================================================
    ``trunk_lean``          between the axis of the trunk, from hips to shoulders, and the camera's vertical
    ``hip_flexion``         of the thigh from the trunk's axis in the sagittal plane; forward is positive
    ``hip_adduction``       of the thigh out of that plane; outward (abduction) is negative
    ``knee_flexion``        between thigh and shank; 0 is straight
    ``shoulder_elevation``  between upper arm and trunk; 0 hangs down, 180 is overhead
    ``shoulder_plane``      plane of elevation: 0 sideways, 90 forward; NaN for arms along the trunk
    ``elbow_flexion``       between upper arm and forearm; 0 is straight
    ======================  ==========================================================================================

    All but the first exist for both sides, prefixed with ``left_`` and ``right_``.

    Returns:
        Names of the A angles, and (T, A) float64 degrees; NaN where a keypoint is unknown.

    Raises:
        InputError: the skeleton lacks joints of arms or legs.
    """
    require_limbs(skeleton, "joint angles")
    points = dict(zip(skeleton.keypoint_names, np.moveaxis(y_up(track.keypoints), 1, 0), strict=True))
    hips, shoulders = ((points[f"left_{part}"] + points[f"right_{part}"]) / 2 for part in ("hip", "shoulder"))
    trunk = unit(shoulders - hips)
    angles = {"trunk_lean": _angle_between(trunk, UP)}
    for side, outwards in zip(SIDES, (-1, 1), strict=True):
        shoulder, elbow, wrist, hip, knee, ankle = (points[f"{side}_{joint}"] for joint in JOINTS)
        right, forward = _body_axes(points["right_hip"] - points["left_hip"], trunk)
        thigh = unit(knee - hip)
        angles[f"{side}_hip_flexion"] = _degrees(_dot(thigh, forward), -_dot(thigh, trunk))
        angles[f"{side}_hip_adduction"] = -outwards * np.rad2deg(np.arcsin(np.clip(_dot(thigh, right), -1, 1)))
        angles[f"{side}_knee_flexion"] = _angle_between(thigh, ankle - knee)
        right, forward = _body_axes(points["right_shoulder"] - points["left_shoulder"], trunk)
        arm = unit(elbow - shoulder)
        elevation = angles[f"{side}_shoulder_elevation"] = _angle_between(arm, -trunk)
        plane = _degrees(_dot(arm, forward), outwards * _dot(arm, right))
        angles[f"{side}_shoulder_plane"] = np.where(np.abs(elevation - 90) < 90 - MIN_ELEVATION, plane, np.nan)
        angles[f"{side}_elbow_flexion"] = _angle_between(arm, wrist - elbow)
    return tuple(angles), np.stack(list(angles.values()), axis=1)


def _body_axes(right: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors to the right, perpendicular to ``up``, and forward."""
    right = unit(right - _dot(right, up)[:, None] * up)
    return right, np.cross(up, right)


def _angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle between vectors (T, 3): degrees, 0 to 180."""
    return _degrees(np.linalg.norm(np.cross(a, b), axis=-1), _dot(a, b))


def _degrees(sine: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    angle: np.ndarray = np.rad2deg(np.arctan2(sine, cosine))
    return angle


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product: np.ndarray = (a * b).sum(-1)
    return product
