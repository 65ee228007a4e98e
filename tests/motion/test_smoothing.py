"""Smoothing the results of a video: with any denoiser, into files of any format, by the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from posefix import formats
from posefix.cli import smooth as command
from posefix.cli.smooth import smooth
from posefix.core.people import People
from posefix.formats import FORMATS
from posefix.formats.coco import ImageRecord
from posefix.media.video import write_video
from posefix.motion.filters import METHODS
from posefix.motion.linking import link
from posefix.motion.smoothing import filter_by, smooth_people
from tests.motion_scenes import video, walk


@pytest.fixture
def people(rng: np.random.Generator) -> People:
    """Two people; of the first, frames 10 to 12 are missing."""
    both = video({1: walk((80, 200), (5, 0), 40), 2: walk((400, 200), (-2, 0), 40)}, rng)
    return both[(both.track_ids == 2) | ~np.isin(both.image_ids, [10, 11, 12])]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(smooth, [str(a) for a in arguments])


def roughness(keypoints: np.ndarray) -> float:
    return float(np.abs(np.diff(keypoints, 2, axis=0)).mean())


@pytest.mark.parametrize("sure", [0.125, 0.95])
def test_a_denoiser_moves_keypoints_and_filled_ones_have_half_the_confidence_or_less(
    people: People, sure: float
) -> None:
    def denoise(times: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert (np.diff(times) > 0).all() and len(keypoints) == len(times)
        return np.where(np.isnan(keypoints), 7.0, keypoints + 1), np.full(keypoints.shape[:2], sure)

    smoothed = smooth_people(people, denoise, fill=3)
    old = smoothed.people[np.array([record is not None for record in smoothed.people.extra])]
    np.testing.assert_allclose(old.keypoints, people.keypoints + 1)
    np.testing.assert_array_equal(old.scores, people.scores)
    new = smoothed.people[np.array([record is None for record in smoothed.people.extra])]
    assert new.image_ids.tolist() == [10, 11, 12] and (new.track_ids == 1).all() and smoothed.filled == 3
    around = people.scores[(people.track_ids == 1) & np.isin(people.image_ids, [9, 13])]
    assert (new.keypoints == 7).all()
    assert (new.scores <= np.minimum(sure, around.max(0) / 2) + 1e-6).all() and (new.scores > 0).all()
    assert smooth_people(people, denoise, fill=2).filled == 0


def test_filled_people_are_on_their_way_and_marked(people: People) -> None:
    filled = smooth_people(people, filter_by("butterworth", 6.0), fill=3).people
    new = filled[(filled.track_ids == 1) & np.isin(filled.image_ids, [10, 11, 12])]
    assert np.abs(new.keypoints - walk((80, 200), (5, 0), 40)[10:13]).max() < 20
    assert (new.person_scores < 0.5).all() and (np.diff(filled.image_ids) >= 0).all()


def test_the_command_offers_every_filter() -> None:
    assert ("network", *METHODS) == command.METHODS


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", 30, [np.zeros((480, 640, 3), np.uint8)] * 40)
    return tmp_path / "film.mp4"


@pytest.mark.parametrize("name", FORMATS)
def test_results_of_any_format_are_smoothed(name: str, people: People, film: Path, tmp_path: Path) -> None:
    known = {i: ImageRecord("", 640, 480) for i in range(40)}
    people.source = formats.Source(FORMATS["coco"], None, known, video="film")
    formats.write(people, tmp_path / "raw", name)
    result = run(tmp_path / "raw", "--out", tmp_path / "new", "--video_path", film, "--fill", 3, "--format", name)
    assert result.exit_code == 0, result.output
    index = formats.ImageIndex.of_video(film, (640, 480))
    old, new = (formats.read(tmp_path / file, name, images=index) for file in ("raw", "new"))
    takes_new = FORMATS[name].takes_new != "nowhere"
    assert len(new) == len(old) + 3 * takes_new, result.output
    assert f"3 missing people {'filled' if takes_new else 'not filled'} in" in result.output
    first, second = (link(some).track_ids for some in (old, new))
    assert len(np.unique(first)) == len(np.unique(second)) == 2
    rough = [roughness(some.keypoints[some.keypoints[:, 0, 0] > 330]) for some in (old, new)]
    assert rough[1] < 0.7 * rough[0]


def test_a_new_file_says_who_is_who_and_is_smooth_at_once(people: People, tmp_path: Path) -> None:
    people.track_ids[:] = -1
    formats.write(people, tmp_path / "raw.json")
    for old, new in (("raw", "once"), ("once", "twice")):
        result = run(tmp_path / f"{old}.json", "--out", tmp_path / f"{new}.json", "--fill", 3)
        assert result.exit_code == 0, result.output
    once, twice = (formats.read(tmp_path / f"{name}.json") for name in ("once", "twice"))
    assert set(once.track_ids.tolist()) == {1, 2} and "2 tracks of the file" in result.output
    assert np.abs(once.keypoints - twice.keypoints).mean() < 1 and len(once) == len(twice) == 80


def test_one_track_is_no_tracks(people: People, tmp_path: Path) -> None:
    alone = people[(people.track_ids == 1) & (people.image_ids < 12) & (people.image_ids != 5)]
    formats.write(alone, tmp_path / "raw.json")
    said = run(tmp_path / "raw.json", "--out", tmp_path / "new.json", "--fill", 3).output
    assert "9 people in 9 frames, 1 track of the file" in said and "1 missing person filled in" in said
    formats.write(alone[:1], tmp_path / "raw.json")
    said = run(tmp_path / "raw.json", "--out", tmp_path / "new.json").output
    assert "1 person in 1 frame, 1 track of the file" in said


def test_nobody_is_lost_where_0_says_that_there_is_no_track(people: People, tmp_path: Path) -> None:
    records = [
        {"image_id": f"{i}.jpg", "category_id": 1, "keypoints": xyc.ravel().tolist(), "score": 2, "idx": 0}
        for i, xyc in zip(people.image_ids.tolist(), np.dstack([people.keypoints, people.scores]), strict=True)
    ]
    (tmp_path / "raw.json").write_text(json.dumps(records))
    assert "2 tracks found by linking" in run(tmp_path / "raw.json", "--out", tmp_path / "once.json").output
    assert "2 tracks of the file" in run(tmp_path / "once.json", "--out", tmp_path / "twice.json").output


def test_frames_that_a_list_does_not_have_are_named_like_the_others(people: People, tmp_path: Path) -> None:
    alone = people[people.track_ids == 1]
    records = [
        {
            "image_id": f"frame_{i:04d}.jpg",
            "category_id": 1,
            "keypoints": np.dstack([k, s]).ravel().tolist(),
            "score": 2,
        }
        for i, k, s in zip(alone.image_ids.tolist(), alone.keypoints[:, None], alone.scores[:, None], strict=True)
    ]
    (tmp_path / "raw.json").write_text(json.dumps(records))
    assert run(tmp_path / "raw.json", "--out", tmp_path / "new.json", "--fill", 3).exit_code == 0
    names = [record["image_id"] for record in json.loads((tmp_path / "new.json").read_text())]
    assert names == [f"frame_{i:04d}.jpg" for i in range(40)]


@pytest.mark.parametrize("name", ["{}_left.jpg", "morning/{}.jpg"])
def test_names_that_do_not_count_the_frames_are_refused(name: str, people: People, tmp_path: Path) -> None:
    names = [name.format(i) for i in people.image_ids.tolist()]
    names[-1] = name.format(1).replace("morning", "evening")
    keypoints = np.dstack([people.keypoints, people.scores])
    records = [
        {"image_id": name, "keypoints": xyc.ravel().tolist()} for name, xyc in zip(names, keypoints, strict=True)
    ]
    (tmp_path / "raw.json").write_text(json.dumps([{**r, "category_id": 1, "score": 2} for r in records]))
    result = run(tmp_path / "raw.json", "--out", tmp_path / "new.json")
    assert result.exit_code == 2 and "do not all end in different numbers" in result.output, result.output


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"track_id": 5}, [], "two people with the track id 5 in frame 0"),
        ({"image_id": 90}, ["--video_path"], "frame 90 is not in the video, which has 40 frames"),
        ({}, ["--smooth", "kalman"], "'kalman' is not one of"),
        ({}, ["--smooth", "median", "--latency", "2"], "--latency is for --smooth network"),
        ({}, ["--cutoff", "4"], "--cutoff is for filters"),
        ({}, ["--fps", "0"], "0.0 is not in the range"),
        ({"keypoints": [1, 2]}, [], "keypoints"),
    ],
)
def test_bad_input_is_one_sentence(
    change: dict, options: list[str], message: str, people: People, film: Path, tmp_path: Path
) -> None:
    formats.write(people, tmp_path / "raw.json")
    records = json.loads((tmp_path / "raw.json").read_text())
    records[:2] = [{**record, **change} for record in records[:2]]
    (tmp_path / "raw.json").write_text(json.dumps(records))
    options = [*options, str(film)] if "--video_path" in options else options
    result = run(tmp_path / "raw.json", "--out", tmp_path / "new.json", *options)
    assert result.exit_code == 2 and message in result.output, result.output
    assert not (tmp_path / "new.json").exists() and not isinstance(result.exception, (KeyError, ValueError))


def test_a_given_rate_counts_in_place_of_the_time_stamps(people: People, film: Path, tmp_path: Path) -> None:
    formats.write(people, tmp_path / "raw.json")
    for options, rate in ((["--video_path", film], 30), (["--video_path", film, "--fps", 240], 240), ([], 30)):
        result = run(tmp_path / "raw.json", "--out", tmp_path / "new.json", "--smooth", "savgol", *options)
        assert f"smoothed by savgol at {rate} frames/s" in result.output, result.output


def test_fractions_need_a_size_which_can_be_given(people: People, film: Path, tmp_path: Path) -> None:
    known = {i: ImageRecord("", 640, 480) for i in range(40)}
    people.source = formats.Source(FORMATS["coco"], None, known, video="film")
    formats.write(people, tmp_path / "labels", "ultralytics-labels")
    result = run(tmp_path / "labels", "--out", tmp_path / "none")
    assert result.exit_code == 2 and "is not known; give --video_path, --images or --size" in result.output
    for name, options in (("sized", ["--size", 640, 480]), ("filmed", ["--video_path", film, "--fps", 30])):
        assert run(tmp_path / "labels", "--out", tmp_path / name, *options).exit_code == 0
    for file in (tmp_path / "sized").iterdir():
        assert file.read_text() == (tmp_path / "filmed" / file.name).read_text()


def test_photographs_are_noticed(people: People, tmp_path: Path) -> None:
    alone = replace(people[people.track_ids == 2], track_ids=np.full(40, -1), image_ids=1 + 100 * np.arange(40) ** 2)
    alone.keypoints[..., 0] += 400 * np.arange(40)[:, None]  # nobody is in two
    formats.write(alone, tmp_path / "photos.json")
    formats.write(people, tmp_path / "film.json")
    for name, noticed in (("photos", True), ("film", False)):
        result = run(tmp_path / f"{name}.json", "--out", tmp_path / "new.json", "--smooth", "median")
        assert ("these look like photographs" in result.stderr) == noticed


def test_nobody_is_filled_in_where_somebody_without_an_id_stands(people: People, tmp_path: Path) -> None:
    people.track_ids[people.image_ids % 2 == 0] = -1
    formats.write(people, tmp_path / "some.json", "coco")
    result = run(tmp_path / "some.json", "--out", tmp_path / "out.json", "--smooth", "median", "--fill", 3)
    assert "2 tracks of the file" in result.stdout and "3 missing people filled in" in result.stdout
    assert f"{(people.track_ids < 0).sum()} people without a track id linked" in result.stdout
    assert len(formats.read(tmp_path / "out.json")) == len(people) + 3
