"""A video that was written is read back: as many frames, in order, of the same size."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.media.video import VideoFrames, VideoImages
from posefix.report.overlay import POSE
from posefix.report.video import VideoWriter, write_comparison

SKELETON = load("coco17")


def shades(count: int = 20, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames that grow redder and less green."""
    return [np.full((height, width, 3), (12 * i, 250 - 12 * i, 90), np.uint8) for i in range(count)]


def test_frames_come_back_in_order(tmp_path) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 12.5, (64, 48)) as video:
        for frame in shades():
            video.write(frame)
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    frames = VideoFrames(path)
    assert (frames.fps, frames.frame_count, frames.size) == (12.5, 20, (64, 48))
    for _ in range(2):
        indices, decoded = zip(*frames, strict=True)
        assert indices == tuple(range(20))
        for frame, original in zip(decoded, shades(), strict=True):
            assert frame.shape == (48, 64, 3)
            assert frame.mean((0, 1)) == pytest.approx(original.mean((0, 1)), abs=10)


def test_odd_sizes_lose_nothing(tmp_path) -> None:
    with VideoWriter(tmp_path / "v.mp4", None, (65, 47)) as video:
        video.write(shades(1, 65, 47)[0])
    assert VideoFrames(tmp_path / "v.mp4").size == (66, 48)


def test_an_interrupted_video_leaves_nothing_and_keeps_the_old_one(tmp_path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25, (64, 48)) as video:
        video.write(shades(1)[0])
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert path.read_bytes() == b"old"


def test_a_video_that_vanished_is_not_called_written(tmp_path) -> None:
    video = VideoWriter(tmp_path / "v.mp4", 25, (64, 48))
    video.write(shades(1)[0])
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(InputError, match=r"v\.mp4: 1 frames could not be written"):
        video.close()
    assert not list(tmp_path.iterdir())


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
        with pytest.raises(InputError, match="5 frames could not be written"):
            write_comparison(path, frames, people, people)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert path.read_bytes() == b"old"


def test_frames_are_required_as_they_are_not_as_the_file_says(tmp_path) -> None:
    with VideoWriter(tmp_path / "v.mp4", 25, (64, 48)) as video:
        for frame in shades():
            video.write(frame)
    images = VideoImages(tmp_path / "v.mp4")
    assert images.frames.count() == 20
    for said in (20, 5, None):
        images.frames.frame_count = said
        images.require([0, 19])
        images.require([])
        with pytest.raises(InputError, match=r"1 of 2 image_ids are not among its 20 frames from 0 on, namely 20$"):
            images.require([19, 20])
        with pytest.raises(InputError, match=r"1 of 1 image_ids are not among its \d+ frames from 0 on, namely -1$"):
            images.require([-1])


def test_a_frame_of_another_size_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="64x48"), VideoWriter(tmp_path / "v.mp4", 25, (64, 48)) as video:
        video.write(np.zeros((47, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["nowhere/v.mp4", "v.txt", ""])
def test_where_no_video_can_be_written(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        VideoWriter(tmp_path / name, 25, (64, 48))
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_named(tmp_path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 500)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, said in (("junk.mp4", "decoded"), ("empty.mp4", "decoded"), ("none.mp4", "no such file"), ("", "folder")):
        with pytest.raises(InputError, match=said):
            VideoFrames(tmp_path / name)


def test_comparison_shows_the_people_of_each_frame(tmp_path) -> None:
    keypoints = (SKELETON.template * 60 + np.array([80.0, 100.0]))[None].repeat(2, 0)
    people = People(SKELETON, keypoints, np.ones((2, 17)), np.array([3, 1]))
    nobody = People.empty(SKELETON)
    frames = [(i, np.full((200, 160, 3), 60, np.uint8)) for i in range(5)]
    assert write_comparison(tmp_path / "v.mp4", frames, people, nobody, fps=10) == 5
    seen = []
    for _, frame in VideoFrames(tmp_path / "v.mp4"):
        mask = np.abs(frame.astype(int) - POSE.left).sum(-1) < 100
        half = frame.shape[1] // 2
        seen.append((mask[:, :half].sum() > 50, mask[:, half:].sum() > 50))
    assert seen == [(False, False), (True, False), (False, False), (True, False), (False, False)]
    assert write_comparison(tmp_path / "none.mp4", [], people, nobody) == 0
    assert not (tmp_path / "none.mp4").exists()
