"""Refining and smoothing the results of a video that do not fit it: one clear sentence, or said and gone on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from posefix.cli.refine import refine
from posefix.cli.smooth import smooth
from posefix.core.people import People
from posefix.media.video import write_video
from posefix.models.checkpoint import save_checkpoint
from tests.motion_scenes import video, walk
from tests.tiny import people_records, tiny_checkpoint

av = pytest.importorskip("av")
FRAMES = 12


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """A film, a copy that is cut in the middle, and one whose times go back; results; a checkpoint."""
    paths = {name: tmp_path / name for name in ("film.mp4", "cut.mp4", "back.ts", "results.json", "tiny.safetensors")}
    write_video(paths["film.mp4"], 30, (rng.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(FRAMES)))
    content = paths["film.mp4"].read_bytes()
    paths["cut.mp4"].write_bytes(content[: len(content) // 2])
    with av.open(str(paths["film.mp4"])) as source, av.open(str(paths["back.ts"]), "w", format="mpegts") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    paths["back.ts"].write_bytes(2 * paths["back.ts"].read_bytes())
    save_checkpoint(paths["tiny.safetensors"], tiny_checkpoint())
    return paths


@pytest.fixture
def people(rng: np.random.Generator) -> People:
    return video({1: walk((50, 60), (1, 0), FRAMES, 60), 2: walk((110, 60), (-1, 0), FRAMES, 60)}, rng)


def run(command: str, world: dict[str, Path], film: str, people: People, *more: Any) -> tuple[Result, Path]:
    records = people_records(people)
    for record, track_id in zip(records, people.track_ids.tolist(), strict=True):
        record["track_id"] = track_id
    world["results.json"].write_text(json.dumps(records))
    out = world["film.mp4"].parent / f"{command}.json"
    options: list[Any] = [world["results.json"], "--smooth", "savgol"]
    if command == "refine":
        options = ["--detection_json", world["results.json"], "--checkpoint", world["tiny.safetensors"]]
        options += ["--device", "cpu", "--engine", "torch", "--test_batch", 4]
    options += ["--video_path", world[film], "--out", out, *more]
    return CliRunner().invoke({"refine": refine, "smooth": smooth}[command], [str(o) for o in options]), out


@pytest.mark.parametrize("command", ["refine", "smooth"])
@pytest.mark.parametrize("case", ["beyond", "far beyond", "cut", "back", "twice"])
def test_what_does_not_fit_is_one_sentence(
    case: str, command: str, world: dict[str, Path], people: People, tmp_path: Path
) -> None:
    film = {"cut": "cut.mp4", "back": "back.ts"}.get(case, "film.mp4")
    people.image_ids[-1] += {"beyond": 30, "far beyond": 10**12}.get(case, 0)
    people.track_ids[:2] = [1, 1] if case == "twice" else [1, 2]
    result, out = run(command, world, film, people)
    said = {"beyond": f"{FRAMES} frames from 0", "back": "times go back", "twice": "two people with the track id 1"}
    said |= {
        "far beyond": said["beyond"],
        "cut": "cut off, or damaged" if command == "refine" else "is not in the video",
    }
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ") and said[case] in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", ["refine", "smooth"])
@pytest.mark.parametrize("case", ["beyond", "far beyond", "cut"])
def test_what_is_beyond_the_end_can_be_skipped(
    case: str, command: str, world: dict[str, Path], people: People, tmp_path: Path
) -> None:
    people.image_ids[-1] += {"beyond": 30, "far beyond": 10**12}.get(case, 0)
    film, more = "cut.mp4" if case == "cut" else "film.mp4", ["--on_error", "skip"]
    result, out = run(command, world, film, people, *more, *(["--visualize", tmp_path] if command == "refine" else []))
    assert result.exit_code == 0, result.output
    assert "passed through unchanged" in result.stderr or "are assumed to continue" in result.stderr
    moved = [
        a["keypoints"] != b["keypoints"]
        for a, b in zip(json.loads(out.read_text()), people_records(people), strict=True)
    ]
    assert moved[0] and moved[1]
    if command == "refine":
        assert not moved[-1]


@pytest.mark.parametrize("command", ["refine", "smooth"])
def test_frames_that_count_from_one_are_recognised(command: str, world: dict[str, Path], people: People) -> None:
    people.image_ids += 1
    result, out = run(command, world, "film.mp4", people)
    assert result.exit_code == 2 and "subtract 1 from the numbers in the results" in result.stderr, result.output
    assert not out.exists()


def test_results_in_pixels_of_another_video_are_noticed(world: dict[str, Path], people: People) -> None:
    places = people.keypoints
    for keypoints, noticed in ((places, False), (3 * places, True), (places - [2000, 0], True)):
        result, out = run("refine", world, "film.mp4", people.with_keypoints(keypoints))
        assert result.exit_code == 0, result.output
        assert ("a pose outside of the image or frame" in result.stdout) == noticed
        out.unlink()


@pytest.mark.parametrize("command", ["refine", "smooth"])
def test_a_given_rate_needs_no_times(command: str, world: dict[str, Path], people: People, tmp_path: Path) -> None:
    more = ["--visualize", tmp_path] if command == "refine" else []
    result, out = run(command, world, "back.ts", people, "--fps", 240, *more)
    assert result.exit_code == 0 and out.exists(), result.output


@pytest.mark.parametrize("command", ["refine", "smooth"])
def test_fractions_of_the_frames_are_refused(command: str, world: dict[str, Path], people: People) -> None:
    result, out = run(command, world, "film.mp4", people.with_keypoints(people.keypoints / 160))
    assert result.exit_code == 2 and not out.exists()
    assert f"Error: {world['results.json']}: all coordinates are between" in result.stderr


def test_each_frame_by_itself_needs_neither_ids_nor_times(
    world: dict[str, Path], people: People, tmp_path: Path
) -> None:
    people.track_ids[:] = 1
    result, out = run("refine", world, "back.ts", people, "--temporal", "off", "--visualize", tmp_path)
    assert result.exit_code == 0 and out.exists(), result.output
    assert "back_tracks.html: 2 tracks" in result.output
