"""Joint angles are those of poses made by turning limbs by known angles, wherever the person stands and faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.lifting.angles import joint_angles
from tests.lifting_scenes import COCO, STANDING, walker


def about_y(degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def angles_of(keypoints: np.ndarray) -> dict[str, float]:
    names, angles = joint_angles(replace(walker(1), keypoints=keypoints[None].astype(np.float32)), COCO)
    return dict(zip(names, angles[0], strict=True))


def pointing(forward: float, left: float) -> np.ndarray:
    """Unit vector of a limb that hung down, turned to the left and then forward by so many degrees (camera's axes)."""
    a, b = np.deg2rad([forward, left])
    return np.array([np.sin(b), np.cos(b) * np.cos(a), -np.cos(b) * np.sin(a)])


@given(st.floats(-100, 150), st.floats(-60, 60), st.floats(0, 150), st.floats(-180, 180))
def test_legs(flexion: float, aside: float, bend: float, facing: float) -> None:
    """Both thighs forward by ``flexion`` and to the left by ``aside``, knees bent by ``bend``."""
    pose = STANDING.copy()
    pose[13:15] = pose[11:13] + 0.4 * pointing(flexion, aside)
    pose[15:17] = pose[13:15] + 0.4 * (
        np.cos(np.deg2rad(bend)) * pointing(flexion, aside) - np.sin(np.deg2rad(bend)) * pointing(flexion + 90, 0)
    )
    found = angles_of(pose @ about_y(facing).T)
    for side, sign in (("left", -1), ("right", 1)):
        assert found[f"{side}_hip_flexion"] == pytest.approx(flexion, abs=0.01)
        assert found[f"{side}_hip_adduction"] == pytest.approx(sign * aside, abs=0.01)
        assert found[f"{side}_knee_flexion"] == pytest.approx(bend, abs=0.05)


@given(st.floats(15, 165), st.floats(-120, 170), st.floats(0, 150), st.floats(-180, 180))
def test_arms(elevation: float, plane: float, bend: float, facing: float) -> None:
    """Both arms elevated in a plane that is turned from sideways to the front."""
    e, p, b = np.deg2rad([elevation, plane, bend])
    pose = STANDING.copy()
    for shoulder, out in ((5, 1), (6, -1)):
        arm = np.array([out * np.sin(e) * np.cos(p), np.cos(e), -np.sin(e) * np.sin(p)])
        across = np.array([out * np.sin(p), 0, np.cos(p)])
        pose[shoulder + 2] = pose[shoulder] + 0.3 * arm
        pose[shoulder + 4] = pose[shoulder + 2] + 0.25 * (np.cos(b) * arm + np.sin(b) * across)
    found = angles_of(pose @ about_y(facing).T)
    for side in ("left", "right"):
        assert found[f"{side}_shoulder_elevation"] == pytest.approx(elevation, abs=0.01)
        assert found[f"{side}_shoulder_plane"] == pytest.approx(plane, abs=0.02)
        assert found[f"{side}_elbow_flexion"] == pytest.approx(bend, abs=0.05)


def test_standing_upright_nothing_is_bent() -> None:
    pose = STANDING.copy()
    pose[:, 2] = 0
    pose[[7, 8, 9, 10], 0] = pose[[5, 6, 5, 6], 0]
    found = angles_of(pose)
    assert np.isnan(found.pop("left_shoulder_plane")) and np.isnan(found.pop("right_shoulder_plane"))
    assert all(value == pytest.approx(0, abs=0.01) for value in found.values())
    assert len(found) == 11


def test_who_leans_keeps_the_angles_of_the_joints() -> None:
    tilt = np.deg2rad(20)
    forward = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    upright, leaning = angles_of(STANDING), angles_of(STANDING @ forward.T)
    assert leaning.pop("trunk_lean") - upright.pop("trunk_lean") == pytest.approx(20, abs=0.01)
    assert leaning == pytest.approx(upright, abs=0.01, nan_ok=True)


def test_unknown_keypoints_make_their_angles_unknown_and_no_others() -> None:
    pose = STANDING.copy()
    pose[COCO.index("left_wrist")] = np.nan
    found = angles_of(pose)
    assert [name for name, value in found.items() if np.isnan(value) and "plane" not in name] == ["left_elbow_flexion"]
    pose[COCO.index("left_elbow")] = pose[COCO.index("left_shoulder")]
    assert np.isnan(angles_of(pose)["left_shoulder_elevation"])


def test_skeletons_without_limbs_are_refused() -> None:
    hands = replace(COCO, keypoint_names=tuple(f"point{i}" for i in range(17)), name="points")
    with pytest.raises(InputError, match=r"joint angles need .* skeleton points has no left_shoulder"):
        joint_angles(walker(1), hands)
