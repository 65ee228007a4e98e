"""Denoise whole tracks with the network, window by window."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.errors import require
from posefix.core.skeleton import Skeleton
from posefix.motion.filters import interpolated, one_euro, person_size, segments, sizes_so_far, smooth
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork

WINDOW, OVERLAP = 96, 32  # frames
MEMORY = 64  # frames that are looked back on in live use
# Without any later frame the fit lags behind: so much of what was found in the latest frame stays in the answer, unless
# it is further away than so many sizes of the person, and the estimator is unsure of it.
PRESENT, NEAR = 0.5, 0.2
TOGETHER = 16  # windows in a batch
THIN = 0.05  # of a box's longer side, which is added to the size, for thin boxes
LEAST_SIZE = 1e-3  # px
SLOWEST, FASTEST = 10.0, 120.0  # frames a second, beyond which the network is told these
FALLBACK = "butterworth"  # for keypoints that the network does not know
EVEN = 0.1  # of a frame, by which time stamps may be off an even grid


class TrackDenoiser:
    """A trained network as a denoiser of tracks of any skeleton, for :func:`posefix.motion.smoothing.smooth_people`.

    Keypoints that the network does not know are filtered: as live by the One-Euro filter, which fills no gaps.

    Args:
        network: the sequence denoiser.
        skeleton: of the tracks.
        latency: denoise as live, each frame from those before it and so many later ones alone; None looks at all.
    """

    def __init__(self, network: MotionNetwork, skeleton: Skeleton, latency: int | None = None) -> None:
        self.network, self.skeleton, self.latency = network, skeleton, latency
        self._from = network.skeleton.indices_from(skeleton)
        self._unknown = np.setdiff1d(np.arange(len(skeleton)), self._from)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = DEFAULT, skeleton: Skeleton | None = None, latency: int | None = None
    ) -> TrackDenoiser:
        """Load the network by shipped name or path; InputError when it cannot be used."""
        return cls(MOTION.load(name_or_path), skeleton or skeletons.load("coco17"), latency)

    def __call__(self, times: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Denoise a track, and fill it from its first to its last frame.

        Args:
            times: (T,) seconds, ascending.
            keypoints: (T, K, 3) x, y in pixels and score; NaN or score 0 where there is no estimate.

        Returns:
            (T, K, 3) float64, scores as they came, and (T, K) how sure each place is: its expected similarity to the
            truth (KS). NaN where the track has no estimate around, as within a cut.
        """
        found = np.full(keypoints.shape, np.nan)
        sure = np.zeros(keypoints.shape[:2])
        given = np.isfinite(keypoints).all(-1) & (keypoints[..., 2] > 0)
        places = np.where(given[..., None], keypoints[..., :2], np.nan)
        if len(self._unknown) and given[:, self._unknown].any():
            rest = self._filtered(times, keypoints, places)[:, self._unknown]
            found[:, self._unknown], sure[:, self._unknown] = rest, rest[..., 2]
        known = self._from >= 0
        ours, size = self._from[known], person_size(places)
        parts = segments(times, keypoints, given)
        if self.latency is not None and parts:
            parts = [slice(0, len(times))]  # live, a cut is not known before the frames after it
        for part in parts:
            track = np.zeros((part.stop - part.start, len(known), 3))
            track[:, known] = np.where(given[part, ours, None], keypoints[part, ours], 0)
            if len(track) < 2:
                found[part, ours, :2] = track[:, known, :2]
                sure[part, ours] = 1.0
                continue
            place = self._denoised(times[part], track)
            found[part, ours, :2] = place[:, known, :2]
            sure[part, ours] = certainty(place[:, known, 2], 2 * self.network.skeleton.sigmas[known] * size)
        found[..., 2] = keypoints[..., 2]
        never = ~given.any(0)
        found[:, never], sure[:, never] = (np.nan, np.nan, 0), 0
        return found, sure

    def _filtered(self, times: np.ndarray, keypoints: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(T, K, 3) after a filter, with cuts and the size of the whole pose; ``places`` (T, K, 2) have NaN."""
        if self.latency is None:
            return smooth(times, keypoints, FALLBACK, fill=len(times))
        sizes = np.maximum(sizes_so_far(places), LEAST_SIZE)
        return np.dstack([one_euro(times, places, sizes), np.where(np.isnan(places[..., 0]), 0, keypoints[..., 2])])

    def _denoised(self, times: np.ndarray, track: np.ndarray) -> np.ndarray:
        """(T, K, 3) places and spreads of a track (T, K, 3)."""
        if self.latency is None:
            return on_even_grid(times, track, partial(denoise, self.network))
        step = float(np.median(np.diff(times)))
        # Frames that a track leaves out, as in pauses, have passed; more than are looked back on need not be there.
        rows = np.append(0, np.clip(np.round(np.diff(times) / step), 1, MEMORY).astype(int).cumsum())
        whole = np.zeros((rows[-1] + 1, *track.shape[1:]))
        whole[rows] = track
        found: np.ndarray = denoise_live(self.network, whole, 1 / step, self.latency)[rows]
        return found


def on_even_grid(
    times: np.ndarray, track: np.ndarray, function: Callable[[np.ndarray, float], np.ndarray]
) -> np.ndarray:
    """Call a function of tracks at an even rate for one whose frames need not be at even distances.

    Args:
        times: (T,) seconds, ascending, T at least 2.
        track: (T, K, 3) x, y and score; score 0 where nothing is known.
        function: of such a track and its frames a second; gives values (T, K, C).

    Returns:
        (T, K, C).
    """
    step = float(np.median(np.diff(times)))
    grid = np.linspace(times[0], times[-1], round((times[-1] - times[0]) / step) + 1)
    if len(grid) == len(times) and np.abs(grid - times).max() < EVEN * step:
        return function(track, 1 / step)
    given = track[..., 2] > 0
    nearest = np.clip(np.searchsorted(times, grid - step / 2), 0, len(times) - 1)
    line = partial(require("scipy.interpolate", "video", "tracks of uneven frames").make_interp_spline, k=1)
    even = line(times, interpolated(times, track, given))(grid)
    even[..., 2] *= given[nearest]
    return np.asarray(line(grid, function(even, 1 / step))(times))


def denoise(network: MotionNetwork, keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Estimate where the keypoints of a track are.

    Args:
        network: trained for K keypoints.
        keypoints: (T, K, 3) x, y in pixels and score, in frames at even distances; score 0 where nothing is known.
        fps: frames a second.

    Returns:
        (T, K, 3) float32 x, y, and the mean distance that the truth is expected at, in pixels.
    """
    return by_windows(keypoints, partial(denoise_windows, network, fps=fps))


def by_windows(
    keypoints: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    window: int = WINDOW,
    overlap: int = OVERLAP,
) -> np.ndarray:
    """Call a function of windows for a track of any length.

    Windows fade into each other where they overlap.

    Args:
        keypoints: (T, K, 3), score 0 where nothing is known.
        function: of (N, W, K, 3) windows; gives values (N, W, K, C).
        window: frames in one.
        overlap: frames.

    Returns:
        (T, K, C) float32.
    """
    t = len(keypoints)
    starts = np.arange(0, max(t - overlap, 1), window - overlap)
    rows = np.minimum(starts[:, None] + np.arange(min(window, t)), t - 1)
    windows = keypoints[rows].astype(np.float32)
    windows[(starts[:, None] + np.arange(rows.shape[1])) >= t, :, 2] = 0
    values = function(windows)
    ramp = np.minimum(np.arange(1, rows.shape[1] + 1) / overlap, 1)
    weight = np.minimum(ramp, ramp[::-1])
    total, weight_of = np.zeros((t, *values.shape[2:])), np.zeros(t)
    for start, value in zip(starts.tolist(), values, strict=True):
        part = slice(start, start + len(weight))
        total[part] += (weight[:, None, None] * value)[: t - start]
        weight_of[part] += weight[: t - start]
    return (total / weight_of[:, None, None]).astype(np.float32)


def denoise_live(network: MotionNetwork, keypoints: np.ndarray, fps: float, latency: int = 0) -> np.ndarray:
    """As :func:`denoise`, but each frame from those before it and ``latency`` later ones alone."""
    found = np.zeros(keypoints.shape, np.float32)
    padded = np.pad(keypoints, ((MEMORY - 1, latency), (0, 0), (0, 0)))
    for start in range(0, len(keypoints), TOGETHER):
        rows = np.arange(start, min(start + TOGETHER, len(keypoints)))
        windows = padded[rows[:, None] + latency + np.arange(MEMORY)]
        found[rows] = denoise_frame(network, windows, fps, np.full(len(rows), MEMORY - 1 - latency))
    return found


def denoise_frame(network: MotionNetwork, windows: np.ndarray, fps: float, frames: np.ndarray) -> np.ndarray:
    """As :func:`denoise`, one of the ``frames`` (N,) of each of N windows (N, T, K, 3): (N, K, 3) pixels."""
    rows = np.arange(len(windows))
    new, found = denoise_windows(network, windows, fps)[rows, frames], windows[rows, frames]
    away = found[..., :2] - new[..., :2]
    near = 1 / (1 + (np.linalg.norm(away, axis=-1) / (NEAR * normalized(windows)[2][:, 0, :, 0])) ** 2)
    share = PRESENT * np.maximum(near, np.minimum(found[..., 2], 1))
    share *= (found[..., 2] > 0) & (frames == windows.shape[1] - 1)[:, None]
    new[..., :2] += share[..., None] * away
    return np.asarray(new)


def denoise_windows(network: MotionNetwork, windows: np.ndarray, fps: float) -> np.ndarray:
    """As :func:`denoise`, for N windows (N, T, K, 3) at a time: (N, T, K, 3) pixels."""
    windows, centres, sizes = normalized(windows)
    rate = torch.full((len(windows),), float(np.clip(fps, SLOWEST, FASTEST)))
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(windows), TOGETHER)
        found = [network(part, rate[: len(part)]) for part in parts]
    pixels = torch.cat([torch.cat([f.keypoints, f.log_spread.exp()[..., None]], -1) for f in found]).numpy() * sizes
    pixels[..., :2] += centres
    return np.asarray(pixels)


def certainty(spread: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Expected similarity to the truth (KS) at a mean distance of ``spread``, for an OKS scale s k; both in pixels.

    Of a Gaussian, whose variance along each axis is 2 / pi times the square of its mean distance.
    """
    return np.asarray(1 / (1 + 2 / np.pi * (spread / scale) ** 2))


def sizes_of(extents: np.ndarray) -> np.ndarray:
    """(...) sizes of people, sqrt(area), from the width and height (..., 2) of their poses."""
    return np.asarray(np.sqrt(geometry.BOX_AREA_TO_AREA * extents.prod(-1)) + THIN * extents.max(-1))


def normalized(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre windows of tracks and scale them by the person's size, as the network takes them.

    Args:
        windows: (N, T, K, 3) x, y, score; score 0 where nothing is known.

    Returns:
        (N, T, K, 3) float32, and what leads back: the (N, 1, 1, 2) centres and (N, 1, 1, 1) sizes, in pixels.
    """
    given = np.greater(windows[..., 2], 0)
    places = np.where(given[..., None], windows[..., :2], np.nan)
    places[~given.any((1, 2))] = 0
    centres = np.nanmedian(places, axis=(1, 2), keepdims=True)
    high = np.where(given[..., None], places, -np.inf).max(2)
    low = np.where(given[..., None], places, np.inf).min(2)
    extents = np.where(given.any(2)[..., None], high - low, np.nan)  # (N, T, 2)
    extents[~given.any((1, 2))] = 0
    sizes = np.nanmedian(sizes_of(extents), axis=1)
    sizes = np.maximum(sizes, LEAST_SIZE)[:, None, None, None]
    scaled = np.where(given[..., None], (windows[..., :2] - centres) / sizes, 0)
    scores = np.minimum(windows[..., 2:], 1)  # peaks of heatmaps, and visibility, exceed 1
    return np.concatenate([scaled, scores], axis=-1).astype(np.float32), centres, sizes
