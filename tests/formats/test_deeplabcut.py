"""DeepLabCut: body parts go by their names, and cells keep their text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import from_dict, load
from posefix.formats import FORMATS, ImageIndex
from posefix.formats.coco import ImageRecord
from tests.coco_records import assert_refused, saver

saved = saver("runDLC.csv")

SAMPLES = Path(__file__).parents[1] / "samples"
COCO = load("coco17")
MOUSE = from_dict(
    {
        "name": "mouse",
        "keypoints": [{"name": n, "sigma": 0.05, "group": "upper"} for n in ("nose", "left_ear", "tail_base")],
    }
)
SINGLE = """scorer,DLC,DLC,DLC,DLC,DLC,DLC,DLC,DLC,DLC
bodyparts,nose,nose,nose,leftear,leftear,leftear,tailbase,tailbase,tailbase
coords,x,y,likelihood,x,y,likelihood,x,y,likelihood
0,10.5,20.25,0.9,11,21,0.123456789,1e1,2.0E1,1.0
1,,,,,,,,,
2,30,40,0.5,NaN,NaN,0.01,31,41,0
"""
NAMED = SINGLE.replace("leftear", "left_ear").replace("tailbase", "tail_base")
SEVERAL = """scorer,DLC,DLC,DLC,DLC,DLC,DLC,DLC,DLC
individuals,m1,m1,m1,m2,m2,m2,single,single
bodyparts,nose,nose,nose,nose,nose,nose,cage,cage
coords,x,y,likelihood,y,x,likelihood,x,y
0,1,2,0.5,4,3,0.75,100,200
1,,,,6,5,0.25,100,200
2,,,,,,,100,200
"""


def read(path: Path, **options: object) -> People:
    return formats.read(path, skeleton=MOUSE, **options)


# ---- what a table says


def test_rows_are_frames_and_empty_cells_no_estimates(tmp_path: Path) -> None:
    people = read(saved(tmp_path, NAMED), images=ImageIndex.of_video(Path("film.mp4"), (640, 480)))
    assert people.image_ids.tolist() == [0, 2] and list(people.source.keys) == [0, 1, 2]
    np.testing.assert_allclose(people.keypoints[0], [[10.5, 20.25], [11, 21], [10, 20]])
    np.testing.assert_allclose(people.scores, [[0.9, 0.123456789, 1], [0.5, 0, 0]])
    assert people.keypoints[1].tolist() == [[30, 40], [0, 0], [0, 0]]
    assert not people.boxes.any()


def test_each_individual_is_a_person_where_it_has_coordinates(tmp_path: Path) -> None:
    people = read(saved(tmp_path, SEVERAL))
    assert people.image_ids.tolist() == [0, 0, 1] and list(people.source.keys) == [0, 1, 2]
    assert people.keypoints[:, 0].tolist() == [[1, 2], [3, 4], [5, 6]]
    np.testing.assert_allclose(people.scores[:, 0], [0.5, 0.75, 0.25])


def test_rows_of_images_start_with_their_paths(tmp_path: Path) -> None:
    path = saved(tmp_path, NAMED.replace("\n0,", "\nwalk/img1.png,").replace("\n1,", "\nrun/img1.png,"))
    found = FORMATS["deeplabcut"].read(path, MOUSE, "stop")
    assert (found.images, found.kind) == (["walk/img1.png", "run/img1.png", "2"], "name")
    records = {4: ImageRecord("walk/img1.png"), 5: ImageRecord("run/img1.png"), 6: ImageRecord("2.png")}
    assert read(path, images=ImageIndex(records, "the images")).image_ids.tolist() == [4, 6]


def test_body_parts_are_found_in_any_order_and_spelling(tmp_path: Path) -> None:
    header = (
        "scorer,s,s,s,s,s,s,s\nbodyparts,LeftEar,tailBase,tailBase,LeftEar,whisker,tailBase,LeftEar\n"
        "coords,y,x,y,x,x,likelihood,likelihood\n"
    )
    people = read(saved(tmp_path, header + "img7.png,2,3,4,1,9,0.5,0.5\n"))
    assert people.keypoints[0].tolist() == [[0, 0], [1, 2], [3, 4]]
    assert people.image_ids.tolist() == [7]


def test_the_names_of_a_shipped_skeleton_need_none(tmp_path: Path) -> None:
    for name in ("walkingDLC_Resnet50.csv", "twoDLC_el.csv"):
        assert formats.read(SAMPLES / "deeplabcut" / name).skeleton == COCO
    with pytest.raises(InputError, match=r"has the body parts nose, left_ear, tail_base, which are not .*--skeleton"):
        formats.read(saved(tmp_path, NAMED))


# ---- writing


@pytest.mark.parametrize("text", [NAMED, SEVERAL, NAMED.replace("\n", "\r\n").rstrip()])
def test_what_does_not_change_keeps_its_text(tmp_path: Path, text: str) -> None:
    people = read(saved(tmp_path, text))
    formats.write(people, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().decode() == text


def test_only_the_cells_that_changed_are_new(tmp_path: Path) -> None:
    people = read(saved(tmp_path, NAMED))
    moved, scores = people.keypoints.copy(), people.scores.copy()
    moved[0, 2] = (12.3456, 20)
    moved[1] += 1
    scores[0, 0] = 0.75
    formats.write(people.with_keypoints(moved, scores), tmp_path / "out.csv")
    expected = NAMED.replace("20.25,0.9", "20.25,0.75").replace("1e1", "12.346").replace("2,30,40", "2,31.0,41.0")
    assert (tmp_path / "out.csv").read_text() == expected


def test_individuals_that_are_gone_leave_empty_cells(tmp_path: Path) -> None:
    people = read(saved(tmp_path, SEVERAL))
    formats.write(people[[0, 2]], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == SEVERAL.replace("4,3,0.75", ",,")


def test_coco_people_become_a_table_of_one_or_several_individuals(tmp_path: Path) -> None:
    keypoints = np.arange(68).reshape(2, 17, 2) + 0.5
    scores = np.full((2, 17), 0.5)
    scores[1, 3] = 0
    people = People(COCO, keypoints, scores, np.array([3, 3]))
    formats.write(people, tmp_path / "two.csv", "deeplabcut")
    lines = (tmp_path / "two.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["scorer", "individuals", "bodyparts", "coords", "000000000003"]
    assert [lines[i].split(",")[52] for i in range(1, 5)] == ["individual2", "nose", "x", "34.5"]
    assert lines[4].split(",")[61:64] == ["", "", ""]
    np.testing.assert_array_equal(formats.read(tmp_path / "two.csv").labelled, scores > 0)
    formats.write(people[:1], tmp_path / "one.csv", "deeplabcut")
    lines = (tmp_path / "one.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines] == [
        ["scorer", "PoseFix", "PoseFix"],
        ["bodyparts", "nose", "nose"],
        ["coords", "x", "y"],
        ["000000000003", "0.5", "1.5"],
    ]


# ---- mistakes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            SINGLE.partition("\n")[2],
            r"does not start as DeepLabCut's CSV does, with rows of the same length called scorer, \(individuals,\)",
        ),
        (NAMED.replace("likelihood", "z"), "has columns x, y, z, expected x, y and likelihood"),
        (NAMED.replace("likelihood", "prob").replace(",y", ",row"), "has columns prob, row, x, expected x, y"),
        (NAMED.replace("40,0.5", "forty,0.5"), "line 6 cannot be read: could not convert string to float: 'forty'"),
        (NAMED.replace("2,30,40,", "2,30,"), "line 6 cannot be read: 9 cells, expected the 10 of the header"),
        (NAMED.replace("scorer,DLC", "scorer"), "with rows of the same length"),
        (
            NAMED.replace("nose", "a").replace("left_ear", "b").replace("tail_base", "c"),
            "b, c, which are not",
        ),
        (SEVERAL.replace("6,5,0.25", "6,5e9,0.25"), "line 6, individual 'm2' has .* expected a number within"),
        ("", "does not start as"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = saved(tmp_path, text)
    assert_refused(says, path, "deeplabcut", skeleton=MOUSE)


def test_rows_that_cannot_be_used_are_handed_through(tmp_path: Path) -> None:
    text = SEVERAL.replace("6,5,0.25", "6,five,0.25").replace("2,,,,,,,100", "2,,,,,,,,100")
    people = read(saved(tmp_path, text), on_error="skip")
    assert people.labelled.any(1).tolist() == [True, True, False, False, False] and len(people.source.problems) == 3
    formats.write(people, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text


# ---- HDF5


def test_hdf5_is_refused_with_the_way_to_csv(tmp_path: Path) -> None:
    path = tmp_path / "runDLC.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match=r"runDLC.h5: is HDF5; save CSV instead .*analyze_videos_converth5_to_csv"):
        formats.read(path)
