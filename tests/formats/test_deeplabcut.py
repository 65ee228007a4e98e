"""DeepLabCut: body parts go by their names, cells keep their text, and reading HDF5 runs nothing that is in a file."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import from_dict, load
from posefix.formats import FORMATS, ImageIndex, deeplabcut_h5
from posefix.formats.coco import ImageRecord

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
LABELED = """scorer,,,Ada,Ada,Ada,Ada
bodyparts,,,nose,nose,tail_base,tail_base
coords,,,x,y,x,y
labeled-data,run,img1.png,1.5,2.5,,
labeled-data,run,img2.png,,,,
labeled-data,walk,img1.png,3,4,5,6
"""


def saved(folder: Path, text: str, name: str = "runDLC.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


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


def test_labeled_images_are_named_by_three_cells_and_have_score_1(tmp_path: Path) -> None:
    path = saved(tmp_path, LABELED)
    found = FORMATS["deeplabcut"].read(path, MOUSE, "stop")
    names = ["labeled-data/run/img1.png", "labeled-data/run/img2.png", "labeled-data/walk/img1.png"]
    assert (found.images, found.kind) == (names, "name")
    assert found.scores.tolist() == [[1, 0, 0], [1, 0, 1]]
    records = {
        i: ImageRecord(name, 640, 480) for i, name in ((4, "walk/img1.png"), (5, "run/img1.png"), (6, "run/img2.png"))
    }
    assert read(path, images=ImageIndex(records, "the images")).image_ids.tolist() == [5, 4]


def test_body_parts_are_found_in_any_order_and_spelling(tmp_path: Path) -> None:
    header = "scorer,s,s,s,s,s\nbodyparts,LeftEar,tailBase,tailBase,LeftEar,whisker\ncoords,y,x,y,x,x\n"
    people = read(saved(tmp_path, header + "img7.png,2,3,4,1,9\n"))
    assert people.keypoints[0].tolist() == [[0, 0], [1, 2], [3, 4]]
    assert people.image_ids.tolist() == [7]


def test_the_names_of_a_shipped_skeleton_need_none(tmp_path: Path) -> None:
    for name in ("walkingDLC_Resnet50.csv", "twoDLC_el.csv", "CollectedData_Ada.csv"):
        assert formats.read(SAMPLES / "deeplabcut" / name).skeleton == COCO
    with pytest.raises(InputError, match=r"has the body parts nose, left_ear, tail_base, which are not .*--skeleton"):
        formats.read(saved(tmp_path, NAMED))


# ---- writing


@pytest.mark.parametrize(
    "text", [NAMED, SEVERAL, LABELED, NAMED.replace("\n", "\r\n").rstrip(), NAMED.replace(",", ";")]
)
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
            r"does not start as DeepLabCut's CSV does, with rows called scorer, \(individuals,\)",
        ),
        (NAMED.replace("coords,x,y", "coords,x,z"), "has 3D coordinates, expected x, y and likelihood"),
        (NAMED.replace("likelihood", "prob").replace(",y", ",row"), "has columns prob, row, x, expected x, y"),
        (NAMED.replace("40,0.5", "forty,0.5"), "line 6 has 'forty' in a cell, expected a number"),
        (NAMED.replace("2,30,40,", "2,30,"), "line 6 has 9 cells, expected the 10 of the header"),
        (NAMED.replace("scorer,DLC", "scorer"), "its header rows are not of the same length"),
        (NAMED.replace("nose", "a").replace("left_ear", "b").replace("tail_base", "c"), "a, b, c, none of which is a"),
        (SEVERAL.replace("6,5,0.25", "6,5e9,0.25"), "line 6, individual 'm2' has a keypoint or score beyond"),
        ("", "is empty, expected CSV"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(InputError, match=says) as error:
        formats.read(path, "deeplabcut", skeleton=MOUSE)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_rows_that_cannot_be_used_are_handed_through(tmp_path: Path) -> None:
    text = SEVERAL.replace("6,5,0.25", "6,five,0.25").replace("2,,,,,,,100", "2,,,,,,,,100")
    people = read(saved(tmp_path, text), on_error="skip")
    assert people.labelled.any(1).tolist() == [True, True, False, False, False] and len(people.source.problems) == 3
    formats.write(people, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text


# ---- HDF5


H5 = sorted((SAMPLES / "deeplabcut-h5").glob("*.h5"))


@pytest.mark.parametrize("path", H5, ids=lambda path: path.stem)
def test_hdf5_says_the_same_as_csv(path: Path) -> None:
    pytest.importorskip("h5py")
    twin = {"machinelabels": "twoDLC_el.csv", "walkingDLC_Resnet50": "walkingDLC_Resnet50.csv"}[path.stem]
    people, other = formats.read(path), formats.read(SAMPLES / "deeplabcut" / twin)
    np.testing.assert_array_equal(people.keypoints, other.keypoints)
    np.testing.assert_array_equal(people.scores, other.scores)
    np.testing.assert_array_equal(people.image_ids, other.image_ids)


@pytest.mark.parametrize("path", H5, ids=lambda path: path.stem)
def test_hdf5_is_a_copy_with_other_numbers(path: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    people = formats.read(path)
    formats.write(people, tmp_path / "same.h5")
    assert (tmp_path / "same.h5").read_bytes() == path.read_bytes()
    moved, scores = people.keypoints.copy(), people.scores.copy()
    moved[2, 5], scores[2, 5] = (12.25, 13.5), 0.375
    formats.write(people.with_keypoints(moved, scores)[1:], tmp_path / "out.h5")
    again = formats.read(tmp_path / "out.h5")
    np.testing.assert_array_equal(again.keypoints, moved[1:])
    np.testing.assert_array_equal(again.scores, scores[1:])
    assert list(again.source.keys.values()) == list(people.source.keys.values())

    def content(file: Path) -> dict[str, bytes]:
        found = {}
        with h5py.File(file) as opened:
            opened.visititems(lambda name, item: found.update({name: repr((dict(item.attrs), item)).encode()}))
            for name in found:
                item = opened[name]
                if isinstance(item, h5py.Dataset) and item.dtype.kind != "f":
                    fields = item.dtype.names or [None]
                    found[name] += b"".join(item[()].tobytes() if f is None else item[f].tobytes() for f in fields[:1])
        return found

    assert content(tmp_path / "out.h5") == content(path)


def test_hdf5_is_written_from_hdf5_alone(tmp_path: Path) -> None:
    people = formats.read(SAMPLES / "deeplabcut" / "walkingDLC_Resnet50.csv")
    with pytest.raises(InputError, match=r"only written as a copy of the HDF5 file .*--to deeplabcut"):
        formats.write(people, tmp_path / "out.h5", "deeplabcut-h5")


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: object, **named: object) -> object:
        if name == "h5py":
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"is HDF5, which needs h5py \(pip install 'posefix\[deeplabcut\]'\)"):
        formats.read(H5[0])


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


PLAIN = [("scorer", "nose", "x"), ("scorer", "näse", "y"), (), ("a",), ("a", "b"), (1, -2.5, None, 2**70), ["x", ["y"]]]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_understood_without_unpickling(protocol: int) -> None:
    for value in (PLAIN, [], [PLAIN[0]] * 2000, None, "text"):
        assert deeplabcut_h5.plain_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_other_pickles_are_refused_and_run_nothing(protocol: int, tmp_path: Path) -> None:
    for value in (Trap(tmp_path / "sprung"), [Trap(tmp_path / "sprung")], {"a": 1}, {1}, Path, np.str_("x"), b"x"):
        with pytest.raises(ValueError):
            deeplabcut_h5.plain_pickle(pickle.dumps(value, protocol))
    assert not (tmp_path / "sprung").exists()


def test_a_file_with_a_trap_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "trap.h5"
    shutil.copy(SAMPLES / "deeplabcut-h5" / "walkingDLC_Resnet50.h5", path)
    with h5py.File(path, "r+") as file:
        pickled = np.bytes_(pickle.dumps([Trap(tmp_path / "sprung")], 0))
        group = file["df_with_missing"]
        for item in (group, group["table"]):
            for name in ("info", "non_index_axes", "values_block_0_kind", "values_cols"):
                if name in item.attrs:
                    item.attrs[name] = pickled
    with pytest.raises(InputError, match=r"is damaged or not stored as DeepLabCut does .*let DeepLabCut save CSV"):
        formats.read(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["link", "external", "virtual", "huge"])
def test_a_file_cannot_name_others_nor_claim_gigabytes(kind: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, other = tmp_path / "in.h5", SAMPLES / "deeplabcut-h5" / "machinelabels.h5"
    shutil.copy(other, path)
    with h5py.File(path, "r+") as file:
        group = file["df_with_missing"]
        attributes, shape = {"transposed": 1}, group["block0_values"].shape
        del group["block0_values"]
        if kind == "link":
            group["block0_values"] = h5py.ExternalLink(str(other), "/df_with_missing/block0_values")
        elif kind == "external":
            group.create_dataset("block0_values", shape, "f8", external=[(str(other), 0, 8 * shape[0] * shape[1])])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f8")
            layout[:] = h5py.VirtualSource(str(other), "df_with_missing/block0_values", shape)
            group.create_virtual_dataset("block0_values", layout)
        else:
            group.create_dataset("block0_values", (10**9, shape[1]), "f8", chunks=(100, shape[1]))
        if kind != "link":
            group["block0_values"].attrs.update(attributes)
    with pytest.raises(InputError, match=r"link to elsewhere|in another file|of 108,000,000,000 numbers"):
        formats.read(path)


def test_other_hdf5_is_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["a"] = [1, 2]
    (tmp_path / "other.h5").write_bytes(content.getvalue())
    with pytest.raises(InputError, match="holds no table of pandas, expected one called df_with_missing"):
        formats.read(tmp_path / "other.h5")
    (tmp_path / "cut.h5").write_bytes(H5[0].read_bytes()[:3000])
    with pytest.raises(InputError, match="is damaged or not stored as DeepLabCut does"):
        formats.read(tmp_path / "cut.h5")
