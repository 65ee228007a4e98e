"""COCO's annotations: the images that they list, and every mistake in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import ImageIndex, coco
from tests.coco_records import GOOD, one_sentence, saved


def annotations(*people: dict, images: object = None) -> dict:
    return {"images": [{"id": 139, "file_name": "a.jpg", "width": 64, "height": 48}] if images is None else images} | {
        "annotations": list(people)
    }


def annotated(**changes: object) -> dict:
    return {"image_id": 139, "id": 1, "keypoints": [3, 4, 2] * 16 + [0, 0, 0], "bbox": [1, 2, 10, 20], **changes}


def test_the_images_that_annotations_list_are_known_by_id(tmp_path: Path) -> None:
    index = ImageIndex.of_annotations(saved(tmp_path, annotations(annotated())))
    assert index.records == {139: coco.ImageRecord("a.jpg", 64, 48)}
    assert ImageIndex.of_annotations(saved(tmp_path, annotations(images=[]))).records == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([GOOD], "a list, as results do"),
        (5, "the number 5"),
        ({"images": []}, "no list of annotations"),
        ({"annotations": []}, "no list of images"),
        (annotations(images={}), "no list of images"),
        (annotations(images=[5]), "image 0 has no integer id"),
        (annotations(images=[{"file_name": "a.jpg"}]), "image 0 has no integer id"),
        (annotations(images=[{"id": 1}]), "image 0 .*no file_name"),
        (annotations(images=[{"id": 1, "file_name": 5}]), "image 0 .*no file_name"),
        (annotations(images=[{"id": 1, "file_name": "a", "width": "wide"}]), "width"),
        (annotations(images=[{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]), "image 1 .*another image"),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=says) as error:
        ImageIndex.of_annotations(path)
    one_sentence(error, path)


def test_real_annotations_agree_with_their_own_counts(data_root: Path) -> None:
    path = data_root / "coco" / "annotations" / "person_keypoints_val.json"
    raw = json.loads(path.read_text())
    wanted = [a for a in raw["annotations"] if a["num_keypoints"] > 0 and not a["iscrowd"]]
    truth = GroundTruth.read(path)
    found = truth.people
    assert [a["id"] for a in found.extra] == [a["id"] for a in wanted]
    np.testing.assert_array_equal(found.labelled.sum(1), [a["num_keypoints"] for a in wanted])
    np.testing.assert_allclose(found.areas, [a["area"] for a in wanted])
    assert len(truth.images) == len(raw["images"])
