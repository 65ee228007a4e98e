"""Denoise whole tracks, window by window."""

from __future__ import annotations

import numpy as np
import torch

from posefix.motion.network import MotionNetwork

WINDOW, OVERLAP = 96, 32  # frames
TOGETHER = 16  # windows in a batch
BOX_SHARE = 0.515  # of a box that its person covers
SLOWEST, FASTEST = 10.0, 120.0  # frames a second, beyond which the network is told these


def denoise(
    network: MotionNetwork, keypoints: np.ndarray, fps: float, causal: bool = False, latency: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate where the keypoints of a track are.

    Args:
        network: trained for K keypoints.
        keypoints: (T, K, 3) x, y in pixels and score, in frames at even distances; score 0 where nothing is known.
        fps: frames a second.
        causal: use the past alone, and ``latency`` frames of the future.
        latency: frames.

    Returns:
        (T, K, 2) float32 pixels, and (T, K) float32 the mean distance that the truth is expected at, in pixels.
    """
    t, k = keypoints.shape[:2]
    starts = np.arange(0, max(t - OVERLAP, 1), WINDOW - OVERLAP)
    rows = np.minimum(starts[:, None] + np.arange(min(WINDOW, t)), t - 1)
    windows = keypoints[rows].astype(np.float32)
    windows[(starts[:, None] + np.arange(rows.shape[1])) >= t, :, 2] = 0
    centres, sizes = _frame_of(windows)
    windows[..., :2] = np.where(windows[..., 2:] > 0, (windows[..., :2] - centres) / sizes, 0)
    rate = torch.full((len(windows),), float(np.clip(fps, SLOWEST, FASTEST)))
    with torch.inference_mode():
        found = [
            network(part, rate[: len(part)], causal, latency if causal else None)
            for part in torch.from_numpy(windows).split(TOGETHER)
        ]
    places = np.concatenate([f.keypoints.numpy() for f in found]) * sizes + centres
    spreads = np.concatenate([f.log_spread.exp().numpy() for f in found]) * sizes[..., 0]
    # Windows are blended where they overlap; with the past alone, the earlier one, which has seen more of it, wins.
    edge = np.minimum(np.arange(rows.shape[1]) + 1, OVERLAP if not causal else 1) / OVERLAP
    weights = np.tile(edge if causal else np.minimum(edge, edge[::-1]), (len(rows), 1))
    if causal:
        weights[1:, :OVERLAP] = 1e-6
    total = np.zeros((t, k, 4))
    for row, weight, place, spread in zip(rows, weights, places, spreads, strict=True):
        stop = min(len(row), t - row[0])
        values = np.concatenate([place, spread[..., None], np.ones((*spread.shape, 1))], axis=-1)
        total[row[0] : row[0] + stop] += (weight[:, None, None] * values)[:stop]
    total[..., :3] /= total[..., 3:]
    return total[..., :2].astype(np.float32), total[..., 2].astype(np.float32)


def _frame_of(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, 1, 2) the middle of the given keypoints of N windows and (N, 1, 1, 1) the person's size, in pixels."""
    places = np.where(windows[..., 2:] > 0, windows[..., :2], np.nan)
    empty = ~np.isfinite(places[..., 0]).any((1, 2))
    places[empty] = 0
    centres = np.nanmedian(places, axis=(1, 2), keepdims=True)
    high = np.where(np.isfinite(places), places, -np.inf).max(2)
    low = np.where(np.isfinite(places), places, np.inf).min(2)
    extents = np.where(np.isfinite(high), high - low, np.nan)
    sizes = np.nanmedian(np.sqrt(BOX_SHARE * extents[..., 0] * extents[..., 1]) + 0.05 * np.nanmax(extents, -1), axis=1)
    return centres, np.maximum(np.nan_to_num(sizes, nan=1.0), 1e-3)[:, None, None, None]
