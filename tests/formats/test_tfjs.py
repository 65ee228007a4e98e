"""TensorFlow.js: keypoints go by their names, in both packages' forms, and what is not of the pose stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.people import People
from posefix.core.skeleton import from_dict, load
from posefix.formats import FORMATS, ImageIndex
from posefix.formats.coco import ImageRecord
from tests.coco_records import assert_refused, saver

saved = saver("street.json")

COCO, BLAZEPOSE = load("coco17"), load("blazepose33")
PARTS = [  # tfjs-models: posenet/src/keypoints.ts
    *("nose", "leftEye", "rightEye", "leftEar", "rightEar", "leftShoulder", "rightShoulder", "leftElbow", "rightElbow"),
    *("leftWrist", "rightWrist", "leftHip", "rightHip", "leftKnee", "rightKnee", "leftAnkle", "rightAnkle"),
]
BLAZEPOSE_KEYPOINTS = [  # tfjs-models: pose-detection/src/constants.ts
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index"),
    *("left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("left_heel", "right_heel", "left_foot_index", "right_foot_index"),
]


def pose(names: list | tuple | None = COCO.keypoint_names, count: int = 17, **rest: object) -> dict:
    """Keypoint i at (10 i + 5, 3 i + 7), score 0.5."""
    keypoints = [{"y": 3 * i + 7, "x": 10 * i + 5, "score": 0.5} for i in range(len(names) if names else count)]
    for name, keypoint in zip(names or (), keypoints, strict=False):
        keypoint["name"] = name
    return {"score": 0.75, "keypoints": keypoints, **rest}


def old_pose() -> dict:
    return {
        "score": 0.75,
        "keypoints": [
            {"score": 0.5, "part": part, "position": {"x": 10 * i + 5, "y": 3 * i + 7}} for i, part in enumerate(PARTS)
        ],
    }


EXPECTED = np.array([[10 * i + 5, 3 * i + 7] for i in range(17)])


# ---- what poses mean


@pytest.mark.parametrize("form", [pose(), old_pose()], ids=["named", "posenet"])
def test_keypoints_are_pixels_by_name(tmp_path: Path, form: dict) -> None:
    people = formats.read(saved(tmp_path, [form]))
    assert people.skeleton == COCO
    np.testing.assert_array_equal(people.keypoints[0], EXPECTED)
    np.testing.assert_allclose(people.scores, 0.5)
    np.testing.assert_allclose(people.person_scores, 0.75)


@pytest.mark.parametrize("form", [pose(), old_pose()], ids=["named", "posenet"])
def test_named_keypoints_can_come_in_any_order_and_be_left_out(tmp_path: Path, form: dict) -> None:
    form["keypoints"] = form["keypoints"][::-1][:-3]
    people = formats.read(saved(tmp_path, [form]))
    np.testing.assert_array_equal(people.keypoints[0, 3:], EXPECTED[3:])
    assert people.scores[0].tolist() == [0] * 3 + [0.5] * 14
    moved = people.with_keypoints(people.keypoints + 1)
    formats.write(moved, tmp_path / "out.json")
    after = json.loads((tmp_path / "out.json").read_text())[0]["keypoints"]
    assert [k.get("name", k.get("part")) for k in after] == [k.get("name", k.get("part")) for k in form["keypoints"]]
    np.testing.assert_array_equal(formats.read(tmp_path / "out.json").keypoints[0, 3:], EXPECTED[3:] + 1)


def test_blazepose_is_told_by_its_keypoints(tmp_path: Path) -> None:
    for form in (pose(BLAZEPOSE_KEYPOINTS), pose(BLAZEPOSE_KEYPOINTS[:12])):
        people = formats.read(saved(tmp_path, [[], [pose()], [form]]), skeleton=None)
        assert people.skeleton == BLAZEPOSE
        assert people.keypoints[1, BLAZEPOSE.index("right_mouth")].tolist() == [105, 37]
        assert people.to_skeleton(COCO).keypoints[1, COCO.index("left_shoulder")].tolist() == [115, 40]


def test_another_skeleton_can_be_brought(tmp_path: Path) -> None:
    spec = [{"name": name, "sigma": 0.1, "group": "upper"} for name in ("tail", "left_wing")]
    people = formats.read(
        saved(tmp_path, [pose(["leftWing", "tail", "beak"])]), skeleton=from_dict({"keypoints": spec})
    )
    assert people.keypoints[0].tolist() == [[15, 10], [5, 7]]


def test_without_scores_keypoints_have_1_and_poses_the_mean(tmp_path: Path) -> None:
    form = pose()
    del form["score"]
    for keypoint in form["keypoints"][1:]:
        del keypoint["score"]
    form["keypoints"][16]["score"] = None
    people = formats.read(saved(tmp_path, [form]))
    assert people.scores[0].tolist() == [0.5] + [1] * 16
    np.testing.assert_allclose(people.person_scores, 16.5 / 17)
    formats.write(people.with_keypoints(people.keypoints + 1), tmp_path / "out.json")
    after = json.loads((tmp_path / "out.json").read_text())[0]
    assert list(after) == ["keypoints"] and "score" not in after["keypoints"][1]


# ---- storage


@pytest.mark.parametrize("form", [pose(), old_pose()], ids=["named", "posenet"])
def test_poses_are_read_in_every_store_and_written_as_they_were(tmp_path: Path, form: dict) -> None:
    contents = {
        "one image": ([form, form], ["street"], [0, 0]),
        "frames": ([[form], [], [form, form]], [0, 1, 2], [0, 2, 2]),
        "names": ({"a.jpg": [], "b.jpg": [form], "c.jpg": [form]}, ["a.jpg", "b.jpg", "c.jpg"], [1, 2]),
        "nobody": ([], ["street"], []),
    }
    for name, (content, images, frames) in contents.items():
        path = saved(tmp_path, content)
        found = FORMATS["tfjs"].read(path, None, "stop")
        assert (list(found.images), found.frames.tolist()) == (images, frames), name
        FORMATS["tfjs"].write(tmp_path / "out.json", found)
        assert (tmp_path / "out.json").read_text() == json.dumps(content) + "\n", name


def test_frames_are_those_of_the_video(tmp_path: Path) -> None:
    path = saved(tmp_path, [[pose()], [], [pose()]])
    people = formats.read(path, images=ImageIndex.of_video(Path("film.mp4"), (640, 480)))
    assert people.image_ids.tolist() == [0, 2]


# ---- writing


def test_keypoints_without_estimate_and_unknown_ones_stay(tmp_path: Path) -> None:
    form = pose([*COCO.keypoint_names, "forehead", "nose"])
    form["keypoints"][3] |= {"score": 0, "x": 7.5}
    form["keypoints"][5] |= {"x": None}
    people = formats.read(saved(tmp_path, [form]))
    assert np.flatnonzero(people.scores[0] == 0).tolist() == [3, 5]
    assert people.keypoints[0, [3, 5]].tolist() == [[0, 0], [0, 0]]
    formats.write(people.with_keypoints(people.keypoints + 1), tmp_path / "out.json")
    after = json.loads((tmp_path / "out.json").read_text())[0]["keypoints"]
    assert [after[i] for i in (3, 5, 17, 18)] == [form["keypoints"][i] for i in (3, 5, 17, 18)]
    assert after[0]["x"] == 6


def test_the_score_of_a_pose_is_written_when_it_changed(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [pose(), pose(score=0.123456789)]))
    people.person_scores[0] = 0.9
    people.extra[0]["original_score"] = 0.75
    formats.write(people, tmp_path / "out.json")
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert (first["score"], first["original_score"], second["score"]) == (0.9, 0.75, 0.123456789)


def test_coco_people_become_what_movenet_returns(tmp_path: Path) -> None:
    known = {5: ImageRecord("a.jpg", 640, 480), 6: ImageRecord("b.jpg", 640, 480)}
    source = formats.Source(FORMATS["coco"], None, known)
    box, scores = np.array([[64, 48, 320, 240]]), np.full((1, 17), 0.5)
    people = People(COCO, EXPECTED[None], scores, np.array([6]), box, np.array([0.75]), source=source)
    formats.write(people, tmp_path / "out.json", "tfjs")
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written) == ["a.jpg", "b.jpg"] and written["a.jpg"] == []
    (movenet,) = written["b.jpg"]
    assert movenet == pose()


def test_landmarks_of_blazepose_get_its_names(tmp_path: Path) -> None:
    people = People(BLAZEPOSE, np.ones((1, 33, 2)), np.ones((1, 33)), np.array([0]))
    formats.write(people, tmp_path / "out.json", "tfjs")
    (written,) = json.loads((tmp_path / "out.json").read_text()).values()
    assert [keypoint["name"] for keypoint in written[0]["keypoints"]] == BLAZEPOSE_KEYPOINTS


# ---- mistakes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([pose(None, 5)], "pose 0 has a list of . as keypoints, expected objects with x, y and a name of coco17's"),
        ([pose(["beak"])], "pose 0 has a list of . as keypoints, expected objects with x, y and a name of coco17's"),
        ([pose(), {"keypoints": {"nose": 1}}], "pose 1 has an object of 1 as keypoints, expected objects with x, y"),
        ([pose(), {"keypoints": [[1, 2]]}], "pose 1 has a list of 1 as keypoints"),
        ([pose(), 5], "pose 1 has the number 5 as keypoints"),
        ([[pose()], [pose(score="high")]], "frame 1, pose 0 has the string 'high' as a score, expected numbers"),
        ({"a.jpg": [pose()], "b.jpg": 5}, "entry 'b.jpg' is not what this format holds for an image"),
        ([[1, 2]], "entry 0 is not what"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, "tfjs")
