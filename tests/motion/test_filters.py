"""Filters take noise away and leave movement: properties of each."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.motion.denoise import on_even_grid
from posefix.motion.filters import METHODS, OneEuro, interpolated, missing_run, smooth
from tests.motion_scenes import walk

ZERO_PHASE = [method for method in METHODS if method != "oneeuro"]


def track(frames: int = 60, velocity: tuple[float, float] = (5, 0)) -> np.ndarray:
    """(T, 17, 3) of a walking person."""
    return np.concatenate([walk((80, 200), velocity, frames), np.full((frames, 17, 1), 0.8)], axis=-1)


def noisy(rng: np.random.Generator, scale: float = 3) -> np.ndarray:
    keypoints = track()
    keypoints[..., :2] += rng.normal(0, scale, keypoints[..., :2].shape)
    return keypoints


def times(count: int) -> np.ndarray:
    return np.arange(count) / 30


def roughness(keypoints: np.ndarray) -> float:
    return float(np.abs(np.diff(keypoints[..., :2], 2, axis=0)).mean())


@pytest.mark.parametrize("method", METHODS)
def test_noise_goes_and_movement_stays(method: str, rng: np.random.Generator) -> None:
    raw, real = noisy(rng), track()
    new = smooth(times(60), raw, method)
    assert roughness(new) < 0.7 * roughness(raw)
    assert np.abs(new - real).mean() < np.abs(raw - real).mean()
    np.testing.assert_array_equal(new[..., 2], raw[..., 2])


@pytest.mark.parametrize("method", ZERO_PHASE)
def test_steady_movement_stays_as_it_is_to_the_very_ends(method: str) -> None:
    keypoints = track()
    keypoints[..., :2] -= keypoints[..., :2] - keypoints[:1, :, :2] - np.arange(60)[:, None, None] * (5, -2)
    np.testing.assert_allclose(smooth(times(60), keypoints, method), keypoints, atol=1e-4)


@pytest.mark.parametrize("method", ZERO_PHASE)
def test_backwards_is_the_same_backwards(method: str, rng: np.random.Generator) -> None:
    raw = noisy(rng)
    np.testing.assert_allclose(smooth(times(60), raw[::-1], method)[::-1], smooth(times(60), raw, method), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_place_and_size_of_the_picture_do_not_matter(method: str, rng: np.random.Generator) -> None:
    raw = noisy(rng)
    other = raw * (3, 3, 1) + (1000, -50, 0)
    expected = smooth(times(60), raw, method) * (3, 3, 1) + (1000, -50, 0)
    np.testing.assert_allclose(smooth(times(60), other, method), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("confidence", [0.8, 0.1])
def test_one_wrong_frame_touches_no_other(method: str, confidence: float, rng: np.random.Generator) -> None:
    raw = noisy(rng, 1)
    wrong = raw.copy()
    wrong[30, 9] = (700, 20, confidence)
    clean, new = (smooth(times(60), keypoints, method)[..., :2] for keypoints in (raw, wrong))
    assert np.abs(new - clean).max() < 15


def test_a_doubtful_sample_says_less_than_its_neighbours() -> None:
    raw = track(velocity=(0, 0))
    raw[30:32, 5, 0] += 4  # no outlier
    sure = smooth(times(60), raw)[31, 5, 0]
    raw[30:32, 5, 2] = 0.2
    assert smooth(times(60), raw)[31, 5, 0] < sure - 1


@pytest.mark.parametrize("method", METHODS)
def test_nothing_crosses_a_cut(method: str, rng: np.random.Generator) -> None:
    first, second = noisy(rng)[:30], noisy(rng)[30:]
    second[..., :2] += (900, 200)
    both = smooth(times(60), np.concatenate([first, second]), method)
    apart = np.concatenate([smooth(times(30), half, method) for half in (first, second)])
    np.testing.assert_allclose(both, apart)
    late = np.concatenate([times(30), times(30) + 10])
    np.testing.assert_allclose(smooth(late, np.concatenate([first, second]), method), both)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_stays_missing_unless_it_is_filled(method: str, rng: np.random.Generator) -> None:
    raw = noisy(rng, 0.5)
    raw[10:13] = raw[20:24] = 0  # 3 and 4 frames
    raw[40:42, 9] = (np.nan, np.nan, 0)
    raw[:2, 15] = raw[-2:, 15] = 0  # not between known frames
    raw[:, 16, 2] = 0
    new = smooth(times(60), raw, method)
    missing = (raw[..., 2] == 0) | np.isnan(raw[..., 0])
    np.testing.assert_array_equal(np.isnan(new[..., 0]), missing)
    assert not new[missing, 2].any()
    filled = smooth(times(60), raw, method, fill=3)
    assert np.isnan(filled[20:24]).any(-1).all() and np.isnan(filled[:, 16, 0]).all()
    assert np.isnan(filled[[0, 1, -2, -1], 15, 0]).all()
    np.testing.assert_allclose(filled[10:13, :16, 2], 0.4)
    assert np.abs(filled[10:13, :16, :2] - track()[10:13, :16, :2]).max() < 15
    np.testing.assert_allclose(filled[40:42, 9, 2], 0.4)
    np.testing.assert_array_equal(filled[~missing], new[~missing])


@pytest.mark.parametrize("method", ZERO_PHASE)
def test_time_stamps_count_not_frames(method: str, rng: np.random.Generator) -> None:
    uneven = np.cumsum(rng.uniform(0.5, 1.5, 60)) / 30
    keypoints = track()
    swing = 40 * np.sin(2 * np.pi * uneven)[:, None] * (1, 0.5)
    keypoints[..., :2] = keypoints[:1, :, :2] + swing[:, None]
    assert np.abs(smooth(uneven, keypoints, method) - keypoints).max() < 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5, 8])
def test_short_tracks_are_filtered_as_far_as_they_can(method: str, frames: int, rng: np.random.Generator) -> None:
    new = smooth(times(frames), noisy(rng)[:frames], method)
    assert new.shape == (frames, 17, 3) and np.isfinite(new).all()


def test_one_euro_is_causal_and_carries_its_state(rng: np.random.Generator) -> None:
    raw = noisy(rng)[..., :2]
    pair = np.stack([raw, raw[::-1]], axis=1)  # two people
    pair[20:25, 1] = np.nan
    live, of_one = OneEuro(), OneEuro()
    sizes = np.array([[100.0], [100.0]])
    both = np.stack([live(t, frame, sizes) for t, frame in zip(times(60), pair, strict=True)])
    alone = np.stack([of_one(t, frame, 100.0) for t, frame in zip(times(60)[:30], raw[:30], strict=True)])
    np.testing.assert_allclose(both[:30, 0], alone)
    assert np.isnan(both[20:25, 1]).all() and np.isfinite(both[25:]).all()


def test_gaps_are_straight_and_ends_level() -> None:
    values = np.array([0, 1, 9, 9, 7, 9.0])[:, None, None]
    known = np.array([0, 1, 0, 0, 1, 0], bool)[:, None]
    found = interpolated(np.array([0, 1, 2, 4, 7, 8.0]), values, known)
    np.testing.assert_allclose(found[:, 0, 0], [1, 1, 2, 4, 7, 7])


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown filter 'kalman': use one of oneeuro, savgol"):
        smooth(times(60), track(), "kalman")
    with pytest.raises(InputError, match="must ascend"):
        smooth(np.zeros(60), track())


def test_a_lone_keypoint_has_no_size_and_stays(rng: np.random.Generator) -> None:
    track = np.full((60, 17, 3), (np.nan, np.nan, 0.0))
    track[:, 9] = np.stack([100 + 3 * np.arange(60) + rng.normal(0, 1, 60), np.full(60, 200.0), np.full(60, 0.8)], -1)
    np.testing.assert_array_equal(smooth(np.arange(60) / 30, track, "butterworth", fill=3), track)


def test_what_needs_an_even_rate_sees_one_though_frames_come_unevenly(rng: np.random.Generator) -> None:
    times = np.cumsum(rng.choice([0.02, 0.03, 0.05], 60))
    seen = np.ones((60, 2, 3))
    seen[..., :2] = wanted = np.tile(times[:, None, None] * [100, -50], (1, 2, 1))
    seen[20:25, 0] = 0
    rates = []

    def filtered(even: np.ndarray, fps: float) -> np.ndarray:
        rates.append((len(even), fps))
        np.testing.assert_allclose(np.diff(even[..., :2], 2, axis=0), 0, atol=1e-9)
        assert (even[:, 0, 2] == 0).sum() >= 5 and (even[:, 1, 2] > 0.999).all()
        return even[..., :2]

    np.testing.assert_allclose(on_even_grid(times, seen, filtered), wanted)
    assert rates == [(pytest.approx((times[-1] - times[0]) * rates[0][1] + 1, abs=0.5), 1 / np.median(np.diff(times)))]


def test_what_is_missing_at_an_end_is_no_gap() -> None:
    known = np.array([[False, True], [True, False], [False, True], [True, True], [False, True]])
    runs = missing_run(known)
    assert runs[:, 1].tolist() == [0, 1, 0, 0, 0] and runs[1:4, 0].tolist() == [0, 1, 0]
    assert (runs[[0, 4], 0] > 10**9).all()
