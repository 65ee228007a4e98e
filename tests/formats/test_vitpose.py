"""ViTPose: keypoints go where their labels say, and the rest stays."""

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

saved = saver("street.json")

COCO = load("coco17")


def person(labels: range | list = range(17), **rest: object) -> dict:
    """Keypoint i at (10 i + 5, 20 i + 7), score 0.05 i."""
    labels = list(labels)
    return {
        "keypoints": [[10 * i + 5, 20 * i + 7] for i in labels],
        "scores": [0.05 * i for i in labels],
        "labels": labels,
        **rest,
    }


# ---- what results mean


def test_keypoints_are_pixels_in_cocos_order(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [[person()]]))
    assert people.skeleton == COCO
    np.testing.assert_array_equal(people.keypoints[0, 1:], [[10 * i + 5, 20 * i + 7] for i in range(1, 17)])
    np.testing.assert_allclose(people.scores[0], 0.05 * np.arange(17), atol=1e-7)
    assert people.keypoints[0, 0].tolist() == [0, 0]  # its score is 0
    np.testing.assert_allclose(people.person_scores, 0.4)


@pytest.mark.parametrize("labels", [[5, 6, 12], [16], [16, 3, 7], []])
def test_with_a_threshold_labels_say_which_keypoints_there_are(tmp_path: Path, labels: list[int]) -> None:
    people = formats.read(saved(tmp_path, [[person(labels), person()]]))
    known = np.zeros(17, bool)
    known[labels] = True
    assert people.labelled[0].tolist() == known.tolist()
    np.testing.assert_array_equal(people.keypoints[0, labels], people.keypoints[1, labels])


def test_without_labels_the_place_counts(tmp_path: Path) -> None:
    form = person()
    del form["labels"]
    people = formats.read(saved(tmp_path, [[form]]), "vitpose")
    assert people.keypoints[0, 16].tolist() == [165, 327]


def test_more_keypoints_mean_another_skeleton(tmp_path: Path) -> None:
    assert len(formats.read(saved(tmp_path, [[person([3]), person([132])]])).skeleton) == 133
    assert formats.read(saved(tmp_path, [[person([3]), person([25])]])).skeleton == load("halpe26")
    assert formats.read(saved(tmp_path, [[person(range(16))]])).skeleton == COCO
    assert formats.read(saved(tmp_path, [[person(range(16))]]), skeleton="mpii16").labelled.sum() == 15


def test_the_processors_box_is_no_box_of_the_image(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [[person(bbox=[85, 167, 85.2, 167.6]), person(bbox="none")]]))
    assert not people.boxes.any() and people.labelled.any(1).all()


# ---- storage


def test_results_are_read_in_every_store_and_written_as_they_were(tmp_path: Path) -> None:
    one = person(bbox=[1, 2, 3, 4], extra=None)
    contents = {
        "batch": ([[one], [], [one, person([3, 1])]], [0, 1, 2], [0, 2, 2]),
        "image": ([one, one], ["street"], [0, 0]),
        "names": ({"a.jpg": [], "b.jpg": [one]}, ["a.jpg", "b.jpg"], [1]),
    }
    for name, (content, images, frames) in contents.items():
        found = FORMATS["vitpose"].read(saved(tmp_path, content), None, "stop")
        assert (list(found.images), found.frames.tolist()) == (images, frames), name
        FORMATS["vitpose"].write(tmp_path / "out.json", found)
        assert (tmp_path / "out.json").read_text() == json.dumps(content) + "\n", name


def test_a_batch_is_of_the_images_in_their_order(tmp_path: Path) -> None:
    records = {i: ImageRecord(name, 640, 480) for i, name in ((12, "a.jpg"), (7, "b.jpg"))}
    people = formats.read(saved(tmp_path, [[person()], [person()]]), images=ImageIndex(records, "the images"))
    assert people.image_ids.tolist() == [12, 7]
    with pytest.raises(InputError, match="has 2 images, but the results, which do not name theirs, are of 1"):
        formats.read(saved(tmp_path, [[person()]]), images=ImageIndex(records, "the images"))


# ---- writing


def test_coco_people_become_what_the_processor_returns(tmp_path: Path) -> None:
    keypoints = np.array([[[10 * i + 5, 20 * i + 7] for i in range(17)]], float)
    scores = np.full((1, 17), 0.5)
    keypoints[0, 4], scores[0, 4] = 0, 0
    people = People(COCO, keypoints, scores, np.array([5]), np.array([[5, 7, 165, 220]]))
    formats.write(people, tmp_path / "out.json", "vitpose")
    (written,) = json.loads((tmp_path / "out.json").read_text())["000000000005"]
    assert list(written) == ["keypoints", "scores", "labels"]
    assert written["labels"] == [i for i in range(17) if i != 4] and len(written["scores"]) == 16
    assert written["keypoints"][4] == [55, 107]


# ---- mistakes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": [0] * 17}, "labels that are not different numbers from 0 to 16"),
        ({"labels": ["nose"] * 17}, "labels that are not different numbers"),
        ({"labels": [-1, *range(1, 17)]}, "labels that are not different numbers"),
        ({"labels": [0, 1]}, "has 17 keypoints and a list of 2 as labels"),
        ({"scores": [1]}, "has 1 scores for 17 keypoints"),
        ({"scores": "high"}, "has the string 'high' as scores, expected numbers"),
        ({"keypoints": [[1, 2, 3]] * 17}, r"has keypoints of shape \(17, 3\)"),
        ({"keypoints": [[1, 2]] * 16 + [[1]]}, "has .* as keypoints, expected numbers"),
        ({"keypoints": [[1e9, 2]] * 17}, "has .* expected a number within"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict, says: str) -> None:
    path = saved(tmp_path, [[person()], [person(), person() | change]])
    assert_refused(f"frame 1, person 1 .*{says}", path, "vitpose")


def test_people_of_other_kinds_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, [[person(), {"keypoints": []}, 5]])
    with pytest.raises(InputError, match="frame 0, person 1 has no scores"):
        formats.read(path)
    assert len(formats.read(path, on_error="skip").source.problems) == 2
