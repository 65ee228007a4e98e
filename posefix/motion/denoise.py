"""Denoise whole tracks with the network, window by window."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.errors import require
from posefix.core.skeleton import Skeleton
from posefix.motion.filters import even_grid, interpolated, one_euro, person_size, segments, sizes_so_far, smooth
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork

WINDOW, OVERLAP = 96, 32  # frames
MEMORY = 64  # past frames in a window of live video
# The fit lags in the newest frame, which has no later ones. There the output is blended with the input, by at most
# INPUT_WEIGHT; less if they are further apart than INPUT_DISTANCE (sizes of the person) and the input's score is low.
INPUT_WEIGHT, INPUT_DISTANCE = 0.5, 0.2
BATCH_SIZE = 16  # windows per forward pass
THIN_BOX = 0.05  # share of the longer side of a box that is added to its size, for thin boxes
MIN_SIZE = 1e-3  # px
MIN_FPS, MAX_FPS = 10.0, 120.0  # frames per second; the network's input is clipped to these
FALLBACK_FILTER = "butterworth"  # filter for keypoints that the network lacks
EVEN_TOLERANCE = 0.1  # tolerance of time stamps on an even grid, in frames


class TrackDenoiser:
    """Denoise tracks of any skeleton, as needed by :func:`posefix.motion.smoothing.smooth_people`.

    Keypoints that the network lacks are filtered; with a ``latency``, by the One-Euro filter, which fills no gaps.

    Args:
        network: the sequence denoiser.
        skeleton: of the tracks.
        latency: number of later frames that may be used, as in live video; None uses all frames.
    """

    def __init__(self, network: MotionNetwork, skeleton: Skeleton, latency: int | None = None) -> None:
        self.network, self.skeleton, self.latency = network, skeleton, latency
        self._source = network.skeleton.indices_from(skeleton)
        self._unknown = np.setdiff1d(np.arange(len(skeleton)), self._source)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = DEFAULT, skeleton: Skeleton | None = None, latency: int | None = None
    ) -> TrackDenoiser:
        """Load the network by shipped name or path; raise InputError if it cannot be used."""
        return cls(MOTION.load(name_or_path), skeleton or skeletons.load("coco17"), latency)

    def __call__(self, times: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Denoise a track, and fill it from its first to its last frame.

        Args:
            times: (T,) seconds, ascending.
            keypoints: (T, K, 3) x, y in pixels and score; NaN or score 0 where there is no estimate.

        Returns:
            Keypoints (T, K, 3) float64 with unchanged scores, NaN where there is no estimate nearby, as between two
            cuts; and their expected similarity to the truth (KS), (T, K).
        """
        output = np.full(keypoints.shape, np.nan)
        ks = np.zeros(keypoints.shape[:2])
        valid = np.isfinite(keypoints).all(-1) & (keypoints[..., 2] > 0)
        positions = np.where(valid[..., None], keypoints[..., :2], np.nan)
        if len(self._unknown) and valid[:, self._unknown].any():
            filtered = self._filtered(times, keypoints, positions)[:, self._unknown]
            output[:, self._unknown], ks[:, self._unknown] = filtered, filtered[..., 2]
        shared = self._source >= 0
        columns, size = self._source[shared], person_size(positions)
        spans = segments(times, keypoints, valid)
        if self.latency is not None and spans:
            spans = [slice(0, len(times))]  # a cut shows only in later frames
        for segment in spans:
            track = np.zeros((segment.stop - segment.start, len(shared), 3))
            track[:, shared] = np.where(valid[segment, columns, None], keypoints[segment, columns], 0)
            if len(track) < 2:
                output[segment, columns, :2] = track[:, shared, :2]
                ks[segment, columns] = 1.0
                continue
            denoised = self._denoised(times[segment], track)
            output[segment, columns, :2] = denoised[:, shared, :2]
            ks[segment, columns] = certainty(denoised[:, shared, 2], 2 * self.network.skeleton.sigmas[shared] * size)
        output[..., 2] = keypoints[..., 2]
        absent = ~valid.any(0)
        output[:, absent], ks[:, absent] = (np.nan, np.nan, 0), 0
        return output, ks

    def _filtered(self, times: np.ndarray, keypoints: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Filter all keypoints (T, K, 3), since cuts and sizes need the whole pose; ``xy`` (T, K, 2) has NaN."""
        if self.latency is None:
            return smooth(times, keypoints, FALLBACK_FILTER, fill=len(times))
        sizes = np.maximum(sizes_so_far(xy), MIN_SIZE)
        return np.dstack([one_euro(times, xy, sizes), np.where(np.isnan(xy[..., 0]), 0, keypoints[..., 2])])

    def _denoised(self, times: np.ndarray, track: np.ndarray) -> np.ndarray:
        """Return x, y and spread (T, K, 3) of a track (T, K, 3)."""
        if self.latency is None:
            return on_even_grid(times, track, partial(denoise, self.network))
        step = float(np.median(np.diff(times)))
        # Insert the frames that the track leaves out, but no more than the window looks back.
        rows = np.append(0, np.clip(np.round(np.diff(times) / step), 1, MEMORY).astype(int).cumsum())
        dense = np.zeros((rows[-1] + 1, *track.shape[1:]))
        dense[rows] = track
        denoised: np.ndarray = denoise_live(self.network, dense, 1 / step, self.latency)[rows]
        return denoised


def on_even_grid(
    times: np.ndarray, track: np.ndarray, function: Callable[[np.ndarray, float], np.ndarray]
) -> np.ndarray:
    """Apply a function that needs a constant frame rate to a track with arbitrary times.

    Args:
        times: (T,) seconds, ascending, T at least 2.
        track: (T, K, 3) x, y and score; score 0 where there is no estimate.
        function: maps a track and its frames per second to values (T, K, C).

    Returns:
        (T, K, C), interpolated to ``times``.
    """
    step, grid = even_grid(times, EVEN_TOLERANCE)
    if grid is None:
        return function(track, 1 / step)
    valid = track[..., 2] > 0
    nearest = np.clip(np.searchsorted(times, grid - step / 2), 0, len(times) - 1)
    linear = partial(require("scipy.interpolate", "video", "tracks of uneven frames").make_interp_spline, k=1)
    even = linear(times, interpolated(times, track, valid))(grid)
    even[..., 2] *= valid[nearest]
    return np.asarray(linear(grid, function(even, 1 / step))(times))


def denoise(network: MotionNetwork, keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Denoise a track.

    Args:
        network: trained for K keypoints.
        keypoints: (T, K, 3) x, y in pixels and score, at a constant frame rate; score 0 where there is no estimate.
        fps: frames per second.

    Returns:
        (T, K, 3) float32 x, y and expected distance to the truth, in pixels.
    """
    return by_windows(keypoints, partial(denoise_windows, network, fps=fps))


def by_windows(
    keypoints: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    window: int = WINDOW,
    overlap: int = OVERLAP,
) -> np.ndarray:
    """Apply a function of windows to a track of any length, and cross-fade overlapping windows.

    Args:
        keypoints: (T, K, 3), score 0 where there is no estimate.
        function: maps windows (N, W, K, 3) to values (N, W, K, C).
        window: frames per window.
        overlap: frames that successive windows share.

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
    total, weights = np.zeros((t, *values.shape[2:])), np.zeros(t)
    for start, value in zip(starts.tolist(), values, strict=True):
        span = slice(start, start + len(weight))
        total[span] += (weight[:, None, None] * value)[: t - start]
        weights[span] += weight[: t - start]
    return (total / weights[:, None, None]).astype(np.float32)


def denoise_live(network: MotionNetwork, keypoints: np.ndarray, fps: float, latency: int = 0) -> np.ndarray:
    """Denoise as :func:`denoise`, each frame from earlier frames and ``latency`` later ones."""
    denoised = np.zeros(keypoints.shape, np.float32)
    padded = np.pad(keypoints, ((MEMORY - 1, latency), (0, 0), (0, 0)))
    for start in range(0, len(keypoints), BATCH_SIZE):
        rows = np.arange(start, min(start + BATCH_SIZE, len(keypoints)))
        windows = padded[rows[:, None] + latency + np.arange(MEMORY)]
        denoised[rows] = denoise_frame(network, windows, fps, np.full(len(rows), MEMORY - 1 - latency))
    return denoised


def denoise_frame(network: MotionNetwork, windows: np.ndarray, fps: float, frames: np.ndarray) -> np.ndarray:
    """Denoise one frame of each window: ``frames`` (N,) of windows (N, T, K, 3) to (N, K, 3) pixels."""
    rows = np.arange(len(windows))
    denoised, observed = denoise_windows(network, windows, fps)[rows, frames], windows[rows, frames]
    offset = observed[..., :2] - denoised[..., :2]
    closeness = 1 / (1 + (np.linalg.norm(offset, axis=-1) / (INPUT_DISTANCE * normalized(windows)[2][:, 0, :, 0])) ** 2)
    weight = INPUT_WEIGHT * np.maximum(closeness, np.minimum(observed[..., 2], 1))
    weight *= (observed[..., 2] > 0) & (frames == windows.shape[1] - 1)[:, None]
    denoised[..., :2] += weight[..., None] * offset
    return np.asarray(denoised)


def denoise_windows(network: MotionNetwork, windows: np.ndarray, fps: float) -> np.ndarray:
    """Denoise N windows (N, T, K, 3): (N, T, K, 3) pixels, as :func:`denoise`."""
    windows, centres, sizes = normalized(windows)
    pixels: np.ndarray = in_batches(network, windows, fps, BATCH_SIZE) * sizes
    pixels[..., :2] += centres
    return pixels


def in_batches(network: nn.Module, windows: np.ndarray, fps: float, batch_size: int) -> np.ndarray:
    """Run a network on normalised windows (N, T, K, 3): (N, T, K, D + 1) float32 positions and spreads."""
    rate = torch.full((len(windows),), float(np.clip(fps, MIN_FPS, MAX_FPS)))
    with torch.inference_mode():
        outputs = [network(batch, rate[: len(batch)]) for batch in torch.split(torch.from_numpy(windows), batch_size)]
        values = [torch.cat([output.keypoints, output.log_spread.exp()[..., None]], dim=-1) for output in outputs]
        return np.asarray(torch.cat(values).numpy())


def certainty(spread: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the expected similarity to the truth (KS) at a mean distance of ``spread``; OKS scale s k; both in pixels.

    For a Gaussian, whose variance along each axis is 2 / pi times the square of its mean distance.
    """
    return np.asarray(1 / (1 + 2 / np.pi * (spread / scale) ** 2))


def sizes_of(extents: np.ndarray) -> np.ndarray:
    """Return sizes of people (...), sqrt(area), from the width and height (..., 2) of their poses."""
    return np.asarray(np.sqrt(geometry.BOX_AREA_TO_AREA * extents.prod(-1)) + THIN_BOX * extents.max(-1))


def normalized(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre windows of tracks and scale them by the person's size, as the network's input.

    Args:
        windows: (N, T, K, 3) x, y, score; score 0 where there is no estimate.

    Returns:
        Windows (N, T, K, 3) float32, and their centres (N, 1, 1, 2) and sizes (N, 1, 1, 1) in pixels.
    """
    valid = np.greater(windows[..., 2], 0)
    positions = np.where(valid[..., None], windows[..., :2], np.nan)
    positions[~valid.any((1, 2))] = 0
    centres = np.nanmedian(positions, axis=(1, 2), keepdims=True)
    high = np.where(valid[..., None], positions, -np.inf).max(2)
    low = np.where(valid[..., None], positions, np.inf).min(2)
    extents = np.where(valid.any(2)[..., None], high - low, np.nan)  # (N, T, 2)
    extents[~valid.any((1, 2))] = 0
    sizes = np.nanmedian(sizes_of(extents), axis=1)
    sizes = np.maximum(sizes, MIN_SIZE)[:, None, None, None]
    scaled = np.where(valid[..., None], (windows[..., :2] - centres) / sizes, 0)
    scores = np.minimum(windows[..., 2:], 1)  # heatmap peaks and visibility flags can exceed 1
    return np.concatenate([scaled, scores], axis=-1).astype(np.float32), centres, sizes
