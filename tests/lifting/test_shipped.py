"""The shipped lifting network lifts, and so does the command; no data set is needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from posefix.cli.lift import lift
from posefix.core import skeleton as skeletons
from posefix.lifting.body import LIMBS, limb_lengths, limbs_of, views
from posefix.lifting.lift import Lifter
from posefix.lifting.measures import p_mpjpe
from posefix.lifting.poses import Camera, Poses3D, read_poses3d
from posefix.lifting.training import Scene, draw_scene
from posefix.media.video import write_video
from posefix.motion.tracks import Track
from tests.motion_scenes import standing

COCO = skeletons.load("coco17")
FRAMES = 40


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(standing(), COCO, 24, FRAMES, np.random.default_rng(0))


@pytest.fixture(scope="module")
def lifted(scene: Scene) -> list[np.ndarray]:
    """(T, 17, 3) poses, along the line of sight, of exact tracks."""
    lifter = Lifter.from_pretrained()
    found = []
    for exact, focal, fps, root in zip(scene.exact, scene.focal, scene.fps, scene.root, strict=True):
        xyc = np.concatenate([150 * exact, np.ones((FRAMES, 17, 1))], axis=-1)
        track = Track(0, np.arange(FRAMES), np.arange(FRAMES) / fps, xyc, np.arange(FRAMES))
        poses = lifter.tracks([track], Camera(150 * float(focal), (0, 0))).tracks[0]
        np.testing.assert_allclose(np.linalg.norm(poses.root - root, axis=1) / root[:, 2], 0, atol=0.4)
        found.append(np.einsum("tij,tkj->tki", views(root), poses.keypoints))
    return found


def test_a_person_who_stands_is_lifted_well(scene: Scene, lifted: list[np.ndarray]) -> None:
    found = np.stack(lifted)
    flat = found * [1, 1, 0]
    mirrored = found * [1, 1, -1]
    error, without, wrong = (np.mean(p_mpjpe(poses, scene.keypoints)) for poses in (found, flat, mirrored))
    assert error < 60
    assert error < 0.6 * without
    assert error < 0.6 * wrong


def test_people_have_standard_size(lifted: list[np.ndarray]) -> None:
    lengths = limb_lengths(np.stack(lifted), limbs_of(COCO)).sum(-1)
    assert np.mean(lengths) == pytest.approx(LIMBS, rel=0.05)


def test_it_says_how_far_off_it_is(scene: Scene) -> None:
    lifter = Lifter.from_pretrained()
    exact = np.concatenate([150 * scene.exact[0], np.ones((FRAMES, 17, 1))], axis=-1)
    rng = np.random.default_rng(0)
    spoilt = exact + np.concatenate([rng.normal(0, 25, (FRAMES, 17, 2)), np.zeros((FRAMES, 17, 1))], axis=-1)
    spreads = []
    for xyc in (exact, spoilt):
        track = Track(0, np.arange(FRAMES), np.arange(FRAMES) / 30, xyc, np.arange(FRAMES))
        spreads.append(lifter.tracks([track], Camera(500, (0, 0))).tracks[0].spreads.mean())
    assert spreads[1] > 1.15 * spreads[0]


@pytest.fixture
def results(scene: Scene, tmp_path: Path) -> Path:
    """Two people in all frames, as COCO results without track ids."""
    records = []
    for frame in range(FRAMES):
        for person, x in enumerate((200.0, 600.0)):
            xy = 100 * (scene.exact[person, frame] - scene.exact[person].mean((0, 1))) + [x, 240]
            xyc = np.concatenate([xy, np.full((17, 1), 0.9)], axis=1)
            records.append({"image_id": frame, "category_id": 1, "keypoints": xyc.ravel().tolist(), "score": 0.9})
    path = tmp_path / "results.json"
    path.write_text(json.dumps(records))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(lift, [str(argument) for argument in arguments])


def test_tracks_are_linked_and_lifted(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "poses.json"
    result = run(results, "--out", out, "--size", 800, 480, "--fps", 25)
    assert result.exit_code == 0, result.output
    assert "80 poses of 2 tracks at 25 frames/s lifted" in result.output
    poses = read_poses3d(out)
    assert poses.fps == 25
    assert [len(track) for track in poses.tracks] == [FRAMES, FRAMES]
    left, right = (track.root[:, 0].mean() for track in poses.tracks)
    assert left < 0 < right  # of the middle of the image
    assert all(track.root[:, 2].min() > 0.5 for track in poses.tracks)


def test_each_pose_alone(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "poses.json"
    result = run(results, "--out", out, "--size", 800, 480, "--single")
    assert "80 poses of 80 people lifted" in result.output
    assert {len(track) for track in read_poses3d(out).tracks} == {1}


def test_pixels_come_back_through_the_camera(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "poses.json"
    run(results, "--out", out, "--size", 800, 480)
    poses: Poses3D = read_poses3d(out)
    first = json.loads(results.read_text())
    given = np.array([record["keypoints"] for record in first]).reshape(FRAMES, 2, 17, 3)[..., :2]
    for person, track in enumerate(poses.tracks):
        off = np.linalg.norm(track.camera.project(track.positions) - given[:, person], axis=-1)
        assert np.median(off) < 8  # px; the person is some 250 px tall


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "poses.xyz"], "use one of .json"),
        (["--out", "poses.json", "--single", "--video_path", "no.mp4"], "--single is for photographs"),
        (["--out", "poses.json", "--video_path", "no.mp4"], "no.mp4"),
        (["--out", "poses.json", "--checkpoint", "posefix-motion"], "not a checkpoint of the lifting network"),
        (["--out", "poses.json", "--images", "nowhere"], "nowhere: does not exist"),
    ],
)
def test_bad_input_gets_a_sentence(results: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    inside = [str(tmp_path / a) if a.startswith("poses.") else a for a in arguments]
    result = run(results, *inside)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "poses.json").exists()


def scaled(results: Path, x: float, y: float) -> Path:
    """Results with other coordinates."""
    records = json.loads(results.read_text())
    for record in records:
        record["keypoints"] = (np.array(record["keypoints"]).reshape(17, 3) * (x, y, 1)).ravel().tolist()
    results.write_text(json.dumps(records))
    return results


@pytest.mark.parametrize("how", ["--single", "--fps=25"])
def test_fractions_of_the_image_are_refused(results: Path, tmp_path: Path, how: str) -> None:
    result = run(scaled(results, 1 / 800, 1 / 480), "--out", tmp_path / "poses.json", "--size", 800, 480, how)
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {results}: all coordinates are between")
    assert not (tmp_path / "poses.json").exists()


@pytest.mark.parametrize("how", ["--single", "--fps=25"])
def test_poses_outside_the_frames_are_noticed(results: Path, tmp_path: Path, how: str) -> None:
    arguments = ["--out", tmp_path / "poses.json", "--size", 800, 480, how]
    assert not run(results, *arguments).stderr
    result = run(scaled(results, 3, 3), *arguments)
    assert result.exit_code == 0 and "80 people have a pose outside of the image or frame" in result.stderr


def test_a_given_rate_counts_in_place_of_the_time_stamps(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "film.mp4", 50, [np.zeros((480, 800, 3), np.uint8)] * FRAMES)
    for options, rate in (([], 50), (["--fps", 240], 240)):
        result = run(results, "--out", tmp_path / "poses.json", "--video_path", tmp_path / "film.mp4", *options)
        assert f"2 tracks at {rate} frames/s" in result.output, result.output
        poses = read_poses3d(tmp_path / "poses.json")
        np.testing.assert_allclose(poses.tracks[0].times, np.arange(FRAMES) / rate, atol=1e-4)
        assert poses.fps == pytest.approx(rate, rel=1e-3)


def test_photographs_that_are_lifted_as_a_video_are_noticed(results: Path, tmp_path: Path) -> None:
    records = json.loads(results.read_text())[::2]
    for i, record in enumerate(records):
        record["image_id"] = 1 + 100 * i**2
        record["keypoints"][0::3] = [x + 400 * i for x in record["keypoints"][0::3]]  # nobody is in two
    results.write_text(json.dumps(records))
    result = run(results, "--out", tmp_path / "poses.bvh")
    assert result.exit_code == 0 and len(list(tmp_path.glob("*.bvh"))) == FRAMES
    assert "are these photographs? --single" in result.stderr
    assert f"poses.bvh: a file for each of {FRAMES} tracks" in result.stderr
    result = run(results, "--out", tmp_path / "poses.json", "--single")
    assert "photographs" not in result.stderr and "a file for each" not in result.stderr


def test_an_empty_file_and_two_people_with_one_id_are_named(results: Path, tmp_path: Path) -> None:
    records = json.loads(results.read_text())
    for record in records:
        record["track_id"] = 5
    results.write_text(json.dumps(records))
    result = run(results, "--out", tmp_path / "poses.json")
    assert result.exit_code == 2
    assert "two people with the track id 5 in frame 0" in result.output
    results.write_text("[]")
    result = run(results, "--out", tmp_path / "poses.json")
    assert result.exit_code == 2
    assert "has no people to lift" in result.output


def test_who_is_left_out_is_counted_and_photographs_are_no_video(results: Path, tmp_path: Path) -> None:
    records = json.loads(results.read_text())
    for record in records[::2]:
        record["track_id"] = 1
    for record in records[1:6:2]:
        record["keypoints"] = [0] * 51
    results.write_text(json.dumps(records))
    result = run(results, "--out", tmp_path / "poses.json", "--size", 800, 480)
    assert "of 2 tracks at" in result.output and "3 people without" in result.output
    folder = tmp_path / "photos"
    folder.mkdir()
    for frame in range(FRAMES):
        Image.new("RGB", (800, 480 + frame % 2)).save(folder / f"{frame}.png")
    result = run(results, "--out", tmp_path / "poses.json", "--images", folder)
    assert result.exit_code == 2
    assert "different sizes, so they are of no video; add --single" in result.output
    assert run(results, "--out", tmp_path / "poses.json", "--images", folder, "--single").exit_code == 0
    result = run(results, "--out", tmp_path / "poses.json", "--images", folder, "--size", 800, 480, "--single")
    assert "--size is for where there is neither" in result.output
