"""From a network's heatmaps to coordinates, and back: all in pixels of the crop, without bias.

Heatmap pixel (i, j) lies at crop pixel (i (H-1)/(h-1), j (W-1)/(w-1)): corners fall on corners (unbiased data
processing, Huang et al., CVPR 2020), so that a flip of the heatmap is a flip of the crop.

All functions take ``probabilities``, ``logits`` or other ``maps`` as (N, K, h, w), probabilities summing to 1 over each
map; ``keypoints`` (N, K, 2) x, y and OKS ``scales`` s k_j (N, K) in pixels of the crop; and sizes as (height, width).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

LEAST_SCALE = 1.5  # heatmap pixels; below, the best position is drawn to the nearest pixel (0.4 px off at 0.75)


def map_stride(crop_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[float, float]:
    """Crop pixels between neighbouring heatmap pixels, (y, x)."""
    return (crop_size[0] - 1) / (map_size[0] - 1), (crop_size[1] - 1) / (map_size[1] - 1)


def spatial_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Logits (N, K, h, w) to probabilities over each map, float32, each summing to 1."""
    return functional.softmax(logits.float().flatten(2), dim=2).view(logits.shape)


def soft_argmax(probabilities: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Expected position (N, K, 2) of each map, in pixels of the crop (Sun et al., ECCV 2018)."""
    h, w = probabilities.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))
    x = probabilities.sum(2) @ torch.arange(w, dtype=probabilities.dtype, device=probabilities.device)
    y = probabilities.sum(3) @ torch.arange(h, dtype=probabilities.dtype, device=probabilities.device)
    return torch.stack([x * stride_x, y * stride_y], dim=-1)


def bilinear_one_hot(
    keypoints: torch.Tensor, map_size: tuple[int, int], crop_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The distribution over four neighbouring pixels whose expectation is the keypoint.

    Returns:
        indices (N, K, 4) int64 into the flattened map and weights (N, K, 4) that sum to 1. Points outside are moved to
        the border; mask them with :func:`inside`.
    """
    h, w = map_size
    stride_y, stride_x = map_stride(crop_size, map_size)
    x = (keypoints[..., 0] / stride_x).clamp(0, w - 1)
    y = (keypoints[..., 1] / stride_y).clamp(0, h - 1)
    x0, y0 = x.floor().clamp(max=w - 2), y.floor().clamp(max=h - 2)
    fx, fy = x - x0, y - y0
    first = (y0 * w + x0).long()
    indices = torch.stack([first, first + 1, first + w, first + w + 1], dim=-1)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
    return indices, weights


def inside(keypoints: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """(N, K) bool: keypoints that lie in the crop."""
    limit = torch.tensor([crop_size[1] - 1, crop_size[0] - 1], device=keypoints.device)
    return ((keypoints >= 0) & (keypoints <= limit)).all(-1)


def flip_maps(maps: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror maps (N, K, h, w) and exchange left and right keypoints by ``flip`` (K,); its own inverse."""
    return maps[:, flip].flip(3)


def expected_similarity(probabilities: torch.Tensor, scales: torch.Tensor, crop_size: tuple[int, int]) -> torch.Tensor:
    """Expected keypoint similarity of every heatmap pixel under the network's posterior.

    ``E[KS(c)] = sum_y p(y) exp(-|c - y|^2 / (2 (s k_j)^2))``: a Gaussian blur of the posterior, separable, whose width
    is the keypoint's OKS scale.
    """
    h, w = probabilities.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))

    def kernel(count: int, stride: float) -> torch.Tensor:
        position = torch.arange(count, device=probabilities.device)
        profile = torch.exp(-0.5 * (position * stride).square() / scales[..., None].square())  # of each distance
        return profile[..., (position[:, None] - position).abs()]

    return kernel(h, stride_y) @ probabilities @ kernel(w, stride_x)


def subpixel_argmax(maps: torch.Tensor, crop_size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Highest point of each map, between pixels by the parabola through the logarithm of three neighbours.

    Exact for a Gaussian wherever its peak lies inside the map, borders included. ``maps`` must not be negative.

    Returns:
        positions (N, K, 2) x, y in pixels of the crop, and values (N, K) of the highest pixels.
    """
    h, w = maps.shape[2:]
    stride_y, stride_x = map_stride(crop_size, (h, w))
    values, row = maps.amax(3).max(2)  # of the rows first: no engine is quick at finding one of thousands
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
    """Bilinear value (N, K) of each map at a keypoint; 0 outside."""
    indices, weights = bilinear_one_hot(keypoints, (maps.shape[2], maps.shape[3]), crop_size)
    values = (maps.flatten(2).gather(2, indices) * weights).sum(-1)
    return values * inside(keypoints, crop_size)


class Decoded(NamedTuple):
    """Where expected OKS is highest."""

    positions: torch.Tensor  # (N, K, 2) pixels of the crop
    similarity: torch.Tensor  # (N, K) expected keypoint similarity there
    input_similarity: torch.Tensor  # (N, K) that of the input keypoints; NaN outside the crop


def expected_oks_decode(
    probabilities: torch.Tensor, scales: torch.Tensor, crop_size: tuple[int, int], keypoints: torch.Tensor
) -> Decoded:
    """Find the positions that maximise the expected OKS.

    OKS is a mean of keypoint similarities, so the maximum of :func:`expected_similarity` is the best answer that a
    posterior allows; its expectation (:func:`soft_argmax`) falls between two candidates instead, where neither is.

    Scales count as at least ``LEAST_SCALE``, since a posterior that is known at pixels alone has its modes there,
    wherever between them it means. ``keypoints`` are the input pose.
    """
    stride = max(map_stride(crop_size, (probabilities.shape[2], probabilities.shape[3])))
    similarity = expected_similarity(probabilities, scales.clamp(min=LEAST_SCALE * stride), crop_size)
    positions, best = subpixel_argmax(similarity, crop_size)
    own = sample_maps(similarity, keypoints, crop_size)
    return Decoded(positions, best, own.masked_fill(~inside(keypoints, crop_size), float("nan")))


def move_or_stay(
    decoded: Decoded, keypoints: torch.Tensor, present: torch.Tensor, margin: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the keypoints of an input pose where similarity is expected to grow by more than ``margin``.

    Where none is ``present`` (N, K), the position that was found is taken. An input outside the crop stays: the network
    knows nothing there. (On images held out of training the truth of such keypoints was mostly outside as well.)

    Returns:
        (N, K, 2) pixels of the crop, and the (N, K) similarity that is expected there, NaN outside the crop.
    """
    outside = decoded.input_similarity.isnan()
    stay = present & (outside | (decoded.similarity - decoded.input_similarity <= margin))
    positions = torch.where(stay[..., None], keypoints, decoded.positions)
    return positions, torch.where(stay, decoded.input_similarity, decoded.similarity)
