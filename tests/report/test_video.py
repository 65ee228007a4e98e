"""The video with both poses shows the people of each frame where they are."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.media.video import VideoFrames
from posefix.report.drawing import POSE
from posefix.report.pictures import write_comparison

SKELETON = load("coco17")


def test_a_video_cut_off_by_a_full_disk_leaves_nothing_and_keeps_the_old_one(tmp_path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    rng = np.random.default_rng(0)
    people = People.empty(SKELETON)
    frames = [(i, rng.integers(0, 256, (200, 160, 3), np.uint8)) for i in range(5)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(InputError, match="cannot be written"):
            write_comparison(path, frames, people, people)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert path.read_bytes() == b"old"


def test_comparison_shows_the_people_of_each_frame(tmp_path) -> None:
    keypoints = (SKELETON.template * 60 + np.array([80.0, 100.0]))[None].repeat(2, 0)
    people = People(SKELETON, keypoints, np.ones((2, 17)), np.array([3, 1]))
    nobody = People.empty(SKELETON)
    frames = [(i, np.full((200, 160, 3), 60, np.uint8)) for i in range(5)]
    assert write_comparison(tmp_path / "v.mp4", frames, people, nobody, fps=10) == 5
    seen = []
    for _, frame in VideoFrames(tmp_path / "v.mp4"):
        mask = np.abs(frame[34:-68].astype(int) - POSE.left).sum(-1) < 100
        half = frame.shape[1] // 2
        seen.append((mask[:, :half].sum() > 50, mask[:, half:].sum() > 50))
    assert seen == [(False, False), (True, False), (False, False), (True, False), (False, False)]
    assert write_comparison(tmp_path / "none.mp4", [], people, nobody) == 0
    assert not (tmp_path / "none.mp4").exists()


def test_a_wide_shot_is_cut_around_the_people_of_all_frames(tmp_path) -> None:
    """A person of 60 px, who walks by 40 px in frames of 1200, stands more than half as tall as the picture."""
    centres = np.array([[600.0, 500.0], [640.0, 500.0]])
    people = People(SKELETON, SKELETON.template * 60 + centres[:, None], np.ones((2, 17)), np.array([0, 1]))
    frames = [(i, np.full((1000, 1200, 3), 60, np.uint8)) for i in range(2)]
    write_comparison(tmp_path / "v.mp4", frames, people, people, fps=10)
    places = []
    for _, frame in VideoFrames(tmp_path / "v.mp4"):
        left = frame[34:514, : frame.shape[1] // 2].astype(int)
        rows, columns = np.nonzero(np.abs(left - POSE.left).sum(-1) < 100)
        places.append(columns.mean())
        assert np.ptp(rows) > 240
    assert places[1] > places[0] + 40
