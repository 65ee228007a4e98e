"""Write a person's motion as BVH for Blender and other animation tools: constant bone lengths and joint rotations."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from posefix.core.errors import require
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import FOREARM, SHANK, SHOULDER, THIGH, TRUNK, UPPER_ARM
from posefix.lifting.poses import Track3D
from posefix.lifting.sampling import require_limbs, resampled, unit
from posefix.motion.filters import interpolated

Direction = tuple[float, float, float]
Points = dict[str, np.ndarray]  # (R, 3) over R frames, by name
LEFT, UP, FRONT, RIGHT, DOWN, NOWHERE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, 0)


class Joint(NamedTuple):
    """A joint of the file's skeleton or, without a name, the end of a bone.

    Attributes:
        name: in the file.
        parent: name of the parent joint.
        point: its position: a keypoint, or the middle of the hips, the shoulders or the head.
        rest: direction from its parent in the rest pose: upright, arms out, facing z.
        nominal: metres from its parent, used if the distance is unknown on both sides of the body.
    """

    name: str
    parent: str
    point: str
    rest: Direction
    nominal: float


def _limbs(side: str, out: Direction) -> tuple[list[Joint], list[Joint]]:
    """Return the joints of the leg and the arm of a side; ``out`` points away from the body."""
    name = side.capitalize()
    leg = [
        Joint(f"{name}UpLeg", "Hips", f"{side}_hip", out, 0.1),
        Joint(f"{name}Leg", f"{name}UpLeg", f"{side}_knee", DOWN, THIGH),
        Joint(f"{name}Foot", f"{name}Leg", f"{side}_ankle", DOWN, SHANK),
        Joint("", f"{name}Foot", f"{side}_big_toe", FRONT, 0.15),
    ]
    arm = [
        Joint(f"{name}Arm", "Spine1", f"{side}_shoulder", out, SHOULDER),
        Joint(f"{name}ForeArm", f"{name}Arm", f"{side}_elbow", out, UPPER_ARM),
        Joint(f"{name}Hand", f"{name}ForeArm", f"{side}_wrist", out, FOREARM),
        Joint("", f"{name}Hand", f"{side}_hand", out, 0.08),
    ]
    return leg, arm


(_LEFT_LEG, _LEFT_ARM), (_RIGHT_LEG, _RIGHT_ARM) = _limbs("left", LEFT), _limbs("right", RIGHT)
JOINTS = (  # in the order of the file
    Joint("Hips", "", "hips", NOWHERE, 0),
    *_LEFT_LEG,
    *_RIGHT_LEG,
    Joint("Spine", "Hips", "hips", NOWHERE, 0),
    Joint("Spine1", "Spine", "shoulders", UP, TRUNK),
    *_LEFT_ARM,
    *_RIGHT_ARM,
    Joint("Neck", "Spine1", "shoulders", NOWHERE, 0),
    Joint("Head", "Neck", "head", UP, 0.2),
    Joint("", "Head", "nose", FRONT, 0.1),
)
BONES = {joint.parent: joint for joint in reversed(JOINTS)}  # by the joint they start at; the first of several
# Joints whose rotation aligns two axes with two pairs of points: the first exactly, the second as far as possible. All
# other joints get the least rotation that aligns their bone.
FRAMES = {
    "Hips": ((0, "right_hip", "left_hip"), (1, "hips", "shoulders")),
    "Spine1": ((0, "right_shoulder", "left_shoulder"), (1, "hips", "shoulders")),
    "Head": ((2, "head", "nose"), (0, "right_ear", "left_ear")),
}
# Order of Euler angles by the axis of a joint's bone. This axis comes second: joints rotate about it by less than 90
# degrees, which avoids gimbal lock. FRAMES lock only for people who lie on their side.
ORDERS, FRAME_ORDER = ("ZXY", "XYZ", "XZY"), "YZX"


def bvh(track: Track3D, skeleton: Skeleton, fps: float) -> str:
    """Return a person's motion as the text of a BVH file: metres, y up, z towards the camera, which is the origin.

    Bones have their median length over the track and the direction of the keypoints in every frame, so hands and feet
    can be slightly off. Missing frames and keypoints are interpolated. Directions that are never known are those of the
    rest pose; unknown lengths are copied from the other side, or else from a body of standard size.

    Raises:
        InputError: the skeleton lacks joints of arms or legs.
    """
    require_limbs(skeleton, "BVH files")
    sampled = resampled(track, fps)
    points = _points(sampled.keypoints, skeleton)
    rotations = _rotations(_points(interpolated(sampled.times, sampled.keypoints), skeleton))
    channels = [interpolated(sampled.times, sampled.root[:, None])[:, 0]]
    channels += [_euler_angles(rotations[joint.name], _euler_order(joint.name)) for joint in JOINTS if joint.name]
    motion = io.StringIO()
    np.savetxt(motion, np.concatenate(channels, axis=1), "%.5f")
    hierarchy = _hierarchy(JOINTS[0], {joint: _length(points, joint) for joint in JOINTS})
    timing = ["MOTION", f"Frames: {len(sampled.frames)}", f"Frame Time: {1 / sampled.rate:.8f}"]
    return "\n".join(["HIERARCHY", *hierarchy, *timing, motion.getvalue()])


def _hierarchy(joint: Joint, lengths: dict[Joint, float], indent: str = "") -> Iterator[str]:
    """Yield the lines that describe a joint and its descendants."""
    kind = "End Site" if not joint.name else f"JOINT {joint.name}" if joint.parent else f"ROOT {joint.name}"
    yield from (f"{indent}{kind}", f"{indent}{{")
    yield f"{indent}  OFFSET " + " ".join(f"{lengths[joint] * part:.5f}" for part in joint.rest)
    if joint.name:
        translations = [] if joint.parent else ["Xposition", "Yposition", "Zposition"]
        channels = [*translations, *(f"{axis}rotation" for axis in _euler_order(joint.name))]
        yield f"{indent}  CHANNELS {len(channels)} " + " ".join(channels)
        for child in JOINTS:
            if child.parent == joint.name:
                yield from _hierarchy(child, lengths, indent + "  ")
    yield f"{indent}}}"


def _points(keypoints: np.ndarray, skeleton: Skeleton) -> Points:
    """Return all points (R, 3) of JOINTS and FRAMES from keypoints (R, K, 3); NaN if the skeleton lacks them."""
    points = dict(zip(skeleton.keypoint_names, np.moveaxis(keypoints, 1, 0), strict=True))
    unknown = np.full((len(keypoints), 3), np.nan)
    for name, part in (("hips", "hip"), ("shoulders", "shoulder"), ("head", "ear")):
        points[name] = (points.get(f"left_{part}", unknown) + points.get(f"right_{part}", unknown)) / 2
    ends = [name for frame in FRAMES.values() for _, *pair in frame for name in pair]
    return {name: points.get(name, unknown) for name in [*(joint.point for joint in JOINTS), *ends]}


def _length(points: Points, joint: Joint) -> float:
    """Return the median distance of a joint to its parent, metres, on its side or else on the other."""
    parent = next((other.point for other in JOINTS if other.name == joint.parent), joint.point)
    for start, end in ((parent, joint.point), (_opposite(parent), _opposite(joint.point))):
        lengths = np.linalg.norm(points[end] - points[start], axis=-1)
        known = lengths[np.isfinite(lengths)]
        if len(known):
            return float(np.median(known))
    return joint.nominal


def _opposite(point: str) -> str:
    side, _, part = point.partition("_")
    return {"left": "right_", "right": "left_"}.get(side, side) + part


def _rotations(points: Points) -> dict[str, np.ndarray]:
    """Return the rotation (R, 3, 3) of each joint relative to its parent; identity where directions are unknown."""
    identity = np.broadcast_to(np.eye(3), (len(points["hips"]), 3, 3))
    rotations, world = {}, {"": identity}
    for joint in JOINTS:
        if not joint.name:
            continue
        parent = world[joint.parent]
        if joint.name in FRAMES:
            rotation = parent.swapaxes(1, 2) @ _aligned_axes(points, *FRAMES[joint.name])
        else:
            bone = BONES[joint.name]
            direction = points[bone.point] - points[joint.point]
            rotation = _least_rotation(np.array(bone.rest, np.float64), np.einsum("rji,rj->ri", parent, direction))
        rotations[joint.name] = np.where(np.isfinite(rotation).all((1, 2), keepdims=True), rotation, identity)
        world[joint.name] = parent @ rotations[joint.name]
    return rotations


def _aligned_axes(points: Points, first: tuple[int, str, str], second: tuple[int, str, str]) -> np.ndarray:
    """Return rotations (R, 3, 3) that align two axes with directions, as FRAMES describes."""
    (axis, start, end), (other, *ends) = first, second
    first_axis = unit(points[end] - points[start])
    second_axis = points[ends[1]] - points[ends[0]]
    second_axis = unit(second_axis - (second_axis * first_axis).sum(-1, keepdims=True) * first_axis)
    columns = {axis: first_axis, other: second_axis, 3 - axis - other: np.cross(first_axis, second_axis)}
    return np.stack([columns[i] for i in range(3)], axis=-1)


def _least_rotation(rest: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the least rotations (R, 3, 3) of the axis ``rest``, a unit vector (3,), into directions (R, 3).

    The product of half turns about ``rest`` and about the bisector of both is a rotation by the angle between them.
    """
    bisector = rest + unit(direction)
    opposite = np.linalg.norm(bisector, axis=-1, keepdims=True) < 1e-6
    half_axis = unit(np.where(opposite, np.roll(rest, 1), bisector))
    rotation: np.ndarray = _half_turn(half_axis) @ _half_turn(rest)
    return rotation


def _half_turn(axis: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) by 180 degrees about unit vectors (..., 3)."""
    rotation: np.ndarray = 2 * axis[..., :, None] * axis[..., None, :] - np.eye(3)
    return rotation


def _euler_order(name: str) -> str:
    """Return the order of a joint's Euler angles, the outermost first."""
    return FRAME_ORDER if name in FRAMES else ORDERS[int(np.abs(BONES[name].rest).argmax())]


def _euler_angles(rotations: np.ndarray, order: str) -> np.ndarray:
    """Return Euler angles (R, 3) of rotations (R, 3, 3): degrees, unwrapped over time."""
    scipy_rotations = require("scipy.spatial.transform", "video", "BVH files").Rotation.from_matrix(rotations)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock")
        return np.unwrap(scipy_rotations.as_euler(order, degrees=True), axis=0, period=360)
