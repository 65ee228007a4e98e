"""Denoise whole tracks, window by window."""

from __future__ import annotations

import numpy as np
import torch

from posefix.motion.network import MotionNetwork

WINDOW, OVERLAP = 96, 32  # frames
TOGETHER = 16  # windows in a batch
BOX_SHARE, THIN = 0.515, 0.05  # of a box that its person covers; of its longer side, added for thin boxes
LEAST_SIZE = 1e-3  # px
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
    windows, centres, sizes = normalized(windows)
    rate = torch.full((len(windows),), float(np.clip(fps, SLOWEST, FASTEST)))
    with torch.inference_mode():
        found = [
            network(part, rate[: len(part)], causal, latency)
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


def normalized(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre windows of tracks and scale them by the person's size, as the network takes them.

    Args:
        windows: (N, T, K, 3) x, y, score; score 0 where nothing is known.

    Returns:
        (N, T, K, 3) float32, and what leads back: the (N, 1, 1, 2) centres and (N, 1, 1, 1) sizes, in pixels.
    """
    given = windows[..., 2] > 0
    places = np.where(given[..., None], windows[..., :2], np.nan)
    places[~given.any((1, 2))] = 0
    centres = np.nanmedian(places, axis=(1, 2), keepdims=True)
    high = np.where(given[..., None], places, -np.inf).max(2)
    low = np.where(given[..., None], places, np.inf).min(2)
    extents = np.where(given.any(2)[..., None], high - low, np.nan)  # (N, T, 2)
    extents[~given.any((1, 2))] = 0
    sizes = np.nanmedian(np.sqrt(BOX_SHARE * extents.prod(-1)) + THIN * extents.max(-1), axis=1)
    sizes = np.maximum(sizes, LEAST_SIZE)[:, None, None, None]
    scaled = np.where(given[..., None], (windows[..., :2] - centres) / sizes, 0)
    return np.concatenate([scaled, windows[..., 2:]], axis=-1).astype(np.float32), centres, sizes
