"""BVH files: another program's forward kinematics puts joints where the keypoints are, on bones of constant length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.core.skeleton import from_dict, load
from posefix.lifting.body import LIMBS, SIDES
from posefix.lifting.bvh import JOINTS, bvh
from posefix.lifting.poses import Track3D
from posefix.motion.mocap import MotionCapture
from tests.lifting_scenes import COCO, walker

pybvh = pytest.importorskip("pybvh")
MIDDLES = {"hips": ("left_hip", "right_hip"), "shoulders": ("left_shoulder", "right_shoulder")}
MIDDLES["head"] = ("left_ear", "right_ear")
NAMES = [joint.name for joint in JOINTS]
ABOVE = np.array([NAMES.index(joint.parent) if joint.parent else 0 for joint in JOINTS])
SHOWN = np.array([joint.point in {*COCO.keypoint_names, *MIDDLES} for joint in JOINTS])  # by COCO's keypoints


def read(text: str, folder: Path) -> Any:
    path = folder / "motion.bvh"
    path.write_text(text)
    return pybvh.read_bvh_file(path, world_up="+y")


def points_of(keypoints: np.ndarray) -> np.ndarray:
    """(T, J, 3) where the joints of the file should be, y up, from keypoints (T, 17, 3) in the camera's axes."""
    names = np.where(SHOWN, [joint.point for joint in JOINTS], "nose")
    places = [[COCO.index(name) for name in MIDDLES.get(point, (point,) * 2)] for point in names]
    return (keypoints[:, places].mean(2) * (1, -1, -1)).astype(np.float64)


def bones_of(points: np.ndarray) -> np.ndarray:
    """(T, J, 3) from the joint above to each."""
    return (points - points[:, ABOVE])[:, SHOWN]


def check(track: Track3D, folder: Path) -> Any:
    """Bones have the directions of the keypoints and one length each, which is the median."""
    found = read(bvh(track, COCO, 50.0), folder)
    bones = bones_of(found.node_positions())
    expected = bones_of(points_of(track.keypoints))
    lengths = np.median(np.linalg.norm(expected, axis=-1), axis=0)
    np.testing.assert_allclose(np.linalg.norm(bones, axis=-1), np.tile(lengths, (len(track), 1)), atol=2e-5)
    scale = np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(bones, expected / np.where(scale > 0, scale, 1) * lengths[:, None], atol=3e-5)
    np.testing.assert_allclose(found.root_pos, track.root * (1, -1, -1), atol=2e-5)
    return found


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_bones_have_the_directions_of_any_pose(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    keypoints = rng.normal(0, 0.5, (4, 17, 3))
    keypoints -= keypoints[:, 11:13].mean(1, keepdims=True)
    check(replace(walker(4), keypoints=keypoints.astype(np.float32)), tmp_path_factory.getbasetemp())


def test_poses_at_right_angles_and_opposite_to_the_rest_pose_are_kept(tmp_path: Path) -> None:
    track = walker(5)
    keypoints = track.keypoints
    keypoints[:, [7, 9]] = keypoints[:, [5]] + np.array([[-0.28, 0, 0], [0, 0, 0]])  # an arm through the chest and back
    keypoints[:, [13, 15]] = keypoints[:, [11]] + np.array([[0, -0.4, 0], [0, -0.8, 0]])  # a leg straight up
    keypoints[:, [14, 16]] = keypoints[:, [12]] + np.array([[0, 0, -0.4], [0, 0.4, -0.4]])  # sitting
    check(track, tmp_path)


def test_motion_capture_comes_back_with_smooth_angles(tmp_path: Path, data_root: Path) -> None:
    motion = MotionCapture.load(data_root / "mocap" / "val.npz")
    keypoints, _ = motion.draw(np.full(8, 50.0), 200, np.random.default_rng(0))
    keypoints = keypoints * np.array([1, -1, -1], np.float32)
    for points in keypoints - keypoints[:, :, 11:13].mean(2, keepdims=True):
        found = check(replace(walker(200), keypoints=points), tmp_path)
        steps = np.rad2deg(np.abs(np.diff(found.joint_angles, axis=0)))
        assert np.percentile(steps, 99) < 12 and steps.max() < 90


def test_who_turns_round_and_round_turns_on(tmp_path: Path) -> None:
    found = check(walker(90, turn=0.15), tmp_path)
    np.testing.assert_allclose(np.diff(found.joint_angles[:, 0, 0]), -0.15, atol=0.01)  # radians; y is up there


def test_the_rest_pose_is_upright_with_arms_out(tmp_path: Path) -> None:
    track = walker(1)
    track.keypoints[0, [7, 9]] = track.keypoints[0, 5] + np.array([[0.28, 0, 0], [0.6, 0, 0]])
    track.keypoints[0, [8, 10]] = track.keypoints[0, 6] - np.array([[0.28, 0, 0], [0.6, 0, 0]])
    track.keypoints[0, 13:17, 2] = 0
    found = read(bvh(track, COCO, 50.0), tmp_path)
    assert np.abs(found.joint_angles[0, :-2]).max() < 1e-6  # radians; but for the head, which looks up
    assert found.frame_count == 1


def test_gaps_are_interpolated_and_what_is_never_seen_rests(tmp_path: Path) -> None:
    track = walker(30)
    whole = read(bvh(track, COCO, 50.0), tmp_path).node_positions()
    track.keypoints[10, 9] = track.keypoints[:4, 14] = np.nan
    track.root[20] = np.nan
    kept = np.r_[:15, 16:30]
    seen = replace(track, **{name: getattr(track, name)[kept] for name in ("frames", "times", "keypoints", "root")})
    found = read(bvh(seen, COCO, 50.0), tmp_path)
    assert found.frame_count == 30 and found.fps == pytest.approx(50)
    assert np.abs(found.node_positions()[4:] - whole[4:]).max() < 0.02
    track.keypoints[:, [1, 3, 13, 15]] = track.root[:] = np.nan
    found = read(bvh(track, COCO, 50.0), tmp_path)
    assert np.isfinite(found.node_positions()).all() and not found.root_pos.any()


def bone_lengths(track: Track3D, folder: Path) -> dict[str, float]:
    places = read(bvh(track, COCO, 50.0), folder).node_positions()
    lengths = np.linalg.norm(places - places[:, ABOVE], axis=-1)
    np.testing.assert_allclose(lengths, lengths[:1].repeat(len(lengths), axis=0), atol=1e-4)
    return {joint.point: length for joint, length in zip(JOINTS, lengths[0], strict=True) if joint.name}


def test_limbs_never_seen_are_as_long_as_opposite_or_of_a_standard_body(tmp_path: Path) -> None:
    track = walker(8)
    track.keypoints[:, [7, 9, 14]] = np.nan  # the left arm, the right knee
    lengths = bone_lengths(track, tmp_path)
    for part in ("elbow", "wrist", "knee", "ankle"):
        assert lengths[f"left_{part}"] == pytest.approx(lengths[f"right_{part}"], abs=1e-4), part
        assert lengths[f"left_{part}"] > 0.2, part
    track.keypoints[:, 5:] = np.nan
    lengths = bone_lengths(track, tmp_path)
    limbs = [lengths[f"{side}_{part}"] for side in SIDES for part in ("elbow", "wrist", "knee", "ankle")]
    assert sum(limbs) == pytest.approx(LIMBS, abs=1e-3) and min(limbs) > 0.2
    assert min(lengths["left_hip"], lengths["right_shoulder"]) > 0.05


def test_toes_turn_the_feet_and_other_skeletons_are_refused(tmp_path: Path) -> None:
    halpe, track = load("halpe26"), walker(3)
    keypoints = np.full((3, 26, 3), np.nan, np.float32)
    keypoints[:, :17] = track.keypoints
    toe = halpe.index("left_big_toe")
    keypoints[:, toe] = track.keypoints[:, 15] + np.array([0.1, 0.05, -0.15])
    found = read(bvh(replace(track, keypoints=keypoints), halpe, 50.0), tmp_path)
    feet = [i for i, joint in enumerate(JOINTS) if joint.point in ("left_ankle", "left_big_toe")]
    ankle, end = np.moveaxis(found.node_positions()[:, feet], 1, 0)
    np.testing.assert_allclose(end - ankle, [[0.1, -0.05, 0.15]] * 3, atol=1e-4)
    spec = COCO.to_dict() | {"name": "upper", "keypoints": COCO.to_dict()["keypoints"][:15], "limbs": [], "pairs": []}
    upper = from_dict({key: value for key, value in spec.items() if key not in ("template", "mappings")})
    with pytest.raises(InputError, match=r"BVH files need .* skeleton upper has no left_ankle"):
        bvh(replace(track, keypoints=track.keypoints[:, :15]), upper, 50.0)
