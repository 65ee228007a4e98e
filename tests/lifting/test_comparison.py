"""Files of 3D poses against a reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from posefix.cli.main import main
from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton, from_dict, load
from posefix.lifting.body import limb_lengths
from posefix.lifting.comparison import UNITS, compare
from posefix.lifting.measures import bones, length_variation, mpjpe
from posefix.lifting.poses import Camera, Poses3D, Track3D, write_poses3d

COCO = load("coco17")


def poses_of(keypoints: list[np.ndarray], skeleton: Skeleton = COCO, fps: float = 20.0) -> Poses3D:
    """Tracks 1, 2, ... with frames from 0 on."""
    tracks = tuple(
        Track3D(
            number,
            np.arange(len(points)),
            np.arange(len(points)) / fps,
            points,
            np.tile((0.0, 0.0, 4.0), (len(points), 1)),
            np.full(points.shape[:2], 0.05),
            Camera(1000.0, (320.0, 240.0)),
        )
        for number, points in enumerate(keypoints, 1)
    )
    return Poses3D(skeleton, fps, tracks)


@pytest.fixture
def walks(rng: np.random.Generator) -> list[np.ndarray]:
    """Two people who move, of 60 and 40 frames."""
    bodies, swings = rng.normal(0, 0.4, (2, 2, 17, 3))
    return [
        body + np.sin(np.arange(length) / 3)[:, None, None] * 0.2 * swing
        for body, swing, length in zip(bodies, swings, (60, 40), strict=True)
    ]


def changed(poses: Poses3D, change: Callable[[np.ndarray], np.ndarray]) -> Poses3D:
    return replace(poses, tracks=tuple(replace(t, keypoints=change(t.keypoints)) for t in poses.tracks))


def one(truth: Poses3D, found: Poses3D) -> dict:
    (only,) = compare(truth, [("f.json", found)], rng=np.random.default_rng(0))
    return only["measures"]


def test_measures_are_means_over_all_frames(walks, rng: np.random.Generator) -> None:
    truth = poses_of(walks)
    found = changed(truth, lambda points: points + rng.normal(0, 0.05, points.shape))
    measures = one(truth, found)
    assert set(measures) == set(UNITS)
    errors = [mpjpe(f.keypoints, t.keypoints) for f, t in zip(found.tracks, truth.tracks, strict=True)]
    assert measures["mpjpe"] == pytest.approx(np.concatenate(errors).mean())
    variations = [length_variation(limb_lengths(track.keypoints, bones(COCO))) for track in found.tracks]
    assert measures["length_variation"] == pytest.approx(np.mean(variations))
    assert measures["root_error"] == measures["missing"] == 0


def test_keypoints_go_by_name_and_tracks_by_id(walks) -> None:
    truth = poses_of(walks)
    order = np.random.default_rng(4).permutation(17)[:12]
    spec = COCO.to_dict()
    names = [COCO.keypoint_names[i] for i in order]
    spec |= {"name": "mine", "keypoints": [spec["keypoints"][i] for i in order], "pairs": [], "limbs": []}
    spec.pop("template")
    spec.pop("mappings", None)
    mine = from_dict(spec)
    assert list(mine.keypoint_names) == names
    found = replace(changed(truth, lambda points: points[:, order]), skeleton=mine)
    found = replace(found, tracks=found.tracks[::-1])
    measures = one(truth, found)
    assert measures["mpjpe"] == measures["missing"] == 0 and measures["pck"] == 100


def test_a_track_alone_needs_no_id_and_frames_go_by_number(walks) -> None:
    truth = poses_of(walks[:1])
    (track,) = truth.tracks
    half = Track3D(
        9, *(getattr(track, n)[10:40] for n in ("frames", "times", "keypoints", "root", "spreads")), track.camera
    )
    measures = one(truth, replace(truth, tracks=(half,)))
    assert measures["mpjpe"] == 0 and measures["missing"] == 50


def test_files_are_measured_where_all_have_something(walks, rng: np.random.Generator) -> None:
    """A file that leaves out what is hard is not the better for it."""
    truth = poses_of(walks[:1])
    noisy = changed(truth, lambda points: points + 0.1 * (np.arange(17) > 8)[:, None])
    easy = changed(noisy, lambda points: np.where((np.arange(17) > 8)[:, None], np.nan, points))
    full, part = compare(truth, [("a", noisy), ("b", easy)], rng=rng)
    assert full["measures"]["mpjpe"] == part["measures"]["mpjpe"] == 0 and part["difference"]["mpjpe_high"] == 0
    assert full["measures"]["missing"] == 0 and part["measures"]["missing"] == pytest.approx(100 * 8 / 17)


def test_roots_are_measured_where_all_files_have_one(walks, rng: np.random.Generator) -> None:
    truth = poses_of(walks[:1])
    (track,) = truth.tracks
    root = track.root + 0.1 * (np.arange(60) > 29)[:, None] * (1, 0, 0)
    full = replace(truth, tracks=(replace(track, root=root),))
    half = replace(truth, tracks=(replace(track, root=np.where(root[:, :1] > 0.05, np.nan, root)),))
    compared = compare(truth, [("full", full), ("half", half)], rng=rng)
    assert [one["measures"]["root_error"] for one in compared] == [0, 0]
    assert compared[1]["difference"]["root_error_high"] == 0


def photographs(poses: Poses3D, images: list[int]) -> Poses3D:
    """The first frames of the first track, each as a person without an id in an image of its own."""
    (track, *_) = poses.tracks
    arrays = ("times", "keypoints", "root", "spreads")
    rows = (({name: getattr(track, name)[i : i + 1] for name in arrays}, image) for i, image in enumerate(images))
    return replace(poses, tracks=tuple(replace(track, track_id=-1, frames=np.array([n]), **row) for row, n in rows))


def test_people_without_ids_in_photographs_go_by_image(walks, rng: np.random.Generator) -> None:
    truth = photographs(poses_of(walks), [285, 139, 632, 785])
    found = changed(truth, lambda points: points + np.array([0.01, 0, 0]))
    measures = one(truth, replace(found, tracks=found.tracks[2::-1]))
    assert measures["mpjpe"] == pytest.approx(10) and measures["missing"] == 25 and measures["mpjve"] is None
    several = photographs(poses_of(walks), [139, 285, 285])
    for reference, poses, name in ((truth, several, "f.json"), (several, truth, "the reference")):
        with pytest.raises(InputError, match=rf"{name}: image 285 has several people without track ids"):
            one(reference, poses)
    with pytest.raises(InputError, match=r"f.json: its images are 1, 2, those of the reference 285, 139, 632, 785"):
        one(truth, photographs(poses_of(walks), [1, 2]))


def test_differences_have_the_sign_of_the_change(walks, rng: np.random.Generator) -> None:
    truth = poses_of(walks)
    noise = [rng.normal(0, 0.1, points.shape) for points in walks]
    raw, better = (poses_of([w + s * n for w, n in zip(walks, noise, strict=True)]) for s in (1, 0.5))
    first, second = compare(truth, [("raw", raw), ("better", better)], rng=rng)
    difference = second["difference"]
    assert "difference" not in first
    for name in ("mpjpe", "p_mpjpe", "n_mpjpe", "pa_track", "mpjve", "length_variation"):
        assert difference[f"{name}_low"] < difference[name] < difference[f"{name}_high"] < 0, name
        assert difference[name] == pytest.approx(second["measures"][name] - first["measures"][name])
    assert difference["auc_low"] > 0 and difference["missing_low"] == difference["missing_high"] == 0
    back = compare(truth, [("better", better), ("raw", raw)], rng=rng)[1]["difference"]
    assert back["mpjpe"] == pytest.approx(-difference["mpjpe"])


def test_errors_that_last_make_wide_intervals(walks, rng: np.random.Generator) -> None:
    """Of as large errors, those that stay for long tell less: blocks must see that."""
    truth = poses_of([np.repeat(walks[0][:1], 400, axis=0)])

    def width(period: int) -> float:
        sizes = np.repeat(rng.uniform(0, 0.2, 400 // period), period)[:, None, None]
        found = changed(truth, lambda points: points + sizes * (1, 0, 0))
        difference = compare(truth, [("exact", truth), ("off", found)], rng=rng)[1]["difference"]
        return difference["mpjpe_high"] - difference["mpjpe_low"]

    assert width(10) > 2 * width(1)


def test_an_interval_covers_the_true_difference(walks) -> None:
    """Errors with a known mean, alike over 5 frames: nearly all 95 % intervals hold it."""
    rng, covered = np.random.default_rng(6), 0
    truth = poses_of([np.repeat(walks[0][:1], 300, axis=0)])
    for _ in range(20):
        sizes = np.convolve(rng.uniform(0, 0.2, 304), np.full(5, 0.2), "valid")[:, None, None]
        found = changed(truth, lambda points, sizes=sizes: points + sizes * (1, 0, 0))
        difference = compare(truth, [("exact", truth), ("off", found)], 300, rng=rng)[1]["difference"]
        covered += difference["mpjpe_low"] <= 100 <= difference["mpjpe_high"]
    assert covered >= 16  # at 90 %, what blocks reach with so few frames, fewer has a chance under 5 %


def test_what_does_not_belong_together_is_said(walks) -> None:
    truth = poses_of(walks)
    shifted = replace(truth, tracks=tuple(replace(t, track_id=t.track_id + 5) for t in truth.tracks))
    with pytest.raises(InputError, match=r"f.json: its tracks have the ids 6, 7, those of the reference 1, 2"):
        one(truth, shifted)
    twice = replace(truth, tracks=tuple(replace(t, track_id=1) for t in truth.tracks))
    with pytest.raises(InputError, match=r"f.json: several tracks have the same id"):
        one(truth, twice)
    late = replace(truth, tracks=tuple(replace(t, frames=t.frames + 500) for t in truth.tracks))
    with pytest.raises(InputError, match=r"f.json: has no keypoint in any frame of the reference"):
        one(truth, late)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate-3d", *map(str, arguments)])


def test_the_command_prints_a_table_and_json(walks, tmp_path: Path) -> None:
    truth = poses_of(walks)
    for name, poses in (("truth", truth), ("raw", changed(truth, lambda p: p + 0.01))):
        write_poses3d(poses, tmp_path / f"{name}.json")
    paths = (tmp_path / "raw.json", tmp_path / "truth.json")
    result = run(*paths)
    assert result.exit_code == 0 and "mpjpe, mm" in result.output and "17.32" in result.output
    assert json.loads(run(*paths, "--json").stdout)[0]["measures"]["mpjpe"] == pytest.approx(17.32, abs=0.1)
    compared = json.loads(run(paths[0], paths[1], paths[1], "--json").stdout)
    assert compared[1]["difference"]["mpjpe_high"] < 0
    assert "[-17" in run(paths[0], paths[1], paths[1]).output


def test_tables_fit_a_terminal_and_tell_files_of_the_same_name_apart(walks, tmp_path: Path) -> None:
    truth = poses_of(walks)
    paths = [tmp_path / folder / "a_rather_long_name_of_poses.json" for folder in ("raw", "each_frame", "over_time")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        write_poses3d(changed(truth, lambda p, off=number: p + 0.1 * off), path)
    write_poses3d(truth, tmp_path / "truth.json")
    compared = CliRunner().invoke(
        main, ["evaluate-3d", *map(str, paths), str(tmp_path / "truth.json")], env={"COLUMNS": "80"}
    )
    lines = compared.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("mpjpe, mm " in line for line in lines) == 9 and any(
        "173.21 " in line and "[+173.2" in line for line in lines
    )
    flat = "".join(compared.output.split())
    assert all(str(path) in flat for path in paths)


def test_the_command_ends_in_one_sentence(walks, tmp_path: Path) -> None:
    write_poses3d(poses_of(walks), truth := tmp_path / "truth.json")
    (broken := tmp_path / "broken.json").write_text("{")
    for found, says in ((broken, "not a JSON file of 3D poses"), (tmp_path / "none.json", "cannot be read")):
        result = run(found, truth)
        assert result.exit_code == 2 and says in result.output and "Traceback" not in result.output
        assert len(result.output.strip().splitlines()) == 1
    assert run(truth).exit_code == 2
