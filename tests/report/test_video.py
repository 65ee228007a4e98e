"""The video with both poses shows the people of each frame where they are."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.media.video import VideoFrames
from posefix.report.drawing import POSE, following_views
from posefix.report.pictures import write_comparison

SKELETON = load("coco17")
FRAME = np.zeros((480, 640, 3), np.uint8)


def walkers(start: np.ndarray, velocity: np.ndarray, frames: np.ndarray, size: float) -> People:
    """People (N, 2) px who move at (N, 2) px a frame, in frames (F,)."""
    centres = start + frames[:, None, None] * velocity
    keypoints = centres[..., None, :] + size * SKELETON.template
    return People(
        SKELETON,
        keypoints.reshape(-1, 17, 2),
        np.ones((keypoints[..., 0].size // 17, 17)),
        np.repeat(frames, len(start)),
    )


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


def test_upright_videos_are_shown_as_wide_as_others_are_high(tmp_path: Path) -> None:
    frames = [(0, np.zeros((1920, 1280, 3), np.uint8))]
    write_comparison(tmp_path / "v.mp4", frames, People.empty(SKELETON), People.empty(SKELETON))
    assert VideoFrames(tmp_path / "v.mp4").size == (2 * 480 + 6, 720 + 3 * 34)


def test_small_people_are_enlarged(tmp_path) -> None:
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


@given(st.integers(0, 2**32 - 1), st.integers(1, 2), st.integers(0, 12), st.floats(10, 70))
def test_the_view_follows_people_smoothly(seed: int, count: int, reach: int, size: float) -> None:
    """Of one size and in the frame always; everybody who is in the frame is in the view."""
    rng = np.random.default_rng(seed)
    frames = np.flatnonzero(rng.random(60) < 0.7)
    middle, velocity = rng.uniform(0.2, 0.8, 2) * (640, 480), rng.uniform(-6, 6, 2)
    start = middle - 30 * velocity + rng.uniform(-0.1, 0.1, (count, 2)) * 480
    people = walkers(start, velocity + rng.uniform(-0.5, 0.5, (count, 2)), frames, size)
    shaken = people.with_keypoints(people.keypoints + rng.normal(0, 3, people.keypoints.shape))
    views = following_views(FRAME, people, shaken, reach=reach)
    if views is None:
        assert reach + size > 30
        return
    assert len(views) == people.image_ids.max() + 1 and np.ptp(views[:, 2:], axis=0).max() == 0
    assert (views[:, :2] >= 0).all() and (views[:, :2] + views[:, 2:] <= (639.01, 479.01)).all()
    low, high = (np.clip(k, 0, (639, 479)) for k in (people.keypoints.min(1), people.keypoints.max(1)))
    here = views[people.image_ids]
    assert (low >= here[:, :2] - 0.01).all() and (high <= here[:, :2] + here[:, 2:] + 0.01).all()
    assert (np.abs(np.diff(views[:, :2], axis=0)) <= np.array([640, 480]) / (reach + 1) + 0.01).all()


def test_a_person_who_shakes_does_not_shake_the_view() -> None:
    rng = np.random.default_rng(0)
    still = walkers(np.array([[300.0, 200.0]]), np.zeros((1, 2)), np.arange(90), 100)
    shaken = still.with_keypoints(still.keypoints + rng.normal(0, 8, (90, 1, 2)))
    views = following_views(FRAME, shaken, reach=15)
    assert np.abs(np.diff(views[:, :2], axis=0)).max() < 1.5 < np.abs(np.diff(shaken.keypoints[:, 0], axis=0)).max()


def test_of_people_who_fill_the_frame_all_is_shown() -> None:
    tall, far = walkers(np.array([[300.0, 240.0]]), np.zeros((1, 2)), np.arange(9), 330), np.array([[60.0, 240.0]])
    apart = walkers(np.concatenate([far, 600 - far]), np.zeros((2, 2)), np.arange(9), 50)
    thin = walkers(far, np.zeros((1, 2)), np.arange(9), 120), np.zeros((480, 160, 3), np.uint8)
    assert following_views(FRAME, tall, reach=3) is None
    assert following_views(FRAME, apart, reach=3) is None
    assert following_views(thin[1], thin[0], reach=3) is None
    assert following_views(FRAME, thin[0], reach=3) is not None
    assert following_views(FRAME, People.empty(SKELETON), reach=3) is None


def test_a_browser_plays_the_video(tmp_path: Path, browser: Any) -> None:
    people = walkers(np.array([[300.0, 200.0]]), np.array([[2.0, 0.0]]), np.arange(10), 60)
    count = write_comparison(tmp_path / "v.mp4", ((i, FRAME) for i in range(10)), people, people, fps=20)
    content = base64.b64encode((tmp_path / "v.mp4").read_bytes()).decode()
    tab = browser.new_page()
    tab.set_content(f'<video muted src="data:video/mp4;base64,{content}"></video>')
    seen = tab.evaluate("""async () => {
        const video = document.querySelector("video");
        const ended = new Promise((resolve) => video.addEventListener("ended", resolve));
        await video.play();
        await ended;
        return {duration: video.duration, time: video.currentTime, height: video.videoHeight,
                frames: video.getVideoPlaybackQuality().totalVideoFrames, error: video.error};
    }""")
    tab.close()
    assert seen["error"] is None and seen["frames"] > 0
    assert seen["duration"] == pytest.approx(count / 20, abs=0.06) and seen["time"] == pytest.approx(seen["duration"])
    assert seen["height"] == next(iter(VideoFrames(tmp_path / "v.mp4")))[1].shape[0]
