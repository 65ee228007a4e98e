"""A video that was written is read back: as many frames, in order, of the same size."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.media.crops import stream_crops
from posefix.media.video import VideoFrames, write_video
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from tests.tiny import random_people, tiny_checkpoint


def shades(count: int = 20, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames that grow redder and less green."""
    return [np.full((height, width, 3), (12 * i, 250 - 12 * i, 90), np.uint8) for i in range(count)]


def test_frames_come_back_in_order(tmp_path) -> None:
    path = tmp_path / "v.mp4"

    def frames_before_the_file() -> Iterator[np.ndarray]:
        yield from shades()
        assert not path.exists()

    assert write_video(path, 12.5, frames_before_the_file()) == 20
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
    write_video(tmp_path / "v.mp4", None, shades(1, 65, 47))
    assert VideoFrames(tmp_path / "v.mp4").size == (66, 48)


def test_an_interrupted_video_leaves_nothing_and_keeps_the_old_one(tmp_path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")

    def interrupted() -> Iterator[np.ndarray]:
        yield shades(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, 25, interrupted())
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert path.read_bytes() == b"old"


def test_a_video_that_vanished_is_not_called_written(tmp_path) -> None:
    def vanishing() -> Iterator[np.ndarray]:
        yield from shades(20) * 10
        shutil.rmtree(next(tmp_path.iterdir()))

    with pytest.raises(InputError, match=r"v\.mp4: cannot be written"):
        write_video(tmp_path / "v.mp4", 25, vanishing())
    assert not list(tmp_path.iterdir())


def test_frames_are_required_as_they_are_not_as_the_file_says(tmp_path) -> None:
    write_video(tmp_path / "v.mp4", 25, shades())
    images = VideoFrames(tmp_path / "v.mp4")
    assert sum(1 for _ in images) == 20
    for said in (20, 5, None):
        images.frame_count = said
        images.require([0, 19])
        images.require([])
        with pytest.raises(InputError, match=r"1 of 2 image_ids are not among its 20 frames from 0 on, namely 20$"):
            images.require([19, 20])
        with pytest.raises(InputError, match=r"1 of 1 image_ids are not among its \d+ frames from 0 on, namely -1$"):
            images.require([-1])


def test_a_frame_of_another_size_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="64x48"):
        write_video(tmp_path / "v.mp4", 25, [*shades(1), np.zeros((47, 64, 3), np.uint8)])


@pytest.mark.parametrize("name", ["nowhere/v.mp4", "v.txt", ""])
def test_where_no_video_can_be_written(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        write_video(tmp_path / name, 25, shades(1))
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_named(tmp_path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 500)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, said in (("junk.mp4", "decoded"), ("empty.mp4", "decoded"), ("none.mp4", "no such file"), ("", "folder")):
        with pytest.raises(InputError, match=said):
            VideoFrames(tmp_path / name)


def test_browsers_play_what_is_written(tmp_path: Path) -> None:
    """H.264 or AV1 in an MP4 whose index comes before the pictures, so that it plays while it is fetched."""
    av = pytest.importorskip("av")
    path = tmp_path / "v.mp4"
    write_video(path, 30, shades())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in ("h264", "libdav1d", "av1") and stream.codec_context.pix_fmt == "yuv420p"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def rotated(path: Path, quarters: int) -> None:
    """Ask in an MP4's track header for quarter turns clockwise, as phones do."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 0x4000], np.float64) * 65536
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_videos_of_phones_stand_upright(tmp_path: Path, quarters: int) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), (96, 64), interpolation=cv2.INTER_LINEAR)
    write_video(tmp_path / "v.mp4", 10, [picture])
    rotated(tmp_path / "v.mp4", quarters)
    frames = VideoFrames(tmp_path / "v.mp4")
    upright = np.rot90(picture, -quarters)
    assert frames.size == upright.shape[1::-1]
    _, decoded = next(iter(frames))
    assert np.abs(decoded.astype(int) - upright).mean() < 12


def test_two_threads_share_a_video(tmp_path: Path) -> None:
    """Every thread gets the frame that it asks for, whoever is first."""
    write_video(tmp_path / "v.mp4", 25, shades())
    images = VideoFrames(tmp_path / "v.mp4")
    wrong: list[object] = []

    def ask(indices: list[int]) -> None:
        try:
            wrong.extend(i for i in indices if abs(images[i].mean((0, 1))[0] - 12 * i) > 10)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(list(range(first, 20, 2)) * 3,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_crops_of_a_video_are_read_in_one_go_whatever_the_workers(tmp_path: Path) -> None:
    """No frame is decoded twice, which two threads asking out of turn would need."""

    class Counting(VideoFrames):
        starts = 0

        def __iter__(self):
            Counting.starts += 1
            return super().__iter__()

    write_video(tmp_path / "v.mp4", 25, shades())
    images = Counting(tmp_path / "v.mp4")
    ids = np.repeat(np.arange(20), 2)
    maps = np.tile([[1.0, 0, 0], [0, 1, 0]], (40, 1, 1))
    crops = list(stream_crops(ids, maps, (48, 64), images, workers=4, ahead=12, skip=False))
    assert Counting.starts == 1
    np.testing.assert_allclose([crop[..., 0].mean() for crop in crops], 12 * ids, atol=10)


def test_people_of_a_video_are_refined_by_two_workers_as_by_one(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 25, shades(4, 120, 120))
    people = random_people(np.random.default_rng(0), 12, images=3)
    refiner = Refiner(tiny_checkpoint())
    one, two = (
        refiner.refine(people, VideoFrames(tmp_path / "v.mp4"), RefineSettings(batch_size=2, workers=workers))
        for workers in (1, 2)
    )
    np.testing.assert_array_equal(one.keypoints, two.keypoints)


def test_frames_are_at_the_times_that_the_file_says(tmp_path) -> None:
    write_video(tmp_path / "even.mp4", 12.5, shades())
    np.testing.assert_allclose(VideoFrames(tmp_path / "even.mp4").times, np.arange(20) / 12.5, atol=1e-4)
    stamps = np.cumsum([0, 1, 1, 4, 2, 1])
    with av.open(str(tmp_path / "uneven.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.codec_context.time_base = 64, 48, Fraction(1, 25)
        for pixels, stamp in zip(shades(6), stamps.tolist(), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(VideoFrames(tmp_path / "uneven.mp4").times, stamps / 25, atol=1e-4)


def test_times_begin_with_0(tmp_path: Path) -> None:
    """Also where the straight line through uneven stamps begins before, and where the stamps begin later."""
    stamps = np.arange(20) + (np.arange(20) + 1) // 4  # 24 frames per second in 30
    for first in (0, 40):
        with av.open(str(tmp_path / "pulldown.ts"), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", 30)
            stream.width, stream.height, stream.codec_context.time_base = 64, 48, Fraction(1, 30)
            for pixels, stamp in zip(shades(), (first + stamps).tolist(), strict=True):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = stamp, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        times = VideoFrames(tmp_path / "pulldown.ts").times
        np.testing.assert_allclose(times, times[1] * np.arange(20), atol=1e-9)
        assert 1 / times[1] == pytest.approx(24, abs=0.5)


def test_times_that_go_back_are_said(tmp_path: Path) -> None:
    """Two transport streams, one behind the other: every frame is there, but nobody knows when."""
    with av.open(str(tmp_path / "twice.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", 25)
        stream.width, stream.height = 64, 48
        for pixels in shades(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "twice.ts").write_bytes(2 * (tmp_path / "twice.ts").read_bytes())
    frames = VideoFrames(tmp_path / "twice.ts")
    assert frames.length == sum(1 for _ in frames) == 12
    with pytest.raises(InputError, match=r"twice\.ts: times go back from .* s to .* s after frame 5"):
        _ = frames.times
