"""Give tracks the errors that estimators make on video: correlated in time, and in bursts of frames.

Jitter, Inversion, Swap and Miss as on single images (Ronchi and Perona, ICCV 2017), each for as long as real
estimators keep it up; frames and keypoints without a result; poses held inside the image; and confidences. Lengths are
in units of the person's size, sqrt(area).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posefix.core.random import log_uniform
from posefix.core.skeleton import Skeleton
from synth.scores import draw_scores

CLEAN = 0.2  # share of tracks that are right, but for noise that is none to speak of
WHITE, DRIFT = (0.003, 0.06), (0.006, 0.12)  # noise anew in each frame; noise that lasts
DRIFT_FRAMES = (1.5, 20.0)  # how long, in frames
TOUGH, TOUGHER = 3.0, 0.1  # by what factor noise grows while a keypoint is hard to see; share of such frames
MISSES = 0.04  # mean share of frames in which a keypoint is somewhere else
MISSED_BY = (0.1, 0.8)  # sizes
INVERSIONS, INVERTED_FOR = 0.06, (1.0, 20.0)  # mean share of frames, as above; frames
SWAPS, LOST = 0.01, 0.015  # whole poses on somebody else; or nowhere
GAPS, HOLES = 0.1, 0.05  # frames without a pose, keypoints without a place
CUT, CUT_AT = 0.3, (0.2, 1.3)  # share of tracks that leave the image, sizes from the person's middle to its edge
GRID, GRIDS = (0.005, 0.05), 0.3  # of estimators that give whole cells; their share
CERTAIN_WHEN_INVERTED = 0.7  # share of tracks in which exchanged keypoints are as certain as right ones


class Corrupted(NamedTuple):
    """What an estimator could have said of N tracks."""

    keypoints: np.ndarray  # (N, T, K, 2) float32
    scores: np.ndarray  # (N, T, K) float32 confidences, 0 where nothing was found
    inside: np.ndarray  # (N, T, K) bool: the true keypoint is in the image


def corrupt_tracks(truth: np.ndarray, sizes: np.ndarray, skeleton: Skeleton, rng: np.random.Generator) -> Corrupted:
    """Draw what an estimator says of N tracks of T frames.

    Args:
        truth: (N, T, K, 2) keypoints, in units of each person's median size; one track can be swapped for the next.
        sizes: (N, T) sqrt(area) in the same units.
        skeleton: whose K keypoints.
        rng: source of randomness.
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
    keypoints, inside = _keep_inside(keypoints, truth, sizes, rng)
    similarity = np.where(inside, similarity, 0.3 * similarity)
    grid = np.where(rng.random(n) < GRIDS, rng.uniform(*GRID, n), 0)[:, None, None, None]
    keypoints = np.where(grid > 0, np.round(keypoints / np.maximum(grid, 1e-6)) * grid, keypoints)
    scores = draw_scores(similarity.reshape(n, t * k), rng).reshape(n, t, k)
    absent = bursts(rng.random((n, 1)) ** 4 * 4 * GAPS, 2 + 4 * rng.random((n, 1)), t, rng)
    holes = bursts(rng.random((n, 1)) ** 4 * 4 * HOLES * np.ones(k), 1 + 5 * rng.random((n, k)), t, rng)
    never = rng.random((n, 1, k)) < 0.01
    return Corrupted(
        keypoints.astype(np.float32), np.where(absent | holes | never, 0, scores).astype(np.float32), inside
    )


def bursts(share: np.ndarray, duration: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw when something happens that goes on for a while: a Markov chain of two states.

    Args:
        share: (N, ...) of frames in which it happens, below 1.
        duration: (N, ...) mean number of frames it goes on for, at least 1.
        frames: T.
        rng: source of randomness.

    Returns:
        (N, T, ...) bool.
    """
    share, duration = np.broadcast_arrays(np.clip(share, 0, 0.9), duration)
    stop = 1 / duration
    start = np.minimum(stop * share / (1 - share), 1)
    drawn = rng.random((frames, *share.shape), np.float32)
    on = np.empty(drawn.shape, bool)
    on[0] = drawn[0] < share
    for frame in range(1, frames):
        on[frame] = np.where(on[frame - 1], drawn[frame] >= stop, drawn[frame] < start)
    return np.moveaxis(on, 0, 1)


def _held(happening: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` (N, T, ..., C), each burst (N, T, ...) keeping the one of its first frame."""
    frames = np.arange(happening.shape[1]).reshape(-1, *(1,) * (happening.ndim - 2))
    before = np.concatenate([np.zeros_like(happening[:, :1]), happening[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(happening & ~before, frames, 0), axis=1)
    return np.take_along_axis(values, first[..., None], axis=1)


def _noise(n: int, t: int, k: int, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, t, k, 2) noise, anew in each frame and lasting, larger while a keypoint is hard to see."""
    white, drift = (log_uniform(rng, spread, (n, 1, 1, 1)) for spread in (WHITE, DRIFT))
    keep = np.exp(-1 / log_uniform(rng, DRIFT_FRAMES, (n, 1, 1)))
    drawn = rng.standard_normal((2, t, n, k, 2), np.float32)
    lasting = np.empty_like(drawn[0])
    lasting[0] = drawn[0, 0]
    for frame in range(1, t):
        lasting[frame] = keep * lasting[frame - 1] + np.sqrt(1 - keep**2) * drawn[0, frame]
    tough = bursts(rng.random((n, 1)) * 2 * TOUGHER * np.ones(k), 1 + 8 * rng.random((n, k)), t, rng)
    tails = np.exp(0.3 * rng.standard_normal((n, t, k, 1)))
    spread = np.where(tough, TOUGH, 1)[..., None] * tails
    noise = np.moveaxis(drawn[1], 0, 1) * white + np.moveaxis(lasting, 0, 1) * drift
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
    """Put keypoints somewhere near, or on another keypoint of the person, for some frames."""
    n, t, k = keypoints.shape[:3]
    share = severity[:, 0] * MISSES * rng.random((n, 1)) * 2 * skeleton.sigmas / skeleton.sigmas.mean()
    missing = bursts(share, 1 + 4 * rng.random((n, k)) ** 2, t, rng)
    offset = rng.standard_normal((n, t, k, 2)) * log_uniform(rng, MISSED_BY, (n, t, k, 1))
    near = keypoints + _held(missing, offset) * sizes[..., None, None]
    other = np.where(rng.random((n, t, k)) < 0.5, skeleton.flip, rng.integers(0, k, (n, t, k)))
    other = _held(missing, other[..., None])
    on_other = np.take_along_axis(truth, np.broadcast_to(other, keypoints.shape), axis=2)
    on_other = on_other + (keypoints - truth)
    choice = _held(missing, (rng.random((n, t, k, 1)) < 0.5))
    return np.where(missing[..., None], np.where(choice, near, on_other), keypoints)


def _invert(
    keypoints: np.ndarray, skeleton: Skeleton, severity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right of legs, arms, everything or one pair of keypoints, for some frames."""
    n, t, k = keypoints.shape[:3]
    lower, upper = skeleton.group("lower"), skeleton.group("upper")
    wrists, hips = (np.array([part == name for part in skeleton.parts()]) for name in ("wrist", "hip"))
    parts = np.stack([lower, upper, np.ones(k, bool), wrists, lower & ~hips])
    share = severity[:, 0] * INVERSIONS * rng.random((n, len(parts))) ** 2 * [1.0, 0.7, 0.7, 0.5, 0.7]
    happening = bursts(share, log_uniform(rng, INVERTED_FOR, (n, len(parts))), t, rng)
    inverted = np.einsum("ntp,pk->ntk", happening.astype(np.int8), parts.astype(np.int8)) % 2 == 1
    source = np.where(inverted, skeleton.flip, np.arange(k))
    return np.take_along_axis(keypoints, source[..., None], axis=2), inverted


def _lose(
    keypoints: np.ndarray, similarity: np.ndarray, sizes: np.ndarray, severity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put whole poses on somebody beside the person, or shrink and displace them, for some frames."""
    n, t = keypoints.shape[:2]
    swapped = bursts(severity[:, 0, 0] * SWAPS * rng.random(n), 1 + 9 * rng.random((n,)), t, rng)
    beside = rng.choice([-1, 1], (n, 1, 1)) * rng.uniform(0.4, 1.5, (n, 1, 1))
    middle = keypoints.mean(2, keepdims=True)
    other = np.roll(keypoints, 1, axis=0)
    other = other - np.roll(middle, 1, axis=0) + middle + np.stack([beside, 0.2 * beside], axis=-1)
    lost = bursts(severity[:, 0, 0] * LOST * rng.random(n), 1 + 3 * rng.random((n,)), t, rng)
    where = _held(lost, rng.standard_normal((n, t, 2)) * 0.5) * sizes[..., None]
    size = _held(lost, np.exp(0.5 * rng.standard_normal((n, t, 1))) * rng.uniform(0.3, 1, (n, t, 1)))
    nowhere = middle + where[:, :, None] + (keypoints - middle) * size[..., None]
    nowhere = nowhere + 0.15 * rng.standard_normal(keypoints.shape) * sizes[..., None, None]
    found = np.where(swapped[..., None, None], other, keypoints)
    found = np.where(lost[..., None, None], nowhere, found)
    certain = np.where(swapped[..., None], np.roll(similarity, 1, axis=0), similarity)
    return found, np.where(lost[..., None], 0.2 * certain, certain)


def _keep_inside(
    keypoints: np.ndarray, truth: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hold poses inside images of which some people stick out, mostly below."""
    n = len(keypoints)
    middle = np.median(truth, axis=(1, 2))[:, None, None]  # (N, 1, 1, 2)
    reach = rng.uniform(*CUT_AT, (4, n)) * np.where(rng.random((4, n)) < CUT * np.array([[0.3, 0.3, 1, 0.2]]).T, 1, 1e3)
    low = middle - reach[[0, 3]].T[:, None, None]
    high = middle + reach[[1, 2]].T[:, None, None]
    slack = 0.03 * np.abs(rng.standard_normal(keypoints.shape)) * sizes[..., None, None]
    return np.clip(keypoints, low + slack, high - slack), ((truth >= low) & (truth <= high)).all(-1)
