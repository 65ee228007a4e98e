"""Side-by-side pictures show the right part of the image, and the folder's index says what was written."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.report.drawing import POSE, people_view, side_by_side
from posefix.report.pictures import write_pictures

SKELETON = load("coco17")


def standing(centres: list[tuple[float, float]], image_ids: list[int], size: float = 40.0) -> People:
    keypoints = SKELETON.template * size + np.array(centres, float)[:, None]
    n = len(centres)
    return People(
        SKELETON, keypoints, np.full((n, 17), 2), image_ids, person_scores=np.ones(n), areas=np.full(n, size**2)
    )


class Images(dict):
    """Images by their ids, named as COCO names them unless other names are given."""

    def __init__(self, images: dict[int, np.ndarray], names: dict[int, str] | None = None) -> None:
        super().__init__(images)
        self.names = names

    def __missing__(self, image_id: int) -> np.ndarray:
        raise InputError(f"{image_id}.jpg: is damaged")

    def name(self, image_id: int) -> str:
        return f"{image_id:012d}.jpg" if self.names is None else self.names[image_id]


def gradient(width: int = 320, height: int = 240) -> np.ndarray:
    """Red grows with x, green with y."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.rint(np.stack([x, y, np.full_like(x, 60)], -1)).astype(np.uint8)


def panels(picture: np.ndarray, height: int = 480) -> tuple[np.ndarray, np.ndarray]:
    """The two panels, found by their equal width around a gap of 6 px below a heading of 34."""
    width = (picture.shape[1] - 6) // 2
    rows = picture[34 : 34 + height]
    return rows[:, :width], rows[:, -width:]


def test_before_is_left_and_after_is_right() -> None:
    before, after = standing([(100, 100)], [1]), standing([(200, 100)], [1])
    left, right = panels(side_by_side(gradient(), before, after))
    orange = [(np.abs(panel.astype(int) - POSE.left).sum(-1) < 30) for panel in (left, right)]
    centres = [np.flatnonzero(mask.any(0)).mean() / mask.shape[1] for mask in orange]
    np.testing.assert_allclose(centres, [106 / 319, 206 / 319], atol=0.03)


def test_the_view_of_a_small_person_is_enlarged_and_registered() -> None:
    """The colours of the gradient say which part of the image a panel shows; the pose stands where it should."""
    people = standing([(64.0, 48.0)], [1], size=10.0)
    box = people_view(gradient(), people, people)
    left, _ = panels(side_by_side(gradient(128, 96), people, people, box=box))
    height, width = left.shape[:2]
    assert height == 480
    ys, xs = np.nonzero(np.abs(left.astype(int) - POSE.left).sum(-1) < 30)
    ankle = people.keypoints[0, SKELETON.index("left_ankle")]
    background = left[:, 2].astype(float)  # a column that no pose reaches
    y_of_row = background[:, 1] / 255 * 95
    bottom = xs[ys > ys.max() - 6], ys[ys > ys.max() - 6]  # the lower half of the ankle's dot
    assert y_of_row[bottom[1].min()] == pytest.approx(ankle[1], abs=0.6)
    x_of_column = left[2, :, 0].astype(float) / 255 * 127
    assert x_of_column[round(bottom[0].mean())] == pytest.approx(ankle[0], abs=0.6)
    shown = x_of_column[-1] - x_of_column[0], y_of_row[-1] - y_of_row[0]
    assert shown[1] == pytest.approx(1.2 * box[3], abs=1)
    assert shown[0] / shown[1] == pytest.approx((width - 1) / (height - 1), rel=0.1)


def test_a_large_image_is_shrunk_without_a_shift() -> None:
    image = gradient(3200, 2400)
    nobody = People.empty(SKELETON)
    left, right = panels(side_by_side(image, nobody, nobody, height=240))
    assert (left == right).all()
    expected = gradient(left.shape[1], 240).astype(int)
    assert np.abs(left.astype(int) - expected)[2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (3000, 2)])
def test_any_image_and_any_person_make_a_picture(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    far = standing([(1e6, -1e7)], [1])
    for people in (standing([(100, 100)], [1]), far, People.empty(SKELETON)):
        for box in (None, people_view(gradient(), people, people)):
            picture = side_by_side(image, people, people, truth=people, title="x" * 500, box=box)
            assert picture.dtype == np.uint8
            assert picture.shape[0] == 480 + 3 * 34


def test_stray_keypoints_do_not_shrink_the_person() -> None:
    people = standing([(100, 100)], [1])
    box = people_view(gradient(), people, people)
    stray = people.with_keypoints(people.keypoints.copy())
    stray.keypoints[0, 9] = 1e5
    assert (people_view(gradient(), people, stray)[2:] < 1.3 * box[2:]).all()


def test_one_picture_for_each_image(tmp_path) -> None:
    before = standing([(100, 100), (150, 100), (60, 90)], [9, 4, 9])
    index = write_pictures(tmp_path / "new" / "folder", Images({4: gradient(), 9: gradient()}), before, before)
    assert [entry["image_id"] for entry in index] == [4, 9]
    assert json.loads((tmp_path / "new/folder/index.json").read_text()) == index
    names = {p.name for p in (tmp_path / "new/folder").iterdir()}
    assert names == {"index.json", "000000000004.jpg", "000000000009.jpg"}
    picture = cv2.imread(str(tmp_path / "new/folder/000000000004.jpg"))
    assert picture.shape[0] == 480 + 3 * 34


def test_pictures_are_named_as_their_images(tmp_path) -> None:
    names = {4: "alice.jpg", 9: "day 2/alice.png", 12: "Alice.webp", 13: "day 2/alice.tif"}
    people = standing([(100, 100)] * 4, [4, 9, 12, 13])
    images = Images(dict.fromkeys(names, gradient()), names)
    index = write_pictures(tmp_path, images, people, people)
    assert [entry["image"] for entry in index] == list(names.values())
    files = [entry["file"] for entry in index]
    assert files == ["alice.jpg", "day 2_alice.jpg", "Alice_12.jpg", "day 2_alice_13.jpg"]
    assert all((tmp_path / file).is_file() for file in files)
    moved = people.with_keypoints(people.keypoints + 3)
    index = write_pictures(tmp_path, images, moved, people, people)
    assert index[0]["file"] == "best_01_alice.jpg"


def test_a_wide_shot_is_cut_around_its_people(tmp_path) -> None:
    """A person of 40 px in an image of 1600 stands as tall in the picture as in one of 160."""
    heights = []
    for side in (1600, 100):
        people = standing([(60.0, 60.0)], [1])
        write_pictures(tmp_path, Images({1: np.full((side, side, 3), 60, np.uint8)}), people, people)
        picture = cv2.imread(str(tmp_path / "000000000001.jpg"))[34:514, :, ::-1].astype(int)
        heights.append(np.ptp(np.flatnonzero((np.abs(picture - POSE.left).sum(-1) < 60).any(1))))
    assert heights[0] > 0.5 * 480 and heights[0] > 0.9 * heights[1]


def test_with_truth_the_worst_and_best_people_are_shown(tmp_path) -> None:
    centres = [(60.0, 100.0), (160.0, 100.0), (260.0, 100.0)] * 2
    truth = standing(centres, [1, 1, 1, 2, 2, 2])
    shifts = np.array([[3, 3], [3, 0], [3, 6], [3, 1], [3, 9], [0, 0]], float)
    before, after = (truth.with_keypoints(truth.keypoints + shifts[:, side, None, None]) for side in (0, 1))
    index = write_pictures(tmp_path, Images({1: gradient(), 2: gradient()}), before, after, truth, count=2)
    assert [(e["kind"], e["person"]) for e in index] == [("worst", 4), ("worst", 2), ("best", 1), ("best", 3)]
    assert all((tmp_path / e["file"]).stat().st_size > 1000 for e in index)
    assert all((e["oks_after"] > e["oks_before"]) == (e["kind"] == "best") for e in index)
    assert index[0]["file"] == "worst_01_000000000002.jpg"


def test_an_image_that_cannot_be_read_is_left_out_and_told_of(tmp_path) -> None:
    people = standing([(100, 100), (150, 100)], [9, 4])
    index = write_pictures(tmp_path, Images({9: gradient()}), people, people)
    name = "000000000009.jpg"
    assert index == [{"image_id": 4, "skipped": "4.jpg: is damaged"}, {"image_id": 9, "image": name, "file": name}]


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    people = standing([(100, 100)], [9])
    with pytest.raises(InputError, match="file"):
        write_pictures(tmp_path / "file", Images({9: gradient()}), people, people)
