"""Write a person's motion as BVH for Blender and other animation tools: bones of constant length, and their turns."""

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
from posefix.lifting.sampling import evenly, require_limbs, unit
from posefix.motion.filters import interpolated

Direction = tuple[float, float, float]
Points = dict[str, np.ndarray]  # (R, 3) of each frame
LEFT, UP, FRONT, RIGHT, DOWN, NOWHERE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, 0)


class Joint(NamedTuple):
    """A joint of the file's skeleton, or, without a name, the end of a bone.

    Attributes:
        name: in the file.
        parent: name of the joint that turns it.
        point: where it is: a keypoint, or the middle of the hips, the shoulders or the head.
        rest: from its parent to it in the rest pose: upright, arms out, facing z.
        nominal: metres from its parent where neither its point nor that of the other side is ever known.
    """

    name: str
    parent: str
    point: str
    rest: Direction
    nominal: float


def _limbs(side: str, out: Direction) -> tuple[list[Joint], list[Joint]]:
    """Leg and arm of a side, which is ``out`` from the body."""
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
BONES = {joint.parent: joint for joint in reversed(JOINTS)}  # by the joint that turns them; the first of several
# Joints that two directions turn, from a point to another: an axis that has the first exactly, and one that has the
# second as far as that allows. All others turn by the least that brings their bone into its direction.
FRAMES = {
    "Hips": ((0, "right_hip", "left_hip"), (1, "hips", "shoulders")),
    "Spine1": ((0, "right_shoulder", "left_shoulder"), (1, "hips", "shoulders")),
    "Head": ((2, "head", "nose"), (0, "right_ear", "left_ear")),
}
# Order of Euler angles by the axis of a joint's bone. That axis is in the middle: the joint turns about it by less than
# a right angle, so that the other two never become one (gimbal lock). FRAMES lock only where people lie on their side.
ORDERS, FRAME_ORDER = ("ZXY", "XYZ", "XZY"), "YZX"


def bvh(track: Track3D, skeleton: Skeleton, fps: float) -> str:
    """Return a person's motion as the text of a BVH file: metres, y up, z towards the camera, which is the origin.

    Bones have the median of their length over the track, and in every frame exactly the direction that the keypoints
    have, so that hands and feet may be a little off. Frames and keypoints that are missing are interpolated. What is
    never known is as in the rest pose, as long as on the other side, or else as of a body of standard size.

    Raises:
        InputError: the skeleton lacks joints of arms or legs.
    """
    require_limbs(skeleton, "BVH files")
    frames = evenly(track, fps)
    seen = _points(frames.keypoints, skeleton)
    turns = _turns(_points(interpolated(frames.times, frames.keypoints), skeleton))
    channels = [interpolated(frames.times, frames.root[:, None])[:, 0]]
    channels += [_euler_angles(turns[joint.name], _order(joint.name)) for joint in JOINTS if joint.name]
    motion = io.StringIO()
    np.savetxt(motion, np.concatenate(channels, axis=1), "%.5f")
    hierarchy = _hierarchy(JOINTS[0], {joint: _length(seen, joint) for joint in JOINTS})
    timing = ["MOTION", f"Frames: {len(frames.frames)}", f"Frame Time: {1 / frames.rate:.8f}"]
    return "\n".join(["HIERARCHY", *hierarchy, *timing, motion.getvalue()])


def _hierarchy(joint: Joint, lengths: dict[Joint, float], indent: str = "") -> Iterator[str]:
    """The lines that describe a joint and all that hang on it."""
    kind = "End Site" if not joint.name else f"JOINT {joint.name}" if joint.parent else f"ROOT {joint.name}"
    yield from (f"{indent}{kind}", f"{indent}{{")
    yield f"{indent}  OFFSET " + " ".join(f"{lengths[joint] * part:.5f}" for part in joint.rest)
    if joint.name:
        moves = [] if joint.parent else ["Xposition", "Yposition", "Zposition"]
        channels = [*moves, *(f"{axis}rotation" for axis in _order(joint.name))]
        yield f"{indent}  CHANNELS {len(channels)} " + " ".join(channels)
        for child in JOINTS:
            if child.parent == joint.name:
                yield from _hierarchy(child, lengths, indent + "  ")
    yield f"{indent}}}"


def _points(keypoints: np.ndarray, skeleton: Skeleton) -> Points:
    """All points (R, 3) of JOINTS and FRAMES from keypoints (R, K, 3); NaN where the skeleton has none."""
    points = dict(zip(skeleton.keypoint_names, np.moveaxis(keypoints, 1, 0), strict=True))
    unknown = np.full((len(keypoints), 3), np.nan)
    for name, part in (("hips", "hip"), ("shoulders", "shoulder"), ("head", "ear")):
        points[name] = (points.get(f"left_{part}", unknown) + points.get(f"right_{part}", unknown)) / 2
    ends = [name for frame in FRAMES.values() for _, *pair in frame for name in pair]
    return {name: points.get(name, unknown) for name in [*(joint.point for joint in JOINTS), *ends]}


def _length(points: Points, joint: Joint) -> float:
    """Metres between a joint and its parent: the median of the frames in which both are known, here or opposite."""
    above = next((other.point for other in JOINTS if other.name == joint.parent), joint.point)
    for start, end in ((above, joint.point), (_opposite(above), _opposite(joint.point))):
        lengths = np.linalg.norm(points[end] - points[start], axis=-1)
        known = lengths[np.isfinite(lengths)]
        if len(known):
            return float(np.median(known))
    return joint.nominal


def _opposite(point: str) -> str:
    side, _, part = point.partition("_")
    return {"left": "right_", "right": "left_"}.get(side, side) + part


def _turns(points: Points) -> dict[str, np.ndarray]:
    """(R, 3, 3) rotation of each joint against its parent; none where directions are not known."""
    still = np.broadcast_to(np.eye(3), (len(points["hips"]), 3, 3))
    turns, world = {}, {"": still}
    for joint in JOINTS:
        if not joint.name:
            continue
        above = world[joint.parent]
        if joint.name in FRAMES:
            turn = above.swapaxes(1, 2) @ _frame(points, *FRAMES[joint.name])
        else:
            bone = BONES[joint.name]
            direction = points[bone.point] - points[joint.point]
            turn = _swing(np.array(bone.rest, np.float64), np.einsum("rji,rj->ri", above, direction))
        turns[joint.name] = np.where(np.isfinite(turn).all((1, 2), keepdims=True), turn, still)
        world[joint.name] = above @ turns[joint.name]
    return turns


def _frame(points: Points, first: tuple[int, str, str], second: tuple[int, str, str]) -> np.ndarray:
    """(R, 3, 3) rotations to two directions; see FRAMES, where the axis of the second follows that of the first."""
    (axis, start, end), (other, *ends) = first, second
    exact = unit(points[end] - points[start])
    near = points[ends[1]] - points[ends[0]]
    near = unit(near - (near * exact).sum(-1, keepdims=True) * exact)
    columns = {axis: exact, other: near, 3 - axis - other: np.cross(exact, near)}
    return np.stack([columns[i] for i in range(3)], axis=-1)


def _swing(rest: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(R, 3, 3) least rotations that turn a unit vector (3,), an axis, into directions (R, 3).

    Two half turns, about ``rest`` and about what lies half way to the direction, make one turn by the whole angle.
    """
    between = rest + unit(direction)
    opposite = np.linalg.norm(between, axis=-1, keepdims=True) < 1e-6
    half = unit(np.where(opposite, np.roll(rest, 1), between))
    turn: np.ndarray = _half_turn(half) @ _half_turn(rest)
    return turn


def _half_turn(axis: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations by 180 degrees about unit vectors (..., 3)."""
    turn: np.ndarray = 2 * axis[..., :, None] * axis[..., None, :] - np.eye(3)
    return turn


def _order(name: str) -> str:
    """Of a joint's Euler angles, the outermost first."""
    return FRAME_ORDER if name in FRAMES else ORDERS[int(np.abs(BONES[name].rest).argmax())]


def _euler_angles(turns: np.ndarray, order: str) -> np.ndarray:
    """(R, 3) degrees about the axes in ``order``, whose product makes rotations (R, 3, 3); they go on beyond 180."""
    rotations = require("scipy.spatial.transform", "video", "BVH files").Rotation.from_matrix(turns)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock")
        return np.unwrap(rotations.as_euler(order, degrees=True), axis=0, period=360)
