"""The page about a video shows keypoints over time, what was missing and filled, and the frames that changed most."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix.core.people import People
from posefix.media.video import VideoFrames, write_video
from posefix.report.tracks import MAX_PICTURES, write_tracks
from tests.motion_scenes import video, walk

FRAMES = 60


@pytest.fixture
def film(tmp_path: Path) -> VideoFrames:
    pytest.importorskip("av")
    write_video(tmp_path / "film.mp4", 10, [np.full((240, 320, 3), 90, np.uint8)] * FRAMES)
    return VideoFrames(tmp_path / "film.mp4")


def page_of(film: VideoFrames, before: People, after: People) -> str:
    path = film.path.parent / "page.html"
    write_tracks(path, film, film.fps, before, after)
    return path.read_text(encoding="utf-8")


def paths(page: str, kind: str) -> list[str]:
    return re.findall(rf'class="{kind}\d?" d="([^"]*)"', page)


def test_lines_break_in_gaps_and_go_on_where_these_were_filled(film: VideoFrames, rng: np.random.Generator) -> None:
    people = video({7: walk((80, 120), (2, 0), FRAMES)}, rng)
    people.extra[20:23] = [None] * 3
    page = page_of(film, people, people)
    assert "Track 7: frames 0 to 59, 3 missing, 3 of them filled in" in page
    before, after = paths(page, "before"), paths(page, "after")
    assert len(before) == len(after) == 8
    assert all(path.count("M") == 2 for path in before) and all(path.count("M") == 1 for path in after)
    assert all(path.count("L") == FRAMES - 1 for path in after)
    assert {path.count("M") for path in paths(page, "gap")} == {3}
    missing = people[np.array([record is not None for record in people.extra])]
    page = page_of(film, missing, missing)
    assert "3 missing, 0 of them" in page and all(path.count("M") == 2 for path in paths(page, "after"))


def test_pictures_are_of_the_frames_that_changed_most(film: VideoFrames, rng: np.random.Generator) -> None:
    people = video({1: walk((80, 120), (2, 0), FRAMES)}, rng)
    keypoints = people.keypoints.copy()
    keypoints[[5, 6, 40]] += np.array([9, 30, 20])[:, None, None]
    page = page_of(film, people, people.with_keypoints(keypoints))
    assert re.findall(r"alt=\"before and after in frame (\d+)", page) == ["6", "40"]
    keypoints += rng.normal(0, 3, keypoints.shape)
    page = page_of(film, people, people.with_keypoints(keypoints))
    assert page.count("<img") == MAX_PICTURES and "<script" not in page
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]+)', page))


def test_results_of_nobody_or_with_contradicting_ids_have_a_page(film: VideoFrames, rng: np.random.Generator) -> None:
    people = video({1: walk((80, 120), (0, 0), 9), 2: walk((240, 120), (0, 0), 9)}, rng)
    assert "no people" in page_of(film, people[:0], people[:0])
    same = replace(people, track_ids=np.ones(len(people), np.int64))
    assert page_of(film, same, same).count("<section>") == 2


def test_people_of_a_single_frame_are_counted_but_not_plotted(film: VideoFrames, rng: np.random.Generator) -> None:
    people = video({1: walk((80, 120), (2, 0), FRAMES), 2: walk((80, 120), (2, 0), FRAMES)}, rng)
    people = people[(people.track_ids == 1) | (people.image_ids == 7)]
    page = page_of(film, people, people)
    assert "Track 1:" in page and "Track 2:" not in page and "The 1 longest of 2 tracks." in page
    page = page_of(film, people[:1], people[:1])
    assert "Nobody is in more than one frame." in page and "longest" not in page and "no people" not in page
