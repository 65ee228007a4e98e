"""Heads that predict the depth of keypoints, with coarse-to-fine volumes after Pavlakos et al. (CVPR 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

K, MAP_CHANNELS, WIDTH, DILATIONS = 17, 41, 64, (1, 2, 4, 8)  # keypoints; channels of MoveNet's maps, and of a stage
GRID, BINS = (32, 24), 64  # cells; depth bins
SIGMA_CELLS, SIGMA_BINS = 1.0, 2.0  # standard deviations of targets: cells, bins


def convolutions(inputs: int, dilations: Sequence[int]) -> nn.Module:
    """Stack 3 x 3 convolutions with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for dilation in dilations:
        layers += [nn.Conv2d(inputs, WIDTH, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(WIDTH)]
        layers, inputs = [*layers, nn.ReLU()], WIDTH
    return nn.Sequential(*layers)


def near(centres: Tensor, count: int, sigma: float) -> Tensor:
    """Return (..., count) Gaussians of height 1 around centres (...)."""
    return torch.exp(-0.5 * ((torch.arange(count) - centres[..., None]) / sigma).square())


def overlap(volumes: Tensor, positions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, K) sums of volumes (N, K, D, h, w) times Gaussians around the truth, and of these Gaussians.

    The Gaussians stay factorised.
    """
    along = F.adaptive_max_pool1d(near(depths, BINS, SIGMA_BINS), volumes.shape[2])
    down, right = near(positions[..., 1], GRID[0], SIGMA_CELLS), near(positions[..., 0], GRID[1], SIGMA_CELLS)
    total = along.sum(-1) * down.sum(-1) * right.sum(-1)
    rows = torch.einsum("nkdhw,nkw->nkdh", volumes, right.to(volumes.dtype))
    return torch.einsum("nkdh,nkd,nkh->nk", rows.float(), along, down), total


class Head(nn.Module):
    """A volume per keypoint and stage, ``slices`` deep; features and volumes are fused before the next stage.

    ``depth`` is that of the highest voxel, learned by ``squares``; or the last volume is computed only in one column,
    at the ``peak`` of the previous, flat one; or it is a number per keypoint, by ``regression`` from features of the
    whole crop.
    """

    def __init__(self, slices: Sequence[int], depth: Literal["squares", "peak", "regression"]) -> None:
        super().__init__()
        self.depth, self.stem = depth, convolutions(MAP_CHANNELS + K, [1])
        self.stages = nn.ModuleList(convolutions(WIDTH, DILATIONS) for _ in slices)
        self.volumes = nn.ModuleList(nn.Conv2d(WIDTH, K * d, 1) for d in slices)
        for layer in self.volumes:
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
        self.fuse = nn.ModuleList(nn.Conv2d(WIDTH + K * d, WIDTH, 1) for d in slices[:-1])
        self.column = nn.Conv2d(WIDTH, K * BINS, 1)
        self.pooled = nn.Sequential(
            nn.Conv2d(WIDTH, 32, 4, 4), nn.Flatten(), nn.ReLU(), nn.Linear(2 * math.prod(GRID), K)
        )

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map (N, 58, h, w) to the stages' volumes (N, K, D, h, w), and depth: (N, K, D) logits or (N, K) numbers."""
        x, volumes = self.stem(x), []
        for i, (stage, volume) in enumerate(zip(self.stages, self.volumes, strict=True)):
            features = stage(x)
            volumes.append(volume(features))
            if i < len(self.fuse):
                x = x + self.fuse[i](torch.cat([features, volumes[-1]], 1))
        volumes = [volume.unflatten(1, (K, -1)) for volume in volumes]
        if self.depth == "squares":
            peaks = volumes[-1].amax((3, 4)).relu()
            return volumes, (peaks + 1e-6).log().masked_fill(near(peaks.argmax(-1), BINS, SIGMA_BINS) < 0.5, -math.inf)
        if self.depth == "regression":
            return volumes, self.pooled(features)
        peak = volumes[-1].flatten(2).argmax(-1)[:, None].expand(-1, WIDTH, -1)
        peak_features = features.flatten(2).gather(2, peak)
        column = torch.einsum("nck,kdc->nkd", peak_features, self.column.weight.view(K, BINS, WIDTH))
        return volumes, column + self.column.bias.view(K, BINS)

    def bins(self, output: Tensor) -> Tensor:
        """Convert depth outputs to (N, K) depth bins."""
        return output * BINS / 4 + BINS / 2 if output.dim() == 2 else output.softmax(-1) @ torch.arange(BINS).float()

    def loss(self, volumes: list[Tensor], output: Tensor, positions: Tensor, bins: Tensor) -> Tensor:
        """Return the loss (N, K), summed over all stages."""
        loss = torch.zeros_like(bins)
        for volume in volumes:
            hit, total = overlap(volume, positions, bins)
            if self.depth == "squares":
                loss = loss + volume.square().sum((2, 3, 4)) - 2 * hit
            else:
                loss = loss + volume.flatten(2).logsumexp(-1) - hit / total.clamp(min=0.1)
        if self.depth == "peak":
            loss = loss - ((1 - (torch.arange(BINS) - bins[..., None]).abs()).relu() * output.log_softmax(-1)).sum(-1)
        return loss if self.depth == "squares" else loss + (self.bins(output) - bins).abs()


HEADS: dict[str, Callable[[], Head]] = {
    "64 slices at once": lambda: Head([64], "squares"),
    "1, 64": lambda: Head([1, 64], "squares"),
    "1, 2, 4, 64": lambda: Head([1, 2, 4, 64], "squares"),
    "distribution at the 2D peak": lambda: Head([1], "peak"),
    "regression": lambda: Head([1], "regression"),
    "distribution, without the image": lambda: Head([1], "peak"),
}
