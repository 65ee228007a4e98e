"""Every way to say which image is meant leads to that image, or to none."""

from __future__ import annotations

from pathlib import Path

import pytest

from posefix.core.errors import InputError
from posefix.formats import ImageIndex
from posefix.formats.coco import ImageRecord
from posefix.formats.images import ids_of


def numbered(*numbers: int) -> ImageIndex:
    return ImageIndex({i: ImageRecord(f"{i}.jpg") for i in numbers}, "photos")


@pytest.mark.parametrize(
    ("numbers", "indices", "ids"),
    [
        (range(10), [2, 3], [2, 3]),  # the names count from 0 as indices do
        (range(1, 11), [2, 3], [3, 4]),  # the names count from 1
        (range(100, 103), [2, 0, 1], [102, 100, 101]),  # as many as there are images: in their order
        (range(100, 110), [102, 105], [102, 105]),
    ],
)
def test_indices_mean_frames_as_the_names_count_them(numbers: range, indices: list[int], ids: list[int]) -> None:
    assert numbered(*numbers).match(indices, "index").tolist() == ids


def test_indices_of_some_images_need_numbers(tmp_path: Path) -> None:
    for name in "dbca":
        (tmp_path / f"{name}.jpg").touch()
    index = ImageIndex.of_folder(tmp_path)
    assert [record.file_name for record in index.records.values()] == [f"{name}.jpg" for name in "abcd"]
    assert index.match(["c"], "name").tolist() == index.match([3, 2, 1, 0], "index")[1:2].tolist() == [2]
    for indices in ([1, 2], [0, 1, 2, 9]):
        with pytest.raises(InputError, match="do not name theirs"):
            index.match(indices, "index")
    assert ids_of(["a1.jpg", "b1.jpg"]) == ids_of(["a1.jpg", "b.jpg"]) == ([0, 1], False)


def test_of_names_alike_that_with_the_same_extension_or_folder_is_meant() -> None:
    names = ["a.jpg", "a.png", "x/a.jpg", "b.png", "x/y/b.png"]
    index = ImageIndex(dict(enumerate(map(ImageRecord, names))), "photos")
    assert index.match(["a.png", "x/a.jpg", "a.jpg", "b", "y/b.jpg"], "name").tolist() == [1, 2, 0, 3, 4]


def test_names_without_an_image_are_of_different_images_when_skipped() -> None:
    found = numbered(1, 2).match(["2.jpg", "c.jpg", "d.jpg"], "name", skip=True).tolist()
    assert found[0] == 2 and max(found[1:]) < 0 and found[1] != found[2]


def test_frames_before_the_first_are_refused() -> None:
    video = ImageIndex.of_video(Path("film.mp4"), (640, 480))
    assert video.match(["film_5.jpg", 1], "name", first_frame=5).tolist() == [0, 1]
    with pytest.raises(InputError, match="namely 'film_4"):
        video.match(["film_5.jpg", "film_4.jpg"], "name", first_frame=5)
