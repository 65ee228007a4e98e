"""Corrupt tracks with the errors that estimators make on video: correlated in time, in bursts of frames.

Jitter, Inversion, Swap and Miss as on single images (Ronchi and Perona, ICCV 2017), with realistic durations; missing
frames and keypoints; poses clipped to the image; and confidences. Lengths are in units of the person's size,
sqrt(area).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.random import log_uniform
from posefix.core.skeleton import Skeleton
from synth.scores import draw_scores

CLEAN = 0.2  # share of tracks without errors, except for little noise
WHITE_NOISE, DRIFT = (0.003, 0.06), (0.006, 0.12)  # ranges of the std of white and of correlated noise
DRIFT_FRAMES = (1.5, 20.0)  # range of the correlation time, in frames
HARD_FACTOR, HARD_SHARE = 3.0, 0.1  # factor on the noise while a keypoint is hard to see; share of such frames
MISSES = 0.04  # mean share of frames in which a keypoint is missed
MISS_DISTANCE = (0.1, 0.8)  # range of the distance of missed keypoints
INVERSIONS, INVERSION_FRAMES = 0.06, (1.0, 20.0)  # mean share of frames; range of the duration in frames
SWAPS, LOST = 0.01, 0.015  # share of frames with the pose on another person, or lost
GAPS, HOLES = 0.1, 0.05  # share of frames without a pose; of missing keypoints
CUT, BORDER = 0.3, (0.2, 1.3)  # share of tracks cut by the image border; its distance from the person's centre
GRID, GRID_SHARE = (0.005, 0.05), 0.3  # range of the grid of estimators that give whole cells; their share
CERTAIN_WHEN_INVERTED = 0.7  # share of tracks in which inverted keypoints are as certain as correct ones


class Corrupted(NamedTuple):
    """Corrupted tracks."""

    keypoints: np.ndarray  # (N, T, K, 2) float32
    scores: np.ndarray  # (N, T, K) float32 confidences, 0 for missing keypoints
    inside: np.ndarray  # (N, T, K) bool, whether the true keypoint is in the image


def corrupt_tracks(truth: np.ndarray, sizes: np.ndarray, skeleton: Skeleton, rng: np.random.Generator) -> Corrupted:
    """Corrupt N tracks of T frames.

    Args:
        truth: (N, T, K, 2) keypoints in units of each person's median size; swaps take the pose of the previous track.
        sizes: (N, T) sqrt(area) in the same units.
        skeleton: of the K keypoints.
        rng: random generator.
    """
    n, t, k = truth.shape[:3]
    scales = 2 * skeleton.sigmas[None, None] * sizes[..., None]  # (N, T, K)
    severity = np.where(rng.random(n) < CLEAN, 0, np.exp(0.5 * rng.standard_normal(n)))[:, None, None]
    keypoints = truth + _noise(n, t, k, severity, rng) * (scales * (0.5 / skeleton.sigmas.mean()))[..., None]
    keypoints = _miss(keypoints, truth, sizes, skeleton, severity, rng)
    similarity = np.exp(-((keypoints - truth) ** 2).sum(-1) / (2 * scales**2))
    keypoints, inverted = _invert(keypoints, skeleton, severity, rng)
    keypoints, similarity = _lose(keypoints, similarity, sizes, severity, rng)
    doubtful = inverted & (rng.random((n, 1, 1)) > CERTAIN_WHEN_INVERTED)
    similarity = np.where(doubtful, 0.3 * similarity, similarity)
    keypoints, inside = _clip(keypoints, truth, sizes, rng)
    similarity = np.where(inside, similarity, 0.3 * similarity)
    grid = np.where(rng.random(n) < GRID_SHARE, rng.uniform(*GRID, n), 0)[:, None, None, None]
    keypoints = np.where(grid > 0, np.round(keypoints / np.maximum(grid, 1e-6)) * grid, keypoints)
    scores = draw_scores(similarity.reshape(n, t * k), rng).reshape(n, t, k)
    gaps = bursts(rng.random((n, 1)) ** 4 * 4 * GAPS, 2 + 4 * rng.random((n, 1)), t, rng)
    holes = bursts(rng.random((n, 1)) ** 4 * 4 * HOLES * np.ones(k), 1 + 5 * rng.random((n, k)), t, rng)
    never = rng.random((n, 1, k)) < 0.01
    return Corrupted(keypoints.astype(np.float32), np.where(gaps | holes | never, 0, scores).astype(np.float32), inside)


def bursts(share: np.ndarray, duration: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the frames of events that last for a while, by a Markov chain of two states.

    Args:
        share: (N, ...) share of frames with the event, below 1.
        duration: (N, ...) mean duration in frames, at least 1.
        frames: T.
        rng: random generator.

    Returns:
        (N, T, ...) bool.
    """
    share, duration = np.broadcast_arrays(np.clip(share, 0, 0.9), duration)
    stop = 1 / duration
    start = np.minimum(stop * share / (1 - share), 1)
    uniform = rng.random((frames, *share.shape), np.float32)
    active = np.empty(uniform.shape, bool)
    active[0] = uniform[0] < share
    for frame in range(1, frames):
        active[frame] = np.where(active[frame - 1], uniform[frame] >= stop, uniform[frame] < start)
    return np.moveaxis(active, 0, 1)


def _held(active: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Hold the value (N, T, ..., C) of a burst's first frame for the whole burst (N, T, ...)."""
    frames = np.arange(active.shape[1]).reshape(-1, *(1,) * (active.ndim - 2))
    previous = np.concatenate([np.zeros_like(active[:, :1]), active[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(active & ~previous, frames, 0), axis=1)
    return np.take_along_axis(values, first[..., None], axis=1)


def _noise(n: int, t: int, k: int, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw white and correlated noise (n, t, k, 2), larger while a keypoint is hard to see."""
    white, drift = (log_uniform(rng, spread, (n, 1, 1, 1)) for spread in (WHITE_NOISE, DRIFT))
    decay = np.exp(-1 / log_uniform(rng, DRIFT_FRAMES, (n, 1, 1)))
    normal = rng.standard_normal((2, t, n, k, 2), np.float32)
    correlated = np.empty_like(normal[0])
    correlated[0] = normal[0, 0]
    for frame in range(1, t):
        correlated[frame] = decay * correlated[frame - 1] + np.sqrt(1 - decay**2) * normal[0, frame]
    hard = bursts(rng.random((n, 1)) * 2 * HARD_SHARE * np.ones(k), 1 + 8 * rng.random((n, k)), t, rng)
    tails = np.exp(0.3 * rng.standard_normal((n, t, k, 1)))
    spread = np.where(hard, HARD_FACTOR, 1)[..., None] * tails
    noise = np.moveaxis(normal[1], 0, 1) * white + np.moveaxis(correlated, 0, 1) * drift
    scaled: np.ndarray = np.where(severity > 0, 1, 0.1)[..., None] * spread * noise
    return scaled


def _miss(
    keypoints: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    skeleton: Skeleton,
    severity: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move keypoints nearby, or onto another keypoint of the person, for some frames."""
    n, t, k = keypoints.shape[:3]
    share = severity[:, 0] * MISSES * rng.random((n, 1)) * 2 * skeleton.sigmas / skeleton.sigmas.mean()
    missed = bursts(share, 1 + 4 * rng.random((n, k)) ** 2, t, rng)
    offset = rng.standard_normal((n, t, k, 2)) * log_uniform(rng, MISS_DISTANCE, (n, t, k, 1))
    near = keypoints + _held(missed, offset) * sizes[..., None, None]
    other = np.where(rng.random((n, t, k)) < 0.5, skeleton.flip, rng.integers(0, k, (n, t, k)))
    other = _held(missed, other[..., None])
    on_other = np.take_along_axis(truth, np.broadcast_to(other, keypoints.shape), axis=2)
    on_other = on_other + (keypoints - truth)
    is_near = _held(missed, (rng.random((n, t, k, 1)) < 0.5))
    return np.where(missed[..., None], np.where(is_near, near, on_other), keypoints)


def _invert(
    keypoints: np.ndarray, skeleton: Skeleton, severity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right of legs, arms, the whole pose, wrists or lower legs, for some frames."""
    n, t, k = keypoints.shape[:3]
    lower, upper = skeleton.group("lower"), skeleton.group("upper")
    wrists, hips = (np.array([part == name for part in skeleton.parts()]) for name in ("wrist", "hip"))
    parts = np.stack([lower, upper, np.ones(k, bool), wrists, lower & ~hips])
    share = severity[:, 0] * INVERSIONS * rng.random((n, len(parts))) ** 2 * [1.0, 0.7, 0.7, 0.5, 0.7]
    active = bursts(share, log_uniform(rng, INVERSION_FRAMES, (n, len(parts))), t, rng)
    inverted = np.einsum("ntp,pk->ntk", active.astype(np.int8), parts.astype(np.int8)) % 2 == 1
    source = np.where(inverted, skeleton.flip, np.arange(k))
    return np.take_along_axis(keypoints, source[..., None], axis=2), inverted


def _lose(
    keypoints: np.ndarray, similarity: np.ndarray, sizes: np.ndarray, severity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Move whole poses onto a person beside, or shrink and displace them, for some frames."""
    n, t = keypoints.shape[:2]
    swapped = bursts(severity[:, 0, 0] * SWAPS * rng.random(n), 1 + 9 * rng.random((n,)), t, rng)
    side = rng.choice([-1, 1], (n, 1, 1)) * rng.uniform(0.4, 1.5, (n, 1, 1))
    centroid = keypoints.mean(2, keepdims=True)
    other = np.roll(keypoints, 1, axis=0)
    other = other - np.roll(centroid, 1, axis=0) + centroid + np.stack([side, 0.2 * side], axis=-1)
    lost = bursts(severity[:, 0, 0] * LOST * rng.random(n), 1 + 3 * rng.random((n,)), t, rng)
    shift = _held(lost, rng.standard_normal((n, t, 2)) * 0.5) * sizes[..., None]
    scale = _held(lost, np.exp(0.5 * rng.standard_normal((n, t, 1))) * rng.uniform(0.3, 1, (n, t, 1)))
    lost_pose = centroid + shift[:, :, None] + (keypoints - centroid) * scale[..., None]
    lost_pose = lost_pose + 0.15 * rng.standard_normal(keypoints.shape) * sizes[..., None, None]
    corrupted = np.where(swapped[..., None, None], other, keypoints)
    corrupted = np.where(lost[..., None, None], lost_pose, corrupted)
    confident = np.where(swapped[..., None], np.roll(similarity, 1, axis=0), similarity)
    return corrupted, np.where(lost[..., None], 0.2 * confident, confident)


def _clip(
    keypoints: np.ndarray, truth: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Clip poses to images that cut some people, mostly at the bottom."""
    n = len(keypoints)
    centre = np.median(truth, axis=(1, 2))[:, None, None]  # (N, 1, 1, 2)
    edges = rng.uniform(*BORDER, (4, n)) * np.where(rng.random((4, n)) < CUT * np.array([[0.3, 0.3, 1, 0.2]]).T, 1, 1e3)
    low = centre - edges[[0, 3]].T[:, None, None]
    high = centre + edges[[1, 2]].T[:, None, None]
    slack = 0.03 * np.abs(rng.standard_normal(keypoints.shape)) * sizes[..., None, None]
    return np.clip(keypoints, low + slack, high - slack), ((truth >= low) & (truth <= high)).all(-1)
