"""Files of poses in depth say what the poses say, in each format's own axes and units."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.skeleton import load
from posefix.lifting.files import EVERYBODY, ONE_PERSON, require_known_suffix, write
from posefix.lifting.poses import Poses3D, read_poses3d
from posefix.lifting.viewer import write_viewer
from tests.lifting_scenes import poses_of, walker


def read_trc(path: Path) -> tuple[list[list[str]], np.ndarray]:
    """Header and (R, 2 + 3 M) numbers, as Pose2Sim reads them: split at tabs, empty is NaN."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return lines[:5], np.array([[float(cell or "nan") for cell in line] for line in lines[5:]])


def test_trc_has_the_markers_of_pose2sim_in_metres_and_y_up(tmp_path: Path) -> None:
    track = walker(20)
    write(poses_of(track, fps=50.0), tmp_path / "walk.trc")
    header, numbers = read_trc(tmp_path / "walk.trc")
    assert header[0] == ["PathFileType", "4", "(X/Y/Z)", "walk.trc"]
    assert dict(zip(*header[1:3], strict=True)) == {
        **{"DataRate": "50", "CameraRate": "50", "OrigDataRate": "50", "Units": "m", "NumMarkers": "17"},
        **{"NumFrames": "20", "OrigNumFrames": "20", "OrigDataStartFrame": "3"},
    }
    names = header[3][2::3][:17]
    assert names[:7] == ["Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder"]
    assert names[11:] == ["LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle"]
    assert header[4][2:5] == ["X1", "Y1", "Z1"] and header[4][-2:] == ["Z17", ""]
    np.testing.assert_array_equal(numbers[:, 0], track.frames)
    np.testing.assert_allclose(numbers[:, 1], track.times, atol=1e-6)
    np.testing.assert_allclose(numbers[:, 2:].reshape(-1, 17, 3), track.positions * (1, -1, -1), atol=1e-5)
    nose, ankle = names.index("Nose"), names.index("LAnkle")
    assert (numbers[:, 3 + 3 * nose] > numbers[:, 3 + 3 * ankle] + 1).all()


def test_trc_is_readable_by_pose2sim_and_opensim_where_something_is_unknown(tmp_path: Path) -> None:
    """Rows have as many cells as OpenSim counts (an empty last one it does not), and no more, as Pose2Sim needs."""
    track = walker(6)
    track.keypoints[2, 3] = track.keypoints[4, 16] = np.nan
    track = replace(track, frames=np.array([0, 2, 4, 8, 10, 12]), times=np.arange(6) / 5)
    write(poses_of(track), tmp_path / "walk.trc")
    rows = [line.split("\t") for line in (tmp_path / "walk.trc").read_text().splitlines()[5:]]
    assert {len(row) for row in rows} == {2 + 3 * 17} and all(row[-1] for row in rows)
    assert [row[0] for row in rows] == ["0", "2", "4", "6", "8", "10", "12"]
    assert rows[2][2 + 9 : 2 + 12] == ["", "", ""]
    header, numbers = read_trc(tmp_path / "walk.trc")
    assert header[2][0] == "25" and header[2][2] == "7"
    missing = np.isnan(numbers[:, 2:]).reshape(7, 17, 3).all(-1)
    assert missing[3].all() and missing.sum() == 17 + 2


def test_c3d_has_the_markers_in_millimetres(tmp_path: Path) -> None:
    ezc3d = pytest.importorskip("ezc3d")
    track = walker(20)
    track.keypoints[2, 3] = np.nan
    write(poses_of(track, fps=50.0), tmp_path / "walk.c3d")
    content = ezc3d.c3d(str(tmp_path / "walk.c3d"))
    points = content["parameters"]["POINT"]
    assert points["RATE"]["value"][0] == 50 and points["UNITS"]["value"] == ["mm"]
    assert points["LABELS"]["value"][11:13] == ["LHip", "RHip"]
    found = np.moveaxis(content["data"]["points"][:3], 0, 2).swapaxes(0, 1)
    np.testing.assert_allclose(found, 1000 * track.positions * (1, -1, -1), atol=0.01)


def test_npz_has_the_arrays_of_the_tracks(tmp_path: Path) -> None:
    tracks = walker(5, track_id=4), replace(walker(3, track_id=9), times=np.arange(3) / 25)
    write(poses_of(*tracks), tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as file:
        assert file["tracks"].tolist() == [4] * 5 + [9] * 3 and file["frames"].dtype == np.int64
        for name in ("frames", "times", "keypoints", "root", "spreads"):
            np.testing.assert_array_equal(file[name], np.concatenate([getattr(track, name) for track in tracks]))
        assert file["centre"].shape == (8, 2) and file["keypoint_names"].tolist() == list(load("coco17").keypoint_names)


def test_csv_has_a_row_for_each_person_in_each_frame(tmp_path: Path) -> None:
    lost = walker(3, track_id=9)
    lost.keypoints[1, 13] = np.nan
    write(poses_of(walker(5, track_id=4), lost), tmp_path / "angles.csv")
    with open(tmp_path / "angles.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["track"], row["frame"]) for row in rows[3:6]] == [("4", "6"), ("4", "7"), ("9", "3")]
    assert float(rows[0]["left_knee_flexion"]) == pytest.approx(20, abs=20)
    assert [row["left_knee_flexion"] == "" for row in rows] == [False] * 6 + [True, False]
    assert rows[6]["right_knee_flexion"] and not any("ankle" in name for name in rows[0])


@pytest.mark.parametrize("suffix", ONE_PERSON)
def test_of_several_people_each_has_a_file(tmp_path: Path, suffix: str) -> None:
    if suffix == ".c3d":
        pytest.importorskip("ezc3d")
    paths = write(poses_of(walker(5, track_id=4), walker(3, track_id=9)), tmp_path / f"walk{suffix}")
    assert [path.name for path in paths] == [f"walk_4{suffix}", f"walk_9{suffix}"]
    assert sorted(tmp_path.iterdir()) == paths
    paths = write(poses_of(walker(5, track_id=-1), walker(3, track_id=-1)), tmp_path / f"other{suffix}")
    assert [path.name for path in paths] == [f"other_0{suffix}", f"other_1{suffix}"]
    assert write(poses_of(walker(1, track_id=4)), tmp_path / f"one{suffix}") == [tmp_path / f"one{suffix}"]


@pytest.mark.parametrize("suffix", [".bvh", ".trc"])
def test_images_of_no_video_get_no_row_for_every_frame(tmp_path: Path, suffix: str) -> None:
    track = replace(walker(3), frames=np.array([3, 4, 2**40]))
    with pytest.raises(InputError, match="track 7 has 3 frames from 3 to 1099511627776, too few"):
        write(poses_of(track), tmp_path / f"walk{suffix}")
    assert not list(tmp_path.iterdir())


def test_names_may_be_text(tmp_path: Path) -> None:
    poses = poses_of(walker(3))
    for name in ("walk.json", "walk.bvh", "walk.csv"):
        assert write(poses, str(tmp_path / name)) == [tmp_path / name]
    assert len(read_poses3d(str(tmp_path / "walk.json")).tracks) == 1
    write_viewer(poses, str(tmp_path / "walk.html"))
    assert "walk" in (tmp_path / "walk.html").read_text()


def test_unknown_names_and_nobody_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"walk.fbx: .*use one of .json, .npz, .csv, .bvh, .trc, .c3d"):
        require_known_suffix(Path("walk.fbx"))
    nobody = Poses3D(load("coco17"), 30.0, ())
    for suffix in {**EVERYBODY, **ONE_PERSON}:
        if suffix == ".json":
            write(nobody, tmp_path / "none.json")
            assert json.loads((tmp_path / "none.json").read_text())["tracks"] == []
        else:
            with pytest.raises(InputError, match="there are no people"):
                write(nobody, tmp_path / f"none{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none.json"]
