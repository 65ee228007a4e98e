"""OpenPose's JSON: keypoints mean what its documentation says, and what is not of the pose stays as it was."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, from_dict, load
from posefix.formats import ImageIndex, openpose
from posefix.formats.coco import ImageRecord
from tests.coco_records import assert_refused, one_sentence, saver
from tests.format_samples import SAMPLES, with_images

saved = saver("a_keypoints.json")

COCO = load("coco17")
BODY_25 = [  # doc/02_output.md
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip"),
    *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
    *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
]
COCO_18 = [
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
    *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
]
OURS = {
    "Nose": "nose",
    "Neck": "neck",
    "MidHip": "hip",
    "Shoulder": "shoulder",
    "Elbow": "elbow",
    "Wrist": "wrist",
    "Hip": "hip",
    "Knee": "knee",
    "Ankle": "ankle",
    "Eye": "eye",
    "Ear": "ear",
    "BigToe": "big_toe",
    "SmallToe": "small_toe",
    "Heel": "heel",
}


def ours(theirs: str) -> str:
    return OURS.get(theirs) or {"L": "left_", "R": "right_"}[theirs[0]] + OURS[theirs[1:]]


def pose(count: int = 25, **known: list) -> list:
    """x, y, score of keypoint i: 10 i + 100, 10 i + 105, 0.5; others where said."""
    triples = [[10 * i + 100, 10 * i + 105, 0.5] for i in range(count)]
    for name, triple in known.items():
        triples[(BODY_25 if count == 25 else COCO_18).index(name)] = triple
    return [value for triple in triples for value in triple]


def frame(*poses: list, **rest: object) -> dict:
    return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": p} for p in poses], **rest}


def written(path: Path) -> dict:
    return {file.name: json.loads(file.read_text()) for file in path.iterdir()}


# ---- what the numbers mean


@pytest.mark.parametrize(("names", "skeleton"), [(BODY_25, "body25"), (COCO_18, "openpose18")])
def test_keypoints_are_in_the_documented_order(tmp_path: Path, names: list[str], skeleton: str) -> None:
    people = formats.read(saved(tmp_path, frame(pose(len(names)))))
    assert people.skeleton == load(skeleton)
    assert list(people.skeleton.keypoint_names) == [ours(name) for name in names]
    np.testing.assert_array_equal(people.keypoints[0, 4], [140, 145])
    np.testing.assert_array_equal(people.scores, 0.5)
    in_coco = people.to_skeleton(COCO)
    places = {ours(name): place for place, name in enumerate(names)}
    expected = [[10 * places[name] + 100, 10 * places[name] + 105] for name in COCO.keypoint_names]
    np.testing.assert_array_equal(in_coco.keypoints[0], expected)
    assert in_coco.labelled.all()


@pytest.mark.parametrize("name", ["body25", "openpose18"])
def test_limbs_lead_from_the_neck_everywhere(name: str) -> None:
    skeleton = load(name)
    reached = {skeleton.index("neck")}
    for _ in range(len(skeleton)):
        reached |= {b for a, b in skeleton.limbs.tolist() if a in reached}
    assert reached == set(range(len(skeleton)))
    assert len(skeleton.limbs) == len(skeleton) - 1


def test_undetected_keypoints_have_no_score_and_people_the_mean_of_all(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, frame(pose(Nose=[0, 0, 0], LHeel=[7.5, 8, 1]))))
    np.testing.assert_array_equal(people.keypoints[0, 0], 0)
    assert not people.labelled[0, 0] and people.labelled[0, 1:].all()
    np.testing.assert_allclose(people.person_scores, (23 * 0.5 + 1) / 25)
    np.testing.assert_array_equal(people.boxes, 0)


def test_the_frames_of_a_video_are_the_files_with_and_without_people(tmp_path: Path) -> None:
    for number, count in ((0, 2), (1, 0), (12, 1)):
        saved(tmp_path / "out", frame(*[pose()] * count), f"my_video_{number:012d}_keypoints.json")
    people = formats.read(tmp_path / "out")
    np.testing.assert_array_equal(people.image_ids, [0, 0, 12])
    assert list(people.source.keys) == [0, 1, 12]
    assert people.source.keys[12] == "my_video_000000000012"
    video = ImageIndex.of_video(Path("my_video.mp4"), (640, 480))
    np.testing.assert_array_equal(formats.read(tmp_path / "out", images=video).image_ids, [0, 0, 12])


@pytest.mark.parametrize("name", ["photo_keypoints.json", "photo.json"])
def test_a_file_is_of_the_image_whose_name_it_has(tmp_path: Path, name: str) -> None:
    images = ImageIndex({3: ImageRecord("photo.jpg"), 4: ImageRecord("b.jpg")}, "the images")
    people = formats.read(saved(tmp_path, frame(pose(18)), name), images=images)
    assert people.image_ids.tolist() == [3]
    assert formats.read(saved(tmp_path / "folder", frame(pose(18)), name).parent, images=images).image_ids.tolist() == [
        3
    ]


def test_another_skeleton_of_25_keypoints_can_be_brought(tmp_path: Path) -> None:
    names = [f"k{i}" for i in range(25)]
    other = from_dict({"name": "body25b", "keypoints": [{"name": n, "sigma": 0.05, "group": "upper"} for n in names]})
    path = saved(tmp_path, frame(pose()))
    people = formats.read(path, skeleton=other)
    assert isinstance(people.skeleton, Skeleton) and people.skeleton.name == "body25b"
    formats.write(people, tmp_path / "out_keypoints.json")
    assert json.loads((tmp_path / "out_keypoints.json").read_text()) == json.loads(path.read_text())


# ---- writing what was read


def test_only_what_moved_changes(tmp_path: Path) -> None:
    hands = {"hand_left_keypoints_2d": [1.5, 2, 0.25] * 21, "person_id": [7], "pose_keypoints_3d": []}
    content = frame(pose(Neck=[0, 0, 0]), pose(), part_candidates=[{"0": [1, 2, 0.5]}], mine="ü")
    content["people"][1] = {**hands, **content["people"][1], "face_keypoints_2d": [0] * 210}
    path = saved(tmp_path / "in", content)
    people = formats.read(path.parent)
    people.keypoints[1, 4] = (12.34567, -0.0001)
    formats.write(people, tmp_path / "out")
    content["people"][1]["pose_keypoints_2d"][12:14] = [12.346, 0.0]
    text = (tmp_path / "out" / path.name).read_text()
    assert text == json.dumps(content) + "\n" and "-0.0" not in text


def test_files_keep_their_names(tmp_path: Path) -> None:
    content = json.dumps(frame(pose())).encode()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_keypoints.json.gz").write_bytes(gzip.compress(content))
    (tmp_path / "in" / "b.json_keypoints.json").write_bytes(content)
    people = formats.read(tmp_path / "in")
    assert list(people.source.keys.values()) == ["a", "b.json"]
    formats.write(people, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_keypoints.json.gz", "b.json_keypoints.json"]


def test_numbers_without_estimate_stay_as_they_are(tmp_path: Path) -> None:
    content = frame(pose(Nose=[3.5, 4.5, 0], Neck=[None, None, None], LHip=[math.nan, 2, 0.5]))
    path = saved(tmp_path, content)
    people = formats.read(path)
    assert np.flatnonzero(~people.labelled[0]).tolist() == [0, 1, 12] and people.source.parsed.not_finite == 1
    np.testing.assert_array_equal(people.keypoints[0, [0, 1, 12]], 0)
    formats.write(people, tmp_path / "out.json")
    assert repr(json.loads((tmp_path / "out.json").read_text())) == repr(json.loads(path.read_text()))


def test_frames_stay_when_their_people_are_taken_away(tmp_path: Path) -> None:
    for name in "ab":
        saved(tmp_path / "in", frame(pose(), pose(), mine=name), f"{name}_keypoints.json")
    people = formats.read(tmp_path / "in")
    formats.write(people[1:2], tmp_path / "out")
    assert written(tmp_path / "out") == {
        "a_keypoints.json": frame(pose(), mine="a"),
        "b_keypoints.json": frame(mine="b"),
    }


def test_unusable_people_are_handed_through_in_their_places(tmp_path: Path) -> None:
    content = frame(pose(), pose()[:-1], pose())
    content["people"].insert(0, "who?")
    path = saved(tmp_path, content)
    people = formats.read(path, on_error="skip")
    assert len(people) == 4 and people.labelled.any(1).tolist() == [False, True, False, True]
    assert len(people.source.problems) == 2 and "person 2 has 74 numbers" in people.source.problems[1]
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == content


# ---- people from elsewhere


def coco_people(**missing: None) -> People:
    """One person in the first of two images; keypoint i is at (20 i, 10 i + 5) with score (i + 1) / 20."""
    places = np.arange(17.0)
    scores = (places + 1) / 20
    scores[[COCO.index(name) for name in missing]] = 0
    return People(COCO, np.stack([20 * places, 10 * places + 5], axis=-1)[None], scores[None], [0])


def test_coco_people_become_what_openpose_writes(tmp_path: Path) -> None:
    formats.write(with_images(coco_people(), "val/a.jpg", "val/b.2.JPEG", "c.0001"), tmp_path / "out", "openpose")
    files = written(tmp_path / "out")
    assert sorted(files) == ["a_keypoints.json", "b.2_keypoints.json", "c.0001_keypoints.json"]
    assert files["b.2_keypoints.json"] == files["c.0001_keypoints.json"] == {"version": 1.3, "people": []}
    (person,) = files["a_keypoints.json"]["people"]
    assert list(person) == [
        "person_id",
        "pose_keypoints_2d",
        *(f"{part}_keypoints_2d" for part in ("face", "hand_left", "hand_right")),
        *(f"{part}_keypoints_3d" for part in ("pose", "face", "hand_left", "hand_right")),
    ]
    assert person["person_id"] == [-1] and person["face_keypoints_2d"] == []
    found = dict(zip(BODY_25, np.reshape(person["pose_keypoints_2d"], (25, 3)).tolist(), strict=True))
    assert found["RWrist"] == [200, 105, 0.55] and found["LEye"] == [20, 15, 0.1]
    assert all(found[name] == [0, 0, 0] for name in ("Neck", "MidHip", *BODY_25[19:]))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("x/a.jpg", "y/a.jpg"), "'x/a.jpg' and 'y/a.jpg' would be written to one file"),
        (("a\0.jpg", "b.jpg"), "cannot be the name"),
    ],
)
def test_names_that_cannot_be_files_are_told(tmp_path: Path, names: tuple[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        formats.write(with_images(coco_people(), *names), tmp_path / "out", "openpose")
    one_sentence(error, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- mistakes


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1 / 700, 0), (1 / 350, -1)],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_scaled_coordinates_are_no_pixels(tmp_path: Path, scale: float, offset: float, on_error: str) -> None:
    triples = np.reshape(pose(Nose=[0, 0, 0]), (25, 3))
    triples[1:, :2] = triples[1:, :2] * scale + offset
    saved(tmp_path / "in", frame(), "0_keypoints.json")
    path = saved(tmp_path / "in", frame(triples.ravel().tolist()), "1_keypoints.json").parent
    assert_refused(r"within -1 and 1, .*write it with --keypoint_scale 0", path, on_error=on_error)
    saved(path, frame(pose()), "2_keypoints.json")
    assert len(formats.read(path)) == 2  # a speck among people in pixels


def test_nobody_and_nothing_are_not_scaled(tmp_path: Path) -> None:
    assert len(formats.read(saved(tmp_path, frame()))) == 0
    assert not formats.read(saved(tmp_path, frame([0] * 75))).labelled.any()


PERSON = frame(pose())["people"][0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"version": 1.3, "people": {}}, "is not what this format holds for an image"),
        ({"version": 1.3, "people": [PERSON, 5]}, "person 1 is the number 5, expected an object"),
        ({"version": 1.3, "people": [{"person_id": [0]}]}, "person 0 has no pose_keypoints_2d"),
        (frame([]), "person 0 has 0 numbers as pose_keypoints_2d"),  # --body 0
        (frame(pose(18), pose()), "person 1 has 25 keypoints, expected the 18 of openpose18"),
        (frame([1, 2, 0.5] * 15), r"15 keypoints.*body25 \(25\), openpose18 \(18\).*--skeleton"),  # --model_pose MPI
        (frame(pose()[:-1]), "person 0 has 74 numbers as pose_keypoints_2d, expected x, y and score"),
        (frame([[1, 2, 0.5]] * 25), "25 numbers as pose_keypoints_2d"),
        (frame("1 2 3"), "the string '1 2 3' as pose_keypoints_2d"),
        (frame({"0": 1}), "an object of 1 as pose_keypoints_2d"),
        (frame(pose(Nose=["1", 2, 3])), "as keypoints, expected numbers"),
        (frame(pose(Nose=[1e9, 2, 0.5])), r"expected a number within"),
        ([{"image_id": 1, "keypoints": [1, 2, 0.5] * 17}], "--format coco"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, "openpose")


def test_mistakes_in_a_folder_are_named_with_their_file(tmp_path: Path) -> None:
    saved(tmp_path / "in", frame(pose()))
    saved(tmp_path / "in", frame(pose(), pose(18)), "b_keypoints.json")
    assert_refused(r"b_keypoints\.json, person 1 has 18 keypoints", tmp_path / "in")


def test_files_of_several_cameras_are_not_left_behind(tmp_path: Path) -> None:
    for name in ("a_keypoints.json", "a_keypoints_1.json", "a_keypoints_2.json"):
        saved(tmp_path / "in", frame(pose()), name)
    assert len(formats.read(tmp_path / "in")) == 3
    with pytest.raises(InputError, match="'a_keypoints_1'"):
        formats.read(tmp_path / "in", images=ImageIndex({3: ImageRecord("a.jpg")}, "the images"))


@pytest.mark.parametrize(
    ("content", "is_openpose"),
    [
        (frame(pose()), True),
        (frame(), True),
        ([frame(), frame(pose())], True),
        ({"people": [{"pose_keypoints_2d": []}]}, True),
        ({**frame(pose(18)), "version": "AlphaPose v0.3"}, False),
        ({"a.jpg": frame(pose(18))}, True),
        ({"a.jpg": {**frame(pose(18)), "version": "AlphaPose v0.3"}}, False),
        ({"people": []}, False),
        ({"people": [{"name": "Ann"}], "version": 2}, False),
        ({"version": 1.3, "people": 5}, False),
        ([], False),
        (5, False),
    ],
)
def test_openpose_is_known_by_its_people(tmp_path: Path, content: object, is_openpose: bool) -> None:
    probe = formats.FileProbe(saved(tmp_path, content, "some.json"))
    assert openpose.FORMAT.sniff(probe) is is_openpose


def test_a_file_that_ends_in_capitals_is_one_of_the_folder(tmp_path: Path) -> None:
    street = SAMPLES / "openpose" / "street"
    for place, path in enumerate(sorted(street.iterdir())):
        name = path.name.replace(".json", ".JSON" if place == 0 else ".json")
        (tmp_path / name).write_bytes(path.read_bytes())
    people, capital = formats.read(street), formats.read(tmp_path)
    np.testing.assert_array_equal(capital.image_ids, people.image_ids)
    np.testing.assert_array_equal(capital.keypoints, people.keypoints)
    formats.write(capital, tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == {path.name for path in tmp_path.glob("*.*")}
