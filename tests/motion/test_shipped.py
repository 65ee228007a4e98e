"""The shipped sequence denoiser denoises, on movement that it was not trained on."""

import numpy as np
import pytest

from posefix.core.skeleton import load
from posefix.media.video import VideoFrames
from posefix.motion.denoise import TrackDenoiser, denoise, denoise_live
from posefix.motion.filters import smooth
from posefix.motion.online import OnlineDenoiser
from tests.motion_scenes import walk

FRAMES = 90
TIMES = np.arange(FRAMES) / 30


@pytest.fixture(scope="module")
def shipped() -> TrackDenoiser:
    return TrackDenoiser.from_pretrained()


@pytest.fixture
def truth() -> np.ndarray:
    return walk((100, 300), (3, 0), FRAMES, height=200)


def estimated(truth: np.ndarray, rng: np.random.Generator, noise: float = 3.0) -> np.ndarray:
    """An estimator's track: noise in every frame, and the legs exchanged in five frames."""
    found = truth + rng.normal(0, noise, truth.shape)
    found[40:45, 11:17] = found[40:45, [12, 11, 14, 13, 16, 15]]
    return np.concatenate([found, np.full((*truth.shape[:2], 1), 0.7)], axis=-1)


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean distance, and mean distance of second differences, px."""
    off = found[..., :2] - truth
    return tuple(float(np.linalg.norm(d, axis=-1).mean()) for d in (off, np.diff(off, 2, axis=0)))  # type: ignore[return-value]


def test_it_is_better_than_a_filter(shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator) -> None:
    track = estimated(truth, rng)
    place, acceleration = errors(shipped(TIMES, track)[0], truth)
    filtered = errors(smooth(TIMES, track, "butterworth"), truth)
    assert place < 0.8 * errors(track, truth)[0] and place < filtered[0]
    assert acceleration < 0.7 * filtered[1]


def test_it_is_surer_of_steady_tracks(shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator) -> None:
    steady, shaky = (shipped(TIMES, estimated(truth, rng, noise))[1].mean() for noise in (1.0, 15.0))
    assert steady > shaky + 0.1


def test_place_and_size_do_not_matter(shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator) -> None:
    track = estimated(truth, rng)
    moved = track * [3.0, 3.0, 1.0] + [1000.0, -50.0, 0.0]
    one, other = shipped(TIMES, track)[0][..., :2], shipped(TIMES, moved)[0][..., :2]
    np.testing.assert_allclose(other, 3 * one + [1000, -50], atol=0.1)


def test_a_mirrored_track_is_denoised_alike(
    shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator
) -> None:
    flip = shipped.skeleton.flip
    track = estimated(truth, rng)
    mirrored = (track * [-1.0, 1.0, 1.0])[:, flip]
    one, other = (
        errors(shipped(TIMES, track)[0], truth),
        errors(shipped(TIMES, mirrored)[0] * [-1, 1, 1], truth[:, flip]),
    )
    np.testing.assert_allclose(one, other, rtol=0.35)


def test_live_a_sudden_movement_is_followed_as_far_as_the_estimator_is_sure(
    shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator
) -> None:
    moved = {}
    for score in (1.0, 0.02):
        track = estimated(truth, rng, noise=0.5)[:40]
        track[-1, 9, 0] += 200
        track[-1, 9, 2] = score
        at_once, later = (denoise_live(shipped.network, track, 30.0, latency)[..., :2] for latency in (0, 1))
        moved[score] = (at_once[-1, 9] - truth[39, 9])[0]
        steady = np.delete(np.arange(17), 9)
        assert np.linalg.norm(at_once[-1] - truth[39], axis=-1)[steady].mean() < 3
        assert np.linalg.norm(later[20:38] - truth[20:38], axis=-1).mean() < 3
    assert moved[1.0] > 80 and abs(moved[0.02]) < 40


def test_live_a_pause_passes_as_it_does_frame_by_frame(shipped: TrackDenoiser, rng: np.random.Generator) -> None:
    before, pause = 20, 100
    track = estimated(walk((100, 300), (3, 0), 2 * before, height=200), rng)
    track[before:, :, 0] += 300
    frames = np.arange(2 * before) + pause * (np.arange(2 * before) >= before)
    online = OnlineDenoiser(shipped.network, 30.0)
    seen = {frame: online(np.array([1]), track[row, None])[0][0] for row, frame in enumerate(frames[:before].tolist())}
    for _ in range(pause):
        online(np.zeros(0, int), np.zeros((0, 17, 3)))
    seen |= {
        f: online(np.array([1]), track[before + row, None])[0][0] for row, f in enumerate(frames[before:].tolist())
    }
    whole = TrackDenoiser(shipped.network, shipped.skeleton, latency=0)(frames / 30, track)[0]
    np.testing.assert_allclose(whole[..., :2], np.stack(list(seen.values()))[..., :2], atol=0.01)


def test_live_no_later_frame_is_seen_whether_the_network_knows_the_keypoint_or_not(
    shipped: TrackDenoiser, rng: np.random.Generator
) -> None:
    halpe = load("halpe26")
    places = rng.uniform(50, 200, (1, 26, 2)) + rng.normal(0, 3, (40, 26, 2)).cumsum(0)
    track = np.dstack([places, np.full(places.shape[:2], 0.9)])
    changed = track.copy()
    changed[30:, :, :2] = 3 * changed[30:, :, :2] + 60
    for latency in (0, 3):
        denoiser = TrackDenoiser(shipped.network, halpe, latency)
        one, other = (denoiser(np.arange(40) / 30, t)[0][..., :2] for t in (track, changed))
        np.testing.assert_allclose(one[: 30 - latency], other[: 30 - latency], atol=1e-6)
        assert (np.abs(one - other)[30:].max((0, 2)) > 1).all()


def test_long_tracks_have_no_seams(shipped: TrackDenoiser, rng: np.random.Generator) -> None:
    truth = walk((100, 300), (3, 0), 400, height=200)
    found = denoise(shipped.network, estimated(truth, rng), 30.0)[..., :2]
    jumps = np.abs(np.diff(found, 2, axis=0)).max((1, 2))
    assert jumps[[62, 63, 64, 94, 95, 96, 126, 127, 128]].max() < 2 * np.quantile(jumps, 0.9)


def test_pulldown_is_no_uneven_movement(tmp_path) -> None:
    av = pytest.importorskip("av")
    from fractions import Fraction

    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", 30)
        stream.width, stream.height, stream.codec_context.time_base = 64, 48, Fraction(1, 30)
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + i // 4, Fraction(1, 30)  # 24 frames a second in 30
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times = VideoFrames(tmp_path / "film.mp4").times
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0])
    assert 1 / np.diff(times)[0] == pytest.approx(24, abs=0.5)


def test_a_lone_keypoint_that_the_network_does_not_know_has_the_cuts_of_the_pose(
    truth: np.ndarray, rng: np.random.Generator
) -> None:
    denoiser = TrackDenoiser.from_pretrained(skeleton=load("openpose18"))  # of these, all but the neck are known
    neck = truth[:, [5, 6]].mean(1)
    whole = np.concatenate([truth, neck[:, None]], axis=1)[
        :, [0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    ]
    track = estimated(whole, rng)
    track[40:45, :, :2] = whole[40:45]
    track[60:63] = (np.nan, np.nan, 0)
    found = denoiser(TIMES, track)[0][:, 1, :2]
    assert np.isfinite(found).all()
    noise, left = (np.nanmean(np.linalg.norm(poses - neck, axis=-1)) for poses in (track[:, 1, :2], found))
    assert left < 0.8 * noise


def test_scores_beyond_one_say_no_more_than_one(
    shipped: TrackDenoiser, truth: np.ndarray, rng: np.random.Generator
) -> None:
    track = estimated(truth, rng)
    one, two = (shipped(TIMES, np.dstack([track[..., :2], np.full(track.shape[:2], s)]))[0] for s in (1.0, 2.0))
    np.testing.assert_allclose(one[..., :2], two[..., :2])
