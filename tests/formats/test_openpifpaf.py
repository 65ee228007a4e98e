"""OpenPifPaf's predictions, of images and of videos."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.skeleton import load
from posefix.formats import FORMATS, ImageIndex, openpifpaf
from posefix.formats.coco import ImageRecord
from tests.coco_records import assert_refused, saver

saved = saver("walk.jpg.predictions.json")

POINTS = [(100.25 + 5 * k, 200.5 - 3 * k) for k in range(17)]
FLAT = [v for x, y in POINTS for v in (x, y, 0.5)]
ANNOTATION = {"keypoints": FLAT, "bbox": [90.5, 140.0, 100.0, 70.0], "score": 0.75, "category_id": 1}
DOG = {"category_id": 18, "category": "dog", "score": 0.6, "bbox": [1.0, 2.0, 3.0, 4.0]}


def annotation(**changes: object) -> dict:
    return copy.deepcopy({**ANNOTATION, **changes})


def with_triple(joint: int, *triple: object) -> list:
    return [*FLAT[: 3 * joint], *triple, *FLAT[3 * joint + 3 :]]


def video(*numbered: tuple[int, list]) -> str:
    lines = [{"frame": number, "predictions": people} for number, people in numbered]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


# ---- what the fields mean


def test_numbers_are_pixels(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [annotation()]), "openpifpaf")
    assert people.skeleton == load("coco17")
    np.testing.assert_array_equal(people.keypoints[0], POINTS)
    np.testing.assert_array_equal(people.scores, np.full((1, 17), 0.5))
    np.testing.assert_array_equal(people.boxes, [ANNOTATION["bbox"]])
    np.testing.assert_array_equal(people.person_scores, [0.75])


def test_a_keypoint_of_confidence_0_is_nowhere_and_stays_as_it_is(tmp_path: Path) -> None:
    """A shift of the image moves what was not found, too."""
    content = [annotation(keypoints=with_triple(9, -0.5, -3.5, 0.0))]
    people = formats.read(saved(tmp_path, content), "openpifpaf")
    np.testing.assert_array_equal(people.keypoints[0, 9], 0)
    assert not people.labelled[0, 9] and people.labelled.sum() == 16
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == content


def test_other_objects_are_handed_through(tmp_path: Path) -> None:
    content = [DOG, annotation(), DOG]
    path = saved(tmp_path, content)
    people = formats.read(path)
    np.testing.assert_array_equal(people.labelled.any(1), [False, True, False])
    assert people.source.problems == []
    people.keypoints[1, 0] += 1
    formats.write(people, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert [written[0], written[2]] == [DOG, DOG] and written[1] != content[1]


def test_a_file_without_any_person_is_fine(tmp_path: Path) -> None:
    assert not formats.read(saved(tmp_path, [DOG]), "openpifpaf").labelled.any()
    assert len(formats.read(saved(tmp_path, []))) == 0


# ---- images


def test_images_are_named_with_their_extension(tmp_path: Path) -> None:
    saved(tmp_path, [annotation()])
    saved(tmp_path, [], "walk.png.predictions.json")
    saved(tmp_path, {"nothing": "of it"}, "notes.json")
    assert formats.sniff(tmp_path) == "openpifpaf"
    assert openpifpaf.read(tmp_path, None, "stop").images == ["walk.jpg", "walk.png"]
    known = {3: ImageRecord("walk.png"), 5: ImageRecord("x/walk.jpg")}
    people = formats.read(tmp_path, images=ImageIndex(known, "photos"))
    np.testing.assert_array_equal(people.image_ids, [5])


def test_a_file_of_any_name_is_recognised(tmp_path: Path) -> None:
    path = saved(tmp_path, [annotation(id_=3)], "out.json")
    assert formats.sniff(path) == "openpifpaf"
    assert openpifpaf.read(path, None, "stop").images == ["out"]
    assert formats.sniff(saved(tmp_path, [annotation(image_id=3)], "out.json")) == "coco"


# ---- videos


def test_frames_begin_with_1(tmp_path: Path) -> None:
    text = video((1, [annotation(id_=1)]), (2, []), (3, [annotation(), annotation()]))
    path = saved(tmp_path, text, "clip.mp4.openpifpaf.json")
    assert formats.sniff(path) == "openpifpaf"
    content = openpifpaf.read(path, None, "stop")
    assert content.kind == "index" and content.images == [0, 1, 2]
    people = formats.read(path, images=ImageIndex.of_video(Path("clip.mp4"), (640, 480)))
    np.testing.assert_array_equal(people.image_ids, [0, 2, 2])
    formats.write(people, tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == text


def test_a_video_may_begin_later(tmp_path: Path) -> None:
    """With --start-frame 30 the first frame is number 31."""
    path = saved(tmp_path, video((31, [annotation()]), (32, [])), "clip.json")
    assert openpifpaf.read(path, None, "stop").images == [30, 31]


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = saved(tmp_path, video((1, [annotation()])), "clip.json")
    assert formats.sniff(path) == "openpifpaf" and openpifpaf.read(path, None, "stop").images == [0]


# ---- people from elsewhere


def test_other_people_are_written_as_predict_does(tmp_path: Path) -> None:
    flat = [v for x, y in POINTS for v in (x, y, 0.5)]
    results = [{"image_id": 7, "keypoints": flat, "score": 0.75, "bbox": [90.5, 140, 100, 70]}]
    people = formats.read(saved(tmp_path, results, "coco.json"), "coco")
    known = {7: ImageRecord("x/walk.jpg"), 9: ImageRecord("x/nobody.jpg")}
    people.source = formats.Source(FORMATS["coco"], None, known)
    formats.write(people, tmp_path / "out", "openpifpaf")
    files = {file.name: json.loads(file.read_text()) for file in (tmp_path / "out").iterdir()}
    assert files == {"walk.jpg.predictions.json": [ANNOTATION], "nobody.jpg.predictions.json": []}
    assert list(files["walk.jpg.predictions.json"][0]) == list(ANNOTATION)


# ---- mistakes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([5], "annotation 0 is the number 5, expected an object"),
        ([annotation(), annotation(keypoints=None)], "annotation 1 has null as keypoints"),
        ([annotation(keypoints=FLAT[:-1])], "50 numbers as keypoints"),
        ([annotation(keypoints=[[1, 2, 3]] * 17)], "17 numbers as keypoints, .* one after the other"),
        ([annotation(keypoints=[1] * 75)], "has 25 keypoints, .* --skeleton"),
        ([annotation(keypoints=with_triple(3, "x", 1, 1))], "expected numbers"),
        ([annotation(score="high")], "the string 'high'"),
        (video((1, []), (2, [5])), "line 2, annotation 0 is the number 5"),
        (video((1, []), (2, []))[:-6], "line 2 is cut off or damaged"),
        (video((1, []), (1, [])), "has frame 1 twice"),
        (video((1, []), (-1, [])), "line 2 has the number -1 as its frame"),
        ({"a.jpg": 5}, "entry 'a.jpg'"),
    ],
)
def test_mistakes_are_named(content: object, says: str, tmp_path: Path) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, "openpifpaf")
