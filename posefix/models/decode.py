"""Convert heatmaps to coordinates and back, without bias.

Heatmap pixel (i, j) lies at crop pixel (i (H-1)/(h-1), j (W-1)/(w-1)): corners fall on corners (unbiased data
processing, Huang et al., CVPR 2020), so that flipping the heatmap flips the crop.

All functions take ``probabilities`` (summing to 1 over each map), ``logits`` and other ``maps`` as (N, K, h, w);
``keypoints`` (N, K, 2) x, y and OKS ``scales`` s k_j (N, K) in pixels of the crop; and sizes as (height, width).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

MIN_SCALE = 1.5  # heatmap pixels; smaller scales would snap the maximum to the nearest pixel (0.4 px off at 0.75)


def map_stride(crop_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[float, float]:
    """Return the distance of neighbouring heatmap pixels in crop pixels, (y, x)."""
    return (crop_size[0] - 1) / (map_size[0] - 1), (crop_size[1] - 1) / (map_size[1] - 1)


def spatial_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Convert logits to float32 probabilities that sum to 1 over each map."""
    return functional.softmax(logits.float().flatten(2), dim=2).view(logits.shape)


def soft_argmax(probabilities: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Return the expected position (N, K, 2) of each map, in pixels of the crop (Sun et al., ECCV 2018)."""
    h, w = probabilities.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))
    x = probabilities.sum(2) @ torch.arange(w, dtype=probabilities.dtype, device=probabilities.device)
    y = probabilities.sum(3) @ torch.arange(h, dtype=probabilities.dtype, device=probabilities.device)
    return torch.stack([x * stride_x, y * stride_y], dim=-1)


def bilinear_one_hot(
    keypoints: torch.Tensor, map_size: tuple[int, int], crop_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distribution over four neighbouring pixels whose expectation is the keypoint.

    Returns:
        indices (N, K, 4) int64 into the flattened map and weights (N, K, 4) that sum to 1. Points outside are clamped
        to the border; mask them with :func:`inside`.
    """
    h, w = map_size
    stride_y, stride_x = map_stride(crop_size, map_size)
    x = (keypoints[..., 0] / stride_x).clamp(0, w - 1)
    y = (keypoints[..., 1] / stride_y).clamp(0, h - 1)
    x0, y0 = x.floor().clamp(max=w - 2), y.floor().clamp(max=h - 2)
    fx, fy = x - x0, y - y0
    top_left = (y0 * w + x0).long()
    indices = torch.stack([top_left, top_left + 1, top_left + w, top_left + w + 1], dim=-1)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
    return indices, weights


def inside(keypoints: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Mask (N, K) bool of the keypoints inside the crop."""
    limit = torch.tensor([crop_size[1] - 1, crop_size[0] - 1], device=keypoints.device)
    return ((keypoints >= 0) & (keypoints <= limit)).all(-1)


def flip_maps(maps: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror maps and exchange left and right keypoints by ``flip`` (K,); its own inverse."""
    return maps[:, flip].flip(3)


def expected_similarity(probabilities: torch.Tensor, scales: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Compute the expected keypoint similarity at each heatmap pixel under the posterior.

    ``E[KS(c)] = sum_y p(y) exp(-|c - y|^2 / (2 (s k_j)^2))``, a separable Gaussian blur of the posterior whose sigma is
    the keypoint's OKS scale.
    """
    h, w = probabilities.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))

    def kernel(count: int, stride: float) -> torch.Tensor:
        position = torch.arange(count, device=probabilities.device)
        profile = torch.exp(-0.5 * (position * stride).square() / scales[..., None].square())  # indexed by distance
        return profile[..., (position[:, None] - position).abs()]

    return kernel(h, stride_y) @ probabilities @ kernel(w, stride_x)


def subpixel_argmax(maps: torch.Tensor, crop_size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the maximum of each map, refined by a parabola through the logarithm of three neighbouring pixels.

    Exact for a Gaussian with its peak inside the map, borders included. ``maps`` must not be negative.

    Returns:
        positions (N, K, 2) x, y in pixels of the crop, and values (N, K) of the highest pixels.
    """
    h, w = maps.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))
    values, row = maps.amax(3).max(2)  # two steps: an argmax over the flattened map is slow in all engines
    along_x = maps.gather(2, row[..., None, None].expand(-1, -1, 1, w))[:, :, 0]
    column = along_x.argmax(2)

    def vertex(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        line = values.clamp(min=torch.finfo(values.dtype).tiny).log()
        middle = index.clamp(1, line.shape[2] - 2)
        left, centre, right = (line.gather(2, (middle + d)[..., None])[..., 0] for d in (-1, 0, 1))
        curvature = left - 2 * centre + right
        offset = 0.5 * (left - right) / torch.where(curvature < 0, curvature, -torch.ones_like(curvature))
        offset = torch.where(curvature < 0, offset, (index - middle).to(offset.dtype))
        return (middle + offset).clamp(index - 0.5, index + 0.5).clamp(0, line.shape[2] - 1)

    along_y = maps.gather(3, column[..., None, None].expand(-1, -1, h, 1))[..., 0]
    return torch.stack([vertex(along_x, column) * stride_x, vertex(along_y, row) * stride_y], dim=-1), values


def sample_maps(maps: torch.Tensor, keypoints: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Sample each map at its keypoint bilinearly, (N, K); 0 outside."""
    indices, weights = bilinear_one_hot(keypoints, (maps.shape[2], maps.shape[3]), crop_size)
    values = (maps.flatten(2).gather(2, indices) * weights).sum(-1)
    return values * inside(keypoints, crop_size)


class Decoded(NamedTuple):
    """Positions with the highest expected OKS."""

    positions: torch.Tensor  # (N, K, 2) pixels of the crop
    similarity: torch.Tensor  # (N, K) expected keypoint similarity at the positions
    input_similarity: torch.Tensor  # (N, K) expected keypoint similarity of the input; NaN outside the crop


def expected_oks_decode(
    probabilities: torch.Tensor, scales: torch.Tensor, crop_size: tuple[int, int], keypoints: torch.Tensor
) -> Decoded:
    """Find the positions that maximise the expected OKS.

    OKS is a mean of keypoint similarities, so the maximum of :func:`expected_similarity` is optimal for a given
    posterior. Its expectation (:func:`soft_argmax`) would fall between the modes of a bimodal posterior.

    ``keypoints`` are the input pose. Scales are clamped to at least ``MIN_SCALE``, since a posterior sampled at
    pixels has its modes there.
    """
    stride = max(map_stride(crop_size, (probabilities.shape[2], probabilities.shape[3])))
    similarity = expected_similarity(probabilities, scales.clamp(min=MIN_SCALE * stride), crop_size)
    positions, value = subpixel_argmax(similarity, crop_size)
    input_similarity = sample_maps(similarity, keypoints, crop_size)
    return Decoded(positions, value, input_similarity.masked_fill(~inside(keypoints, crop_size), float("nan")))


def move_or_stay(
    decoded: Decoded, keypoints: torch.Tensor, valid: torch.Tensor, margin: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the input keypoints whose expected similarity grows by more than ``margin``.

    Keypoints without an input (``valid`` (N, K) bool is False) take the decoded position. Inputs outside the crop stay:
    the network cannot see them. (On held-out images the truth of such keypoints was mostly outside as well.)

    Returns:
        keypoints (N, K, 2) in pixels of the crop and their expected similarity (N, K), NaN outside the crop.
    """
    outside = decoded.input_similarity.isnan()
    stay = valid & (outside | (decoded.similarity - decoded.input_similarity <= margin))
    positions = torch.where(stay[..., None], keypoints, decoded.positions)
    return positions, torch.where(stay, decoded.input_similarity, decoded.similarity)
