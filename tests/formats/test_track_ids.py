"""Track ids are read from the formats that have a place for them, and written there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.formats.registry import FORMATS
from tests.format_samples import SAMPLES

TRACKED = ("coco", "coco-annotations", "alphapose", "openpifpaf", "ultralytics-json", "tfjs", "openpose")


def two_people(rng: np.random.Generator, skeleton: str) -> People:
    """Two people in each of three frames."""
    k = len(load(skeleton))
    points, scores = rng.uniform(10, 90, (6, k, 2)), rng.uniform(0.5, 1, (6, k))
    boxes = [[0, 0, 100, 100]] * 6
    return People(load(skeleton), points, scores, [0, 0, 1, 1, 2, 2], boxes, track_ids=[7, 3] * 3)


@pytest.mark.parametrize("name", TRACKED)
def test_ids_of_new_files_are_read_again(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    formats.write(two_people(rng, FORMATS[name].skeletons[0]), tmp_path / "out", name)
    people = formats.read(tmp_path / "out", name)
    assert sorted(zip(people.image_ids.tolist(), people.track_ids.tolist(), strict=True)) == [
        (frame, track) for frame in range(3) for track in (3, 7)
    ]


@pytest.mark.parametrize("name", TRACKED)
def test_new_ids_go_into_the_old_records(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    untracked = two_people(rng, FORMATS[name].skeletons[0])
    untracked.track_ids[:] = -1
    formats.write(untracked, tmp_path / "old", name)
    people = formats.read(tmp_path / "old", name)
    assert (people.track_ids == -1).all()
    people.track_ids = np.arange(6) + 1
    formats.write(people, tmp_path / "new", name)
    np.testing.assert_array_equal(formats.read(tmp_path / "new", name).track_ids, np.arange(6) + 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("coco/estimator.json", {4, 5, 6}),
        ("ultralytics-json/json/street_000.json", {1, 2, 3}),
        ("openpifpaf/clip.jsonl", {1, 2}),
        ("alphapose/alphapose-results.json", {-1, 1, 2}),  # 0: nobody was tracked
        ("openpose/street", {-1}),
    ],
)
def test_ids_of_real_files(path: str, expected: set[int]) -> None:
    assert set(formats.read(SAMPLES / path).track_ids.tolist()) == expected


def test_labels_have_their_tracks_in_the_last_column(tmp_path: Path) -> None:
    triples = " ".join("0.3 0.4 0.5" for _ in range(17))
    ends = ["0.25 4", "0.5", "0.75 0"]
    (tmp_path / "film_1.txt").write_text("".join(f"0 0.5 0.5 0.2 0.4 {triples} {end}\n" for end in ends))
    size = formats.ImageIndex.of_video(Path("film.mp4"), (200, 100))
    people = formats.read(tmp_path, "ultralytics-labels", images=size)
    assert people.track_ids.tolist() == [4, -1, 0]
    (new := tmp_path / "new").mkdir()
    formats.write(people[:1], new, "ultralytics-labels")
    assert formats.read(new, images=size).track_ids.tolist() == [4]


@pytest.mark.parametrize("theirs", ["a", 1.5, True, ["b"]])
def test_track_ids_of_another_kind_stay(theirs: object, rng: np.random.Generator, tmp_path: Path) -> None:
    formats.write(two_people(rng, "coco17"), tmp_path / "old.json", "coco")
    records = [{**record, "track_id": theirs} for record in json.loads((tmp_path / "old.json").read_text())]
    (tmp_path / "old.json").write_text(json.dumps(records))
    people = formats.read(tmp_path / "old.json")
    assert (people.track_ids == -1).all()
    people.track_ids = np.arange(6) + 1
    formats.write(people, tmp_path / "new.json")
    assert [record["track_id"] for record in json.loads((tmp_path / "new.json").read_text())] == [theirs] * 6
