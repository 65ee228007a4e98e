"""MediaPipe: landmarks are fractions of the image in whatever form they are dumped, and all else stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.formats import FORMATS, ImageIndex
from posefix.formats.coco import ImageRecord
from tests.coco_records import saver

saved = saver("walk.json")

SAMPLES = Path(__file__).parents[1] / "samples"
COCO, BLAZEPOSE = load("coco17"), load("blazepose33")
LANDMARKS = [  # mediapipe: tasks/python/vision/pose_landmarker.py, PoseLandmark
    *("NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER"),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW"),
    *("RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY", "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX"),
    *("LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE", "LEFT_ANKLE", "RIGHT_ANKLE"),
    *("LEFT_HEEL", "RIGHT_HEEL", "LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX"),
]
SIZE = (640, 480)


def person(shift: float = 0.0, **changes: dict) -> list[dict]:
    """Landmark i at (0.02 i + shift, 0.01 i), visibility 0.5; those named otherwise as said."""
    found = [{"x": 0.02 * i + shift, "y": 0.01 * i, "z": -0.1, "visibility": 0.5} for i in range(33)]
    for name, change in changes.items():
        found[LANDMARKS.index(name)].update(change)
    return found


def images(*names: str, size: tuple[int, int] = SIZE) -> ImageIndex:
    return ImageIndex({i: ImageRecord(name, *size) for i, name in enumerate(names)}, "the images")


def video(size: tuple[int, int] = SIZE) -> ImageIndex:
    return ImageIndex.of_video(Path("film.mp4"), size)


def content_of(path: Path, name: str = "mediapipe") -> formats.ParsedFile:
    return FORMATS[name].read(path, None, "stop")


# ---- the skeleton


def test_the_skeleton_has_mediapipes_landmarks_in_its_order() -> None:
    ours = ["_".join(reversed(n.split("_"))) if "mouth" in n else n for n in BLAZEPOSE.keypoint_names]
    assert [name.upper() for name in ours] == LANDMARKS


def test_all_of_cocos_keypoints_are_landmarks_and_go_there_and_back() -> None:
    there = COCO.indices_from(BLAZEPOSE)
    assert [LANDMARKS[i].lower() for i in there] == list(COCO.keypoint_names)
    np.testing.assert_array_equal(BLAZEPOSE.indices_from(COCO)[there], np.arange(17))


# ---- what landmarks mean


def test_landmarks_are_fractions_of_the_image(tmp_path: Path) -> None:
    path = saved(tmp_path, {"pose_landmarks": [person(LEFT_KNEE={"x": 0.25, "y": 0.75}, NOSE={"x": -0.1, "y": 1.5})]})
    people = formats.read(path, images=images("walk.jpg"))
    assert people.skeleton == BLAZEPOSE
    np.testing.assert_allclose(people.keypoints[0, BLAZEPOSE.index("left_knee")], (160, 360))
    np.testing.assert_allclose(people.keypoints[0, 0], (-64, 720))
    np.testing.assert_allclose(people.scores, 0.5)
    knee = people.to_skeleton(COCO).keypoints[0, COCO.index("left_knee")]
    np.testing.assert_allclose(knee, (160, 360))


def test_without_the_images_size_there_are_no_pixels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fractions of the image, and the size of walk .*give the images"):
        formats.read(saved(tmp_path, {"landmark": person()}))


def test_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"landmark": [{"x": 640 * p["x"], "y": 480 * p["y"]} for p in person()]})
    with pytest.raises(InputError, match="so they are pixels; MediaPipe Pose gives fractions of the image's width"):
        formats.read(path, images=images("walk.jpg"))


def test_visibility_is_the_score_and_without_any_it_is_1(tmp_path: Path) -> None:
    landmarks = person(NOSE={"visibility": None}, LEFT_EAR={"visibility": 0.0}, RIGHT_EAR={"x": None})
    del landmarks[20]["visibility"]
    path = saved(tmp_path, {"landmark": landmarks})
    scores = content_of(path).scores[0]
    assert scores[[0, 20]].tolist() == [1, 1] and scores[[7, 8]].tolist() == [0, 0]
    assert (np.delete(scores, [0, 7, 8, 20]) == 0.5).all()


# ---- the forms of a dump

ONE, TWO = person(), person(0.3)
OTHER = {"pose_landmarks": [TWO]}
FORMS = [
    ({"pose_landmarks": [ONE, TWO], "pose_world_landmarks": [ONE, TWO], "segmentation_masks": None}, 2),
    ({"landmarks": [ONE, TWO], "worldLandmarks": [ONE, TWO], "close": {}}, 2),
    ({"pose_landmarks": []}, 0),
    ({"landmarks": [], "worldLandmarks": []}, 0),
    ({"pose_landmarks": ONE, "pose_world_landmarks": TWO}, 1),
    ({"poseLandmarks": ONE, "poseWorldLandmarks": TWO}, 1),
    ({"pose_landmarks": None}, 0),
    ({"landmark": ONE}, 1),
]


@pytest.mark.parametrize(("form", "count"), FORMS)
@pytest.mark.parametrize("store", ["file", "folder", "names", "list"])
def test_every_form_is_read_in_every_store_and_written_as_it_was(
    tmp_path: Path, form: object, count: int, store: str
) -> None:
    if store == "folder":
        path = saved(tmp_path / "in", form, "a.json").parent
        saved(path, {"pose_landmarks": [TWO]}, "b.json")
    else:
        content = {"file": form, "names": {"a.jpg": form, "b.jpg": OTHER}, "list": [form, OTHER]}[store]
        path = saved(tmp_path, content)
    found = content_of(path)
    several = store != "file"
    assert found.frames.tolist() == [0] * count + [1] * several
    xs = [[0.02 * i + 0.3 * place for i in range(33)] for place in range(count)]
    np.testing.assert_allclose(found.keypoints[:count, :, 0], np.reshape(xs, (count, 33)))
    names = {"file": ["walk"], "folder": ["a", "b"], "names": ["a.jpg", "b.jpg"], "list": [0, 1]}
    assert list(found.images) == names[store]
    out = tmp_path / "out"
    FORMATS["mediapipe"].write(out, found)
    if store == "folder":
        assert {f.name: json.loads(f.read_text()) for f in out.iterdir()} == {
            f.name: json.loads(f.read_text()) for f in path.iterdir()
        }
    else:
        assert out.read_text() == json.dumps(content) + "\n"


# ---- writing


@pytest.mark.parametrize("size", [(16, 16), (640, 480), (7680, 4320)])
def test_pixels_in_between_change_no_number(tmp_path: Path, size: tuple[int, int]) -> None:
    path = SAMPLES / "mediapipe" / "video.json"
    people = formats.read(path, images=video(size))
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(path.read_text())


def test_landmarks_without_estimate_stay_as_they_are(tmp_path: Path) -> None:
    odd = person(NOSE={"x": None}, LEFT_EAR={"visibility": 0, "x": 0.7}, RIGHT_EAR={"y": float("nan")})
    people = formats.read(saved(tmp_path, {"landmark": odd}), images=images("walk.jpg"))
    assert people.keypoints[0, [0, 7, 8]].tolist() == [[0, 0]] * 3
    formats.write(people.with_keypoints(people.keypoints + 32), tmp_path / "out.json")
    after = json.loads((tmp_path / "out.json").read_text())["landmark"]
    assert repr([after[i] for i in (0, 7, 8)]) == repr([odd[i] for i in (0, 7, 8)])
    assert after[1]["x"] == 0.07


def test_coco_people_become_results_of_the_task(tmp_path: Path) -> None:
    keypoints, scores = np.zeros((1, 17, 2)), np.zeros((1, 17))
    keypoints[0, COCO.index("right_wrist")], scores[0, COCO.index("right_wrist")] = (160, 120), 0.75
    known = {5: ImageRecord("a.jpg", *SIZE), 6: ImageRecord("b.jpg", *SIZE)}
    source = formats.Source(FORMATS["coco"], None, known)
    people = People(COCO, keypoints, scores, np.array([5]), source=source)
    formats.write(people, tmp_path / "out.json", "mediapipe")
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written) == ["a.jpg", "b.jpg"] and written["b.jpg"] == {"pose_landmarks": []}
    (landmarks,) = written["a.jpg"]["pose_landmarks"]
    assert landmarks[LANDMARKS.index("RIGHT_WRIST")] == {"x": 0.25, "y": 0.25, "z": 0.0, "visibility": 0.75}
    assert landmarks[LANDMARKS.index("LEFT_HEEL")] == {"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.0}


# ---- mistakes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            [{"landmark": person()[:21]}],
            "frame 0, person 0 has 21 keypoints, which no skeleton of this format has: blazepose33",
        ),
        ({"pose_landmarks": [person(NOSE={"x": "0.5"})]}, "person 0 has .* as keypoints, expected numbers"),
        ({"pose_landmarks": [person(NOSE={"visibility": "high"})]}, "has .* as keypoints, expected numbers"),
        ({"pose_landmarks": [[*person()[:32], 5]]}, "person 0 is a list of 33, expected a list of 33 landmarks"),
        ({"pose_landmarks": [ONE, None]}, "person 1 is null, expected a list of 33 landmarks"),
        ({"pose_landmarks": "none"}, "has the string 'none', expected a list of landmarks"),
        ({"pose_landmarks": [person(NOSE={"x": 1e30})]}, "person 0 has .* expected a number within"),
        ({"keypoints": [5]}, "entry 'keypoints' is not what this format holds for an image"),
        ([5], "entry 0 is not what"),
        (5, "is not what this format holds"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=says) as error:
        content_of(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
