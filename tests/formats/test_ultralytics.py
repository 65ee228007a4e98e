"""Ultralytics' label files and JSON."""

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
from posefix.formats import FORMATS, ImageIndex, ultralytics, ultralytics_labels
from posefix.formats.coco import ImageRecord
from tests.coco_records import assert_refused, saver

saved = saver("walk.json")

LABELS, JSON = "ultralytics-labels", "ultralytics-json"
WIDTH, HEIGHT = 400, 200
POINTS = [(0.3 + k / 100, 0.7 - k / 100) for k in range(17)]
BOX = "0.5 0.5 0.25 0.75"
TRIPLES = " ".join(f"{x:g} {y:g} 0.5" for x, y in POINTS)
PAIRS = " ".join(f"{x:g} {y:g}" for x, y in POINTS)
LINE = f"0 {BOX} {TRIPLES}"


def index_of(*names: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> ImageIndex:
    return ImageIndex({i: ImageRecord(name, *size) for i, name in enumerate(names)}, "photos")


def labels(folder: Path, text: str, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def read_labels(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), **options: object) -> People:
    content = ultralytics_labels.read(path, options.get("skeleton"), "skip")
    return formats.read(path, LABELS, images=index_of(*content.images, size=size), **options)


def people_of(*names: str) -> People:
    """A COCO person in each of some images."""
    count = len(names)
    points = np.tile(np.array(POINTS) * (WIDTH, HEIGHT), (count, 1, 1))
    people = People(load("coco17"), points, np.full((count, 17), 0.5), np.arange(count))
    people.boxes, people.person_scores = np.tile([150, 25, 100, 150], (count, 1)), np.ones(count)
    known = {i: ImageRecord(name, WIDTH, HEIGHT) for i, name in enumerate(names)}
    people.source = formats.Source(FORMATS["coco"], None, known)
    return people


# ---- labels: what the columns mean


def test_labels_are_fractions_of_the_image(tmp_path: Path) -> None:
    people = read_labels(labels(tmp_path, LINE + " 0.875\n"))
    assert people.skeleton == load("coco17")
    np.testing.assert_allclose(people.keypoints[0], np.array(POINTS) * (WIDTH, HEIGHT), rtol=1e-6)
    np.testing.assert_array_equal(people.scores, np.full((1, 17), 0.5))
    np.testing.assert_allclose(people.boxes, [[150, 25, 100, 150]])
    np.testing.assert_array_equal(people.person_scores, [0.875])


def test_labels_need_the_sizes_of_the_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the size of a is not known; give the images"):
        formats.read(labels(tmp_path, LINE), LABELS)


@pytest.mark.parametrize("keypoints", [TRIPLES, PAIRS])
@pytest.mark.parametrize(
    ("ends", "scores"),
    [
        (["", ""], [None, None]),
        (["0.25", "0.75"], [0.25, 0.75]),
        (["1", "0.75"], [1, 0.75]),
        (["1", "2"], [None, None]),
        (["0.25 1", "0.75 2"], [0.25, 0.75]),
        (["0.25", "0.75 2"], [0.25, 0.75]),
        (["", "2"], [None, None]),
    ],
    ids=["nothing", "confidence", "of 1", "track", "both", "not all tracked", "not all tracked, no confidence"],
)
def test_behind_the_keypoints_are_confidence_and_track(
    keypoints: str, ends: list[str], scores: list[float | None], tmp_path: Path
) -> None:
    text = "".join(f"0 {BOX} {keypoints} {end}".rstrip() + "\n" for end in ends)
    path = labels(tmp_path, text)
    assert formats.sniff(path) == LABELS
    people = read_labels(path)
    mean = 0.5 if keypoints == TRIPLES else 1.0
    np.testing.assert_array_equal(people.person_scores, [mean if score is None else score for score in scores])
    np.testing.assert_array_equal(people.scores, mean)
    formats.write(people, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == text


@pytest.mark.parametrize(
    ("count", "name"), [(17, "coco17"), (26, "halpe26"), (133, "coco_wholebody133"), (14, "crowdpose14")]
)
@pytest.mark.parametrize("width", [2, 3])
def test_the_number_of_columns_tells_the_skeleton(count: int, name: str, width: int, tmp_path: Path) -> None:
    triples = " ".join(f"{k / 200:g} {k / 400:g}" + " 0.5" * (width - 2) for k in range(1, count + 1))
    people = read_labels(labels(tmp_path, f"0 {BOX} {triples} 0.5"), size=(200, 400), skeleton=None)
    if (count, width) == (26, 2):  # as many columns as 17 keypoints with confidences, box confidence and track
        people = read_labels(labels(tmp_path, f"0 {BOX} {triples} 0.5"), size=(200, 400), skeleton=load(name))
    assert people.skeleton == load(name)
    place = people.skeleton.index("left_wrist") + 1
    coco = people.to_skeleton(load("coco17"))
    np.testing.assert_allclose(coco.keypoints[0, 9], (place, place), rtol=1e-5)


def test_keypoints_that_are_nan_were_not_found_and_are_counted(tmp_path: Path) -> None:
    people = read_labels(labels(tmp_path, f"0 {BOX} nan 0.2 0.23 {TRIPLES.split(' ', 3)[3]} 0.5\n{LINE} 0.5"))
    np.testing.assert_array_equal(people.labelled, [[False] + [True] * 16, [True] * 17])
    assert people.source.parsed.not_finite == 1


def test_a_keypoint_at_the_origin_was_not_found(tmp_path: Path) -> None:
    text = f"0 {BOX} 0 0 0.23 {TRIPLES.split(' ', 3)[3]} 0.5\n0 {BOX} 0.1 0.2 0 {TRIPLES.split(' ', 3)[3]} 0.5"
    people = read_labels(labels(tmp_path, text))
    np.testing.assert_array_equal(people.labelled, [[False] + [True] * 16] * 2)
    np.testing.assert_array_equal(people.keypoints[:, 0], 0)
    people.keypoints[:, 1] += 1
    formats.write(people, tmp_path / "out.txt")
    starts = [line.split()[5:8] for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert starts == [["0", "0", "0.23"], ["0.1", "0.2", "0"]]


# ---- labels: written


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE} 0.5\n{LINE} 0.25\n",
        f"{LINE} 0.5\n{LINE} 0.25",
        f"{LINE}\r\n{LINE}\r\n",
        f"\n \n{LINE}  \n\n\t{LINE}\n\n",
        LINE.replace("0.5", "5.0e-01").replace(" ", "\t"),
        f"1 {BOX}\n{LINE}\n7 0.5 0.5 0.1 0.1 {TRIPLES}\n",
    ],
    ids=["plain", "no end", "windows", "empty lines", "other numbers", "other classes"],
)
def test_unchanged_labels_are_the_same_text(text: str, tmp_path: Path) -> None:
    people = read_labels(labels(tmp_path, text))
    assert people.labelled.any() and people.source.problems == []
    formats.write(people, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_bytes() == text.encode()


def test_only_changed_numbers_are_exchanged(tmp_path: Path) -> None:
    text = f"\n{LINE}  0.875 3\r\n{LINE} 0.875 4\n"
    people = read_labels(labels(tmp_path, text))
    people.keypoints[0, 16] = (123.456, 70)
    people.scores[0, 0] = 0.75
    people.person_scores[0] = 1
    formats.write(people, tmp_path / "out.txt")
    changed = text.replace("0.46 0.54 0.5  0.875", "0.30864 0.35 0.5  1.0", 1).replace("0.3 0.7 0.5", "0.3 0.7 0.75", 1)
    assert (tmp_path / "out.txt").read_bytes() == changed.encode()


def test_changed_numbers_are_good_for_large_photos(tmp_path: Path) -> None:
    people = read_labels(labels(tmp_path, LINE), size=(4000, 6000))
    wanted = people.keypoints + np.linspace(0.1, 0.9, 34, dtype=np.float32).reshape(17, 2)
    formats.write(people.with_keypoints(wanted[0]), tmp_path / "out.txt")
    again = read_labels(tmp_path / "out.txt", size=(4000, 6000))
    np.testing.assert_allclose(again.keypoints[0], wanted[0], atol=0.001)


def test_a_folder_keeps_empty_files(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    texts = {"a.txt": LINE + "\n", "b.txt": "", "c.txt": "\n"}
    for name, text in texts.items():
        labels(folder, text, name)
    assert formats.sniff(folder) == LABELS
    assert ultralytics_labels.read(folder, None, "stop").images == ["a", "b", "c"]
    formats.write(read_labels(folder), tmp_path / "out")
    assert {file.name: file.read_text() for file in (tmp_path / "out").iterdir()} == texts


def test_other_people_are_written_as_save_txt_does(tmp_path: Path) -> None:
    people = people_of("x/a.jpg", "b.png")[:1]
    people.keypoints[0, 3], people.scores[0, 3] = 0, 0
    formats.write(people, tmp_path / "out", LABELS)
    written = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    triples = TRIPLES.split(" ")
    triples[9:12] = ["0", "0", "0"]
    numbers = f"0 {BOX} {' '.join(triples)} 1.0\n".split()
    assert written["b.txt"] == ""
    np.testing.assert_allclose(np.array(written["a.txt"].split(), float), np.array(numbers, float), atol=1e-7)
    assert written["a.txt"].split()[-1] == "1.0"  # of 1 alone could be a track
    again = formats.read(tmp_path / "out", images=index_of("a.jpg", "b.png"))
    np.testing.assert_array_equal(again.person_scores, [1])


# ---- labels: mistakes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("person\ndog\n", "is not a label file, its first line is 'person'"),
        ('{"a": 1}', "is not a label file"),
        ("a,b,c\n1,2,3\n", "is not a label file"),
        ("0 0.5\n0 0.5\n", "is not a label file"),
        (f"0 {BOX} 0.9\n", "lines of 6 numbers, expected class and box, 2 or 3 for each of"),
        (f"0 {BOX} {'0.1 ' * 63}\n", "lines of 68 numbers, .* --skeleton"),
        (f"{LINE}\n{LINE} 0.5 0.5 0.5\n", "line 2 has 59 numbers, expected 56 to 58 for 17 keypoints"),
        (f"{LINE}\n\n{LINE.replace('0.3 ', 'x ')}\n", "line 3 has something in it that is no number"),
        (f"0 {BOX} {'50 60 0.5 ' * 17}\n", "half of all coordinates are beyond 55, so they are pixels"),
    ],
)
def test_mistakes_in_labels_are_named(text: str, says: str, tmp_path: Path) -> None:
    path = labels(tmp_path, text)
    assert_refused(says, path, LABELS, images=index_of("a.jpg"))


def test_files_that_are_no_labels_are_named(tmp_path: Path) -> None:
    labels(tmp_path, LINE)
    labels(tmp_path, "notes of a day", "notes.txt")
    with pytest.raises(InputError, match=r"notes.txt: is not a label file"):
        read_labels(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"notes.txt: not a UTF-8 text file"):
        read_labels(tmp_path)


def test_a_given_skeleton_counts(tmp_path: Path) -> None:
    text = f"0 {BOX} {'0.1 0.2 0.5 ' * 16}\n"
    assert read_labels(labels(tmp_path, text)).skeleton == load("mpii16")
    people = read_labels(labels(tmp_path, f"0 {BOX} {'0.1 0.2 0.5 ' * 25}\n"), skeleton=load("body25"))
    assert people.skeleton == load("body25") and people.labelled.all()


# ---- JSON

DETECTION = {
    "name": "person",
    "class": 0,
    "confidence": 0.875,
    "box": {"x1": 10.5, "y1": 20.0, "x2": 110.5, "y2": 220.0},
    "track_id": 4,
    "keypoints": {
        "x": [*(100.5 + k for k in range(16)), 0.0],
        "y": [*(50.25 + k for k in range(16)), 0.0],
        "visible": [*[0.75] * 16, 0.1],
    },
}
DOG = {**DETECTION, "name": "dog", "class": 1}


def detection(**changes: object) -> dict:
    return copy.deepcopy({**DETECTION, **changes})


def keypoints(**changes: object) -> dict:
    return {**DETECTION["keypoints"], **changes}


def test_json_is_in_pixels(tmp_path: Path) -> None:
    people = formats.read(saved(tmp_path, [detection()]))
    assert people.skeleton == load("coco17") and people.source.format.name == JSON
    points = np.stack([DETECTION["keypoints"]["x"], DETECTION["keypoints"]["y"]], axis=1)
    np.testing.assert_array_equal(people.keypoints[0], points)
    np.testing.assert_array_equal(people.scores[0], np.float32([*[0.75] * 16, 0]))
    np.testing.assert_array_equal(people.boxes, [[10.5, 20, 100, 200]])
    np.testing.assert_array_equal(people.person_scores, [0.875])


def test_models_without_visibility_have_scores_of_1(tmp_path: Path) -> None:
    content = [detection(keypoints={key: DETECTION["keypoints"][key] for key in "xy"})]
    people = formats.read(saved(tmp_path, content), JSON)
    np.testing.assert_array_equal(people.scores[0], [*[1] * 16, 0])
    people.keypoints[0, 0] = (7, 8)
    formats.write(people, tmp_path / "out.json")
    content[0]["keypoints"]["x"][0], content[0]["keypoints"]["y"][0] = 7.0, 8.0
    assert json.loads((tmp_path / "out.json").read_text()) == content


STORED = {
    "image": [detection(), DOG, detection()],
    "list": [[], [detection(), DOG], [detection()]],
    "names": {"x/a.jpg": [], "x/b.jpg": [detection(), DOG], "c.jpg": [detection()]},
}


@pytest.mark.parametrize("form", STORED)
def test_each_way_of_storing_is_recognised_and_written_as_it_was(form: str, tmp_path: Path) -> None:
    path = saved(tmp_path, STORED[form])
    assert formats.sniff(path) == JSON
    people = formats.read(path)
    np.testing.assert_array_equal(people.labelled.any(1), [True, False, True])
    formats.write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == STORED[form]
    images = ultralytics.read(path, None, "stop").images
    assert images == {"image": ["walk"], "list": [0, 1, 2], "names": list(STORED["names"])}[form]


def test_a_folder_is_an_image_in_each_file(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    saved(folder, [], "a.json")
    saved(folder, [detection()], "b.json")
    assert formats.sniff(folder) == JSON
    people = formats.read(folder, images=index_of("a.jpg", "b.jpg"))
    np.testing.assert_array_equal(people.image_ids, [1])
    formats.write(people, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "b.json").read_text()) == [DETECTION]
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == []


def test_other_people_are_written_as_to_json_does(tmp_path: Path) -> None:
    formats.write(people_of("x/a.jpg"), tmp_path / "out", JSON)
    (written,) = json.loads((tmp_path / "out" / "a.json").read_text())
    assert list(written) == [key for key in DETECTION if key != "track_id"]
    assert (written["name"], written["class"], written["confidence"]) == ("person", 0, 1.0)
    assert written["box"] == {"x1": 150.0, "y1": 25.0, "x2": 250.0, "y2": 175.0}
    np.testing.assert_allclose(written["keypoints"]["x"], [x * WIDTH for x, _ in POINTS], atol=6e-4)
    np.testing.assert_allclose(written["keypoints"]["y"], [y * HEIGHT for _, y in POINTS], atol=6e-4)
    assert written["keypoints"]["visible"] == [0.5] * 17


def test_normalised_coordinates_are_refused(tmp_path: Path) -> None:
    small = keypoints(
        x=[v / 640 for v in DETECTION["keypoints"]["x"]], y=[v / 480 for v in DETECTION["keypoints"]["y"]]
    )
    box = {"x1": 0.1, "y1": 0.2, "x2": 0.9, "y2": 1.0}
    path = saved(tmp_path, [detection(keypoints=small, box=box)])
    with pytest.raises(InputError, match=r"within -1 and 1, .* expected pixels: write it with to_json\(\)"):
        formats.read(path)
    assert len(formats.read(saved(tmp_path, [detection(keypoints=small, box=box), detection()]))) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([5], "detection 0 is the number 5, expected an object"),
        ([{k: v for k, v in DETECTION.items() if k != "keypoints"}], "has no keypoints .* only a pose model gives"),
        ([detection(keypoints=keypoints(y=[1.0] * 16))], "has 17 x, 16 y and 17 visible"),
        ([detection(keypoints=keypoints(x=["1"] * 17))], "expected numbers"),
        ([detection(keypoints={"x": [1] * 25, "y": [2] * 25})], "has 25 keypoints, .* --skeleton"),
        ([[], [detection(confidence="high")]], "frame 1, detection 0 has the string 'high'"),
        ({"a.jpg": [detection(), 5]}, "image 'a.jpg', detection 1 is the number 5"),
        ({"a.jpg": 5}, "entry 'a.jpg'"),
        (5, "is not what this format holds for an image"),
    ],
)
def test_mistakes_in_json_are_named(content: object, says: str, tmp_path: Path) -> None:
    path = saved(tmp_path, content)
    assert_refused(says, path, JSON)
