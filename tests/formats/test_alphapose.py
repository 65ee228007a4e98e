"""AlphaPose's JSON in its three forms: what its own write_json makes of a person is what is read and written."""

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
from tests.coco_records import assert_refused, saver
from tests.format_samples import with_images

saved = saver("alphapose-results.json")

COCO = load("coco17")
FORMS = {"cmu": ("bodies", "joints"), "open": ("people", "pose_keypoints_2d")}
each_form = pytest.mark.parametrize("form", FORMS)


def triples(count: int = 17) -> list[float]:
    """x, y, score of keypoint i: 10 i + 100.5, 10 i + 105, (i % 20 + 1) / 25."""
    return [value for i in range(count) for value in (10 * i + 100.5, 10.0 * i + 105, (i % 20 + 1) / 25)]


def record(image_id: object = "0.jpg", **changes: object) -> dict:
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": triples(),
        "score": 2.7245235443115234,
        "box": [90.5, 80.0, 200.0, 300.0],
        "idx": [0.0],
        **changes,
    }


def as_alphapose_writes(form: str, records: list[dict]) -> dict:
    """What AlphaPose makes of a default list with ``--format``: a neck behind, then these numbers' places."""
    people, pose = FORMS[form]
    order = [0, 51, 18, 24, 30, 15, 21, 27, 36, 42, 48, 33, 39, 45, 6, 3, 12, 9]
    written: dict = {}
    for one in records:
        k = [*one["keypoints"]]
        k += [(k[15 + i] + k[18 + i]) / 2 for i in range(3)]
        found = written.setdefault(one["image_id"], {"version": "AlphaPose v0.3", people: []})
        found[people].append({pose: [value for i in order for value in k[i : i + 3]]})
    return written


def coco_people(image_ids: list[int]) -> People:
    n = len(image_ids)
    xys = np.array(triples()).reshape(17, 3)
    boxes = np.tile([1.0, 2, 30, 40.5], (n, 1))
    return People(COCO, [xys[:, :2]] * n, [xys[:, 2]] * n, image_ids, boxes=boxes, person_scores=[0.75] * n)


# ---- what the numbers mean


def test_a_person_is_read_as_it_was_estimated(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [record()]))
    assert people.skeleton == COCO
    np.testing.assert_allclose(people.keypoints[0, COCO.index("left_wrist")], [190.5, 195])
    np.testing.assert_allclose(people.scores[0, COCO.index("left_wrist")], 0.4)
    np.testing.assert_array_equal(people.boxes, [[90.5, 80, 200, 300]])
    np.testing.assert_allclose(people.person_scores, 2.7245235)  # mean, plus 1.25 times the best, plus the box's


def test_halpe136_is_its_body_its_face_its_left_and_its_right_hand() -> None:
    names = load("halpe136").keypoint_names
    assert names[:26] == load("halpe26").keypoint_names
    assert (names[26], names[93], names[94], names[114]) == (
        "face-0",
        "face-67",
        "left_hand_root",
        "left_pinky_finger4",
    )
    assert (names[115], names[135]) == ("right_hand_root", "right_pinky_finger4")
    wholebody = load("coco_wholebody133")
    assert set(names) - set(wholebody.keypoint_names) == {"head", "neck", "hip"}
    source = load("halpe136").indices_from(wholebody)
    assert (np.diff(source[26:]) == 1).all()  # face and hands in the same order


def test_frames_of_a_video_are_its_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path, [record(f"{i}.jpg") for i in (0, 0, 2, 10)])
    assert formats.read(path).image_ids.tolist() == [0, 0, 2, 10]
    video = ImageIndex.of_video(Path("a.mp4"), (640, 480))
    assert formats.read(path, images=video).image_ids.tolist() == [0, 0, 2, 10]
    assert list(formats.read(path).source.keys.values()) == ["0.jpg", "2.jpg", "10.jpg"]


def test_results_with_integer_image_ids_are_cocos(tmp_path: Path) -> None:
    path = saved(tmp_path, [record(139), record(7)])
    assert formats.sniff(path) == "coco"
    with pytest.raises(InputError, match=r"record 0 has the number 139 as image_id, .*--format coco"):
        formats.read(path, "alphapose")


@each_form
def test_the_other_forms_are_openposes_order(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, as_alphapose_writes(form, [record("0.jpg"), record("0.jpg"), record("5.jpg")]))
    assert formats.sniff(path) == f"alphapose-{form}"
    people = formats.read(path)
    assert people.skeleton.name == "openpose18" and people.image_ids.tolist() == [0, 0, 5]
    expected = np.array(triples()).reshape(17, 3)
    in_coco = people.to_skeleton(COCO)
    np.testing.assert_allclose(in_coco.keypoints[2], expected[:, :2])
    np.testing.assert_allclose(in_coco.scores[2], expected[:, 2], rtol=1e-6)
    np.testing.assert_allclose(people.keypoints[0, 1], (expected[5, :2] + expected[6, :2]) / 2)


# ---- writing


def test_only_what_changed_changes(tmp_path: Path) -> None:
    content = [record("1.jpg"), record("0.jpg", pred_xyz_jts=[[1, 2, 3]]), record("1.jpg", idx=[[0.0], [0.0]])]
    people = formats.read(saved(tmp_path, content))
    people.keypoints[1, 3] = (12.34567, 5)
    people.person_scores[1] = 1.25
    formats.write(people, tmp_path / "out.json")
    content[1]["keypoints"][9:11] = [12.346, 5.0]
    content[1]["score"] = 1.25
    assert (tmp_path / "out.json").read_text() == json.dumps(content) + "\n"


def test_faint_scores_stay_estimates(tmp_path: Path) -> None:
    people = with_images(coco_people([0]), "a.jpg")
    people.scores[0, :2] = (1e-5, 0.0021926804911345243)
    for name in ("alphapose", "alphapose-cmu", "alphapose-open"):
        formats.write(people, tmp_path / name, name)
        np.testing.assert_allclose(formats.read(tmp_path / name).to_skeleton(COCO).scores, people.scores, atol=1e-6)


def test_numbers_without_estimate_stay_as_they_are(tmp_path: Path) -> None:
    content = [record(keypoints=[3.5, 4.5, 0, None, None, None, *triples()[6:]]), record(score=None, box=None)]
    people = formats.read(saved(tmp_path, content))
    assert np.flatnonzero(~people.labelled[0]).tolist() == [0, 1] and not people.keypoints[0, :2].any()
    np.testing.assert_allclose(people.person_scores[1], np.mean(triples()[2::3]), rtol=1e-6)
    assert not people.boxes[1].any()
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == content


def test_coco_people_become_the_default_form(tmp_path: Path) -> None:
    people = with_images(coco_people([1, 0, 1]), "val/a.jpg", "val/b.jpg", "val/nobody.jpg")
    people.boxes[1] = 0
    formats.write(people, tmp_path / "out.json", "alphapose")
    new = {"category_id": 1, "keypoints": pytest.approx(triples()), "score": 0.75}
    written = json.loads((tmp_path / "out.json").read_text())
    boxed = {"image_id": "b.jpg", **new, "box": [1.0, 2.0, 30.0, 40.5]}
    assert written == [{"image_id": "a.jpg", **new}, boxed, boxed]  # image by image
    assert list(written[1]) == ["image_id", "category_id", "keypoints", "score", "box"]


@each_form
def test_coco_people_become_the_other_forms(tmp_path: Path, form: str) -> None:
    people = with_images(coco_people([1, 0, 1]), "val/a.jpg", "val/b.jpg", "val/nobody.jpg")
    formats.write(people, tmp_path / "out.json", f"alphapose-{form}")
    written = json.loads((tmp_path / "out.json").read_text())
    expected = as_alphapose_writes(form, [record("a.jpg"), record("b.jpg"), record("b.jpg")])
    key, pose = FORMS[form]
    assert written.pop("nobody.jpg")[key] == [] and written.keys() == expected.keys()
    for name, image in expected.items():
        assert list(written[name]) == ["version", key] and written[name]["version"] == image["version"]
        for ours, theirs in zip(written[name][key], image[key], strict=True):
            assert ours.keys() == {pose}
            theirs[pose][3:6] = [0, 0, 0]  # the neck, which COCO lacks
            np.testing.assert_allclose(ours[pose], theirs[pose], rtol=1e-6)


@pytest.mark.parametrize("name", ["alphapose", "alphapose-open"])
def test_images_of_one_name_keep_their_folders(tmp_path: Path, name: str) -> None:
    formats.write(with_images(coco_people([0, 1]), "x/a.jpg", "y/a.jpg"), tmp_path / "out.json", name)
    images = ImageIndex({5: ImageRecord("x/a.jpg"), 6: ImageRecord("y/a.jpg")}, "the images")
    assert formats.read(tmp_path / "out.json", images=images).image_ids.tolist() == [5, 6]


@each_form
def test_the_files_of_sep_json_are_images(tmp_path: Path, form: str) -> None:
    content = as_alphapose_writes(form, [record("a"), record("a"), record("b")])
    key, pose = FORMS[form]
    content["nobody"] = {"version": "AlphaPose v0.3", key: [], "mine": 1}
    for name, image in content.items():
        path = saved(tmp_path / "sep-json", image, f"{name}.json")
        assert formats.sniff(path) == f"alphapose-{form}"
    assert formats.sniff(path.parent) == f"alphapose-{form}"
    people = formats.read(path.parent)
    assert list(people.source.keys.values()) == ["a", "b", "nobody"] and people.image_ids.tolist() == [0, 0, 1]
    people.keypoints[2, 0] = 5
    formats.write(people, tmp_path / "out")
    content["b"][key][0][pose][:2] = [5.0, 5.0]
    assert {file.stem: json.loads(file.read_text()) for file in (tmp_path / "out").iterdir()} == content


def test_a_folder_with_a_frame_of_alphapose_is_alphaposes(tmp_path: Path) -> None:
    for name, image in as_alphapose_writes("open", [record("a"), record("b")]).items():
        path = saved(tmp_path / "sep-json", {**image, "version": 1} if name == "a" else image, f"{name}.json")
    found = [name for name, one in FORMATS.items() if one.sniff(formats.FileProbe(path.parent))]
    assert found == ["alphapose-open"]


# ---- mistakes


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (5, "record 1 is the number 5"),
        ({**record(), "image_id": None}, "record 1 has null as image_id, expected an object with the name of an image"),
        ({"keypoints": triples()}, "record 1 has null as image_id"),
        (record(True), "true as image_id"),
        (record(keypoints=None), "record 1 has null as keypoints, expected x, y and score"),
        (record(keypoints=triples()[:-1]), "50 numbers as keypoints"),
        (record(keypoints=triples(26)), "26 keypoints, expected the 17 of coco17"),
        (record(keypoints=["1"] * 51), "as keypoints, expected numbers"),
        (record(keypoints=[*triples()[:-3], 1e9, 1, 1]), r"expected a number within"),
        (record(score="high"), "the string 'high' as a score"),
        (record(score=1e300), "as its score"),
    ],
)
def test_bad_records_are_named_or_handed_through(tmp_path: Path, bad: object, says: str) -> None:
    content = [record(), bad, record("1.jpg")]
    path = saved(tmp_path, content)
    assert_refused(says, path)
    people = formats.read(path, on_error="skip")
    assert people.labelled.any(1).tolist() == [True, False, True] and len(people.source.problems) == 1
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == content


def test_a_file_without_any_usable_record_goes_through(tmp_path: Path) -> None:
    for content in ([], [5], [{"keypoints": []}]):
        people = formats.read(saved(tmp_path, content), "alphapose", on_error="skip")
        assert len(people) == len(content) and not people.labelled.any()
        formats.write(people, tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text()) == content


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("alphapose", {"version": 1.3, "people": []}, r"an object of 2, expected a list.*--format openpose"),
        ("alphapose", as_alphapose_writes("cmu", [record()]), "--format alphapose-cmu"),
        ("alphapose-cmu", [record()], "--format alphapose"),
        ("alphapose-open", as_alphapose_writes("cmu", [record()]), "--format alphapose-cmu"),
        ("alphapose-cmu", {"a.jpg": {"bodies": 5}}, "entry 'a.jpg' is not what this format holds for an image"),
        ("alphapose-cmu", {"a.jpg": {"bodies": [{"joints": triples()}]}}, r"17 keypoints.*openpose18 \(18\)"),
        ("alphapose-cmu", {"a.jpg": {"bodies": [{}]}}, "person 0 has no joints"),
    ],
)
def test_other_files_are_named(tmp_path: Path, name: str, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ([record("a.jpg")], "alphapose"),
        ([record("17")], "alphapose"),
        ([{k: v for k, v in record().items() if k not in ("box", "idx")}], "alphapose"),
        ([record(keypoints=[None] * 51)], "alphapose"),
        ([record(keypoints=[[1, 2, 3]])], None),
        ([record(keypoints=[])], None),
        ([record(bbox=[1, 2, 3, 4])], None),
        ({"a.jpg": {"version": "AlphaPose v0.2", "bodies": []}}, "alphapose-cmu"),
        ({"version": "AlphaPose v0.2", "people": []}, "alphapose-open"),
        ({"version": 1.3, "people": [{"pose_keypoints_2d": [1, 2, 0.5] * 18}]}, "openpose"),
        ({"a.jpg": {"version": 0.1, "people": [{"name": "Ann"}]}}, None),
        ({}, None),
    ],
)
def test_forms_are_known_by_their_people(tmp_path: Path, content: object, name: str | None) -> None:
    probe = formats.FileProbe(saved(tmp_path, content))
    found = [
        other for other in ("alphapose", "alphapose-cmu", "alphapose-open", "openpose") if FORMATS[other].sniff(probe)
    ]
    assert found == ([] if name is None else [name])
