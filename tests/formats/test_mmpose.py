"""MMPose's predictions, and the COCO results that MMPose and Detectron2 write."""

from __future__ import annotations

import copy
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

saved = saver("photo.json")

SAMPLES = Path(__file__).parents[1] / "samples"
POINTS = [[100.0 + 5 * k, 200.0 - 3 * k] for k in range(17)]
INSTANCE = {
    "keypoints": POINTS,
    "keypoint_scores": [0.5] * 16 + [0.25],
    "bbox": [[90.0, 140.0, 190.5, 210.0]],
    "bbox_score": 0.75,
}
META = {
    "dataset_name": "coco",
    "keypoint_id2name": {str(i): name for i, name in enumerate(load("coco17").keypoint_names)},
}


def instance(**changes: object) -> dict:
    return copy.deepcopy({**INSTANCE, **changes})


def frames(first: int, *listed: list) -> list:
    return [{"frame_id": first + i, "instances": instances} for i, instances in enumerate(listed)]


def rewritten(path: Path, people: People, out: Path) -> object:
    formats.write(people, out)
    return json.loads((out / path.name if out.is_dir() else out).read_text())


# ---- what the fields mean


def test_numbers_are_pixels_and_boxes_have_corners(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [instance()]), "mmpose")
    assert people.skeleton == load("coco17")
    np.testing.assert_array_equal(people.keypoints[0], POINTS)
    np.testing.assert_array_equal(people.scores[0], INSTANCE["keypoint_scores"])
    np.testing.assert_array_equal(people.boxes, [[90, 140, 100.5, 70]])
    np.testing.assert_array_equal(people.person_scores, [0.75])


def test_a_keypoint_of_score_0_is_no_estimate_and_stays_where_it_is(tmp_path: Path) -> None:
    content = [instance(keypoint_scores=[0.0, *[0.5] * 16], keypoints=[[7.0, 8.0], [None, 3.0], *POINTS[2:]])]
    path = saved(tmp_path, content)
    people = formats.read(path, "mmpose")
    np.testing.assert_array_equal(people.labelled[0], [False, False, *[True] * 15])
    np.testing.assert_array_equal(people.keypoints[0, :2], 0)
    assert rewritten(path, people, tmp_path / "out.json") == content


@pytest.mark.parametrize("bbox", [[90.0, 140.0, 190.5, 210.0], [[90.0, 140.0, 190.5, 210.0]]])
def test_a_box_may_lie_in_a_list_of_its_own_or_not(bbox: list, tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [instance(bbox=bbox, bbox_score=[0.5])]), "mmpose")
    np.testing.assert_array_equal(people.boxes, [[90, 140, 100.5, 70]])
    np.testing.assert_array_equal(people.person_scores, [0.5])


def test_a_model_without_boxes_has_the_mean_score(tmp_path: Path) -> None:
    content = [{key: INSTANCE[key] for key in ("keypoints", "keypoint_scores")}]
    path = saved(tmp_path, content)
    people = formats.read(path, "mmpose")
    np.testing.assert_allclose(people.person_scores, np.mean(INSTANCE["keypoint_scores"]), rtol=1e-6)
    np.testing.assert_array_equal(people.boxes, 0)
    assert rewritten(path, people, tmp_path / "out.json") == content


# ---- skeletons


def test_the_demo_scripts_files_are_known() -> None:
    assert formats.read(SAMPLES / "mmpose" / "results_street.json").skeleton == load("halpe26")
    assert formats.read(SAMPLES / "mmpose" / "results_clip.json").skeleton == load("coco17")


# ---- images and frames


def test_images_are_named_after_their_files(tmp_path: Path) -> None:
    for name in ("street_7.json", "b.c.json"):
        saved(tmp_path, [instance()], name)
    saved(tmp_path, {"meta_info": META, "instance_info": []}, "results_park.json")
    assert FORMATS["mmpose"].read(tmp_path, None, "stop").images == ["b.c", "park", "street_7"]
    known = {3: ImageRecord("x/park.jpg"), 5: ImageRecord("street_7.png"), 8: ImageRecord("b.c.jpg")}
    people = formats.read(tmp_path, "mmpose", images=ImageIndex(known, "photos"))
    np.testing.assert_array_equal(people.image_ids, [8, 5])


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_frame_is_0_however_they_are_counted(first: int, tmp_path: Path) -> None:
    """The inferencer counts from 0, the demo scripts from 1."""
    listed = frames(first, [], [instance()], [instance(), instance()])
    path = saved(tmp_path, listed if first == 0 else {"meta_info": META, "instance_info": listed})
    content = FORMATS["mmpose"].read(path, None, "stop")
    assert content.kind == "index" and content.images == [0, 1, 2]
    people = formats.read(path, "mmpose", images=ImageIndex.of_video(Path("clip.mp4"), (640, 480)))
    np.testing.assert_array_equal(people.image_ids, [1, 2, 2])


def test_frames_may_be_missing(tmp_path: Path) -> None:
    path = saved(tmp_path, [{"frame_id": 4, "instances": [instance()]}, {"frame_id": 9, "instances": []}])
    assert FORMATS["mmpose"].read(path, None, "stop").images == [4, 9]
    demo = {"meta_info": META, "instance_info": json.loads(path.read_text())}
    assert FORMATS["mmpose"].read(saved(tmp_path, demo), None, "stop").images == [3, 8]


FORMS = {
    "image": [instance(), instance(bbox_score=0.5)],
    "video": frames(0, [], [instance()], [instance()]),
    "demo image": {"meta_info": META, "instance_info": [instance(), instance()]},
    "demo video": {"meta_info": META, "instance_info": frames(1, [instance()], [], [instance()])},
    "list of lists": [[instance()], [], [instance()]],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_folder", [False, True])
def test_every_form_is_recognised_and_written_as_it_was(form: str, as_folder: bool, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    path = saved(folder, FORMS[form])
    source = folder if as_folder else path
    assert formats.sniff(source) == "mmpose"
    if as_folder and "image" not in form:
        with pytest.raises(InputError, match="if it holds several, give that file"):
            formats.read(source)
        return
    people = formats.read(source)
    assert len(people) == 2
    out = tmp_path / "out"
    assert rewritten(path, people, out) == FORMS[form] and out.is_dir() == as_folder


def test_a_rescored_person_keeps_the_mark(tmp_path: Path) -> None:
    path = saved(tmp_path, [{**{k: INSTANCE[k] for k in ("keypoints", "keypoint_scores")}}])
    people = formats.read(path, "mmpose")
    people.extra[0] = {**people.extra[0], "original_score": 0.5}
    people.person_scores[0] = 0.125
    written = rewritten(path, people, tmp_path / "out.json")[0]
    assert (written["bbox_score"], written["original_score"]) == (0.125, 0.5)


# ---- people from elsewhere


def test_other_people_are_written_as_the_inferencer_does(tmp_path: Path) -> None:
    results = [{"image_id": 7, "keypoints": [v for x, y in POINTS for v in (x, y, 0.5)], "score": 0.75}]
    results[0]["bbox"] = [90, 140, 100.5, 70]
    people = formats.read(saved(tmp_path, results), "coco")
    people.keypoints[0, 4], people.scores[0, 4] = 0, 0
    formats.write(people, tmp_path / "out", "mmpose")
    written = json.loads((tmp_path / "out" / "000000000007.json").read_text())
    assert list(written[0]) == ["keypoints", "keypoint_scores", "bbox", "bbox_score"]
    assert written[0]["keypoints"] == [*POINTS[:4], [0.0, 0.0], *POINTS[5:]]
    assert written[0]["keypoint_scores"] == [0.5] * 4 + [0.0] + [0.5] * 12
    assert written[0]["bbox"] == [[90.0, 140.0, 190.5, 210.0]] and written[0]["bbox_score"] == 0.75


def test_images_of_one_name_cannot_be_in_one_folder(tmp_path: Path) -> None:
    people = People(load("coco17"), np.ones((2, 17, 2)), np.ones((2, 17)), [3, 4])

    def write(*names: str) -> list[str]:
        known = {i: ImageRecord(name) for i, name in zip((3, 4), names, strict=True)}
        people.source = formats.Source(FORMATS["coco"], None, known)
        out = tmp_path / names[1].replace("/", "_")
        formats.write(people, out, "mmpose")
        return sorted(file.name for file in out.iterdir())

    assert write("x/a.jpg", "y/b.png") == ["a.json", "b.json"]
    assert write("a.jpg", "a.png") == ["a.jpg.json", "a.png.json"]
    with pytest.raises(InputError, match=r"'x/a.jpg' and 'y/a.jpg' would be written to one file"):
        write("x/a.jpg", "y/a.jpg")


# ---- mistakes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (5, "is not what this format holds for an image"),
        ({"a": 1}, "entry 'a' is not what this format holds for an image"),
        ([instance(), 5], "instance 1 is the number 5, expected an object"),
        ([{"keypoints": POINTS}], "instance 0 has no keypoint_scores"),
        ([instance(keypoints=[[1, 2, 3]] * 17)], r"shape \(17, 3\), expected pairs"),
        ([instance(keypoints=[["1", "2"]] * 17)], "expected numbers"),
        ([instance(keypoint_scores=[1] * 16)], "has 16 scores for 17 keypoints"),
        ([instance(keypoints=[[1, 2]] * 21, keypoint_scores=[1] * 21)], "has 21 keypoints, .* --skeleton"),
        ([instance(bbox_score="high")], "the string 'high'"),
        ([instance(), instance(keypoints=[[1e7, 2]] * 17)], "instance 1 has .* expected a number within"),
        ([{"frame_id": 0, "instances": []}, {"frame_id": 1}], "entry 1 is not what this format holds for an image"),
        ([{"instances": []}], "entry 0 has null as its frame_id"),
        ([*frames(3, []), *frames(3, [])], "has frame_id 3 twice"),
        (frames(0, [], [instance(), 5]), "frame 1, instance 1 is the number 5"),
    ],
)
def test_mistakes_are_named(content: object, says: str, tmp_path: Path) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, "mmpose")


def test_a_folder_of_several_videos_is_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        saved(tmp_path, frames(0, [instance()]), name)
    with pytest.raises(
        InputError, match=r"a.json: is not what this format holds for one image; if it holds several, give that file"
    ):
        formats.read(tmp_path, "mmpose")


# ---- COCO results under other names


@pytest.mark.parametrize(
    ("format", "name"),
    [("mmpose-results", "results.keypoints.json"), ("detectron2", "coco_instances_results.json")],
)
def test_results_are_recognised_by_their_file_names(format: str, name: str, tmp_path: Path) -> None:
    sample = SAMPLES / format / name
    assert formats.sniff(sample) == format
    other = tmp_path / "other.json"
    other.write_bytes(sample.read_bytes())
    assert formats.sniff(other) == "coco"
    people, raw = formats.read(sample), json.loads(sample.read_text())
    triples = np.array([record["keypoints"] for record in raw], np.float32).reshape(-1, 17, 3)
    np.testing.assert_array_equal(people.keypoints, triples[..., :2])
    np.testing.assert_array_equal(people.scores, triples[..., 2])
    np.testing.assert_array_equal(people.boxes, np.array([record["bbox"] for record in raw], np.float32))
    assert not people.labelled.all()
