"""From backbone features to heatmaps at a quarter of the crop's size."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional


class DeconvHead(nn.Module):
    """Three 4x4 stride-2 transposed convolutions, then 1x1 to K maps (Xiao et al., ECCV 2018)."""

    def __init__(self, in_channels: int, channels: int, keypoint_count: int) -> None:
        super().__init__()
        convolutions = [
            nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
            for inputs in (in_channels, channels, channels)
        ]
        layers = [(c, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)) for c in convolutions]
        self.upsample = nn.Sequential(*itertools.chain(*layers))
        self.maps = nn.Conv2d(channels, keypoint_count, 1)
        for convolution in (*convolutions, self.maps):
            nn.init.normal_(convolution.weight, std=0.001)
        nn.init.zeros_(self.maps.get_parameter("bias"))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H/32, W/32) to (N, K, H/4, W/4)."""
        return self.maps(self.upsample(features))


class FPNHead(nn.Module):
    """A light feature pyramid (Lin et al., CVPR 2017) that meets the input pose again at its finest level.

    Coarse levels are brought up by nearest-neighbour doubling and separable convolutions; at stride 4 the rendered
    input pose is concatenated before the last two convolutions.
    """

    def __init__(self, in_channels: list[int], channels: int, keypoint_count: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(c, channels, 1) for c in in_channels])
        self.smooth = nn.ModuleList([_separable(channels, channels) for _ in in_channels[:-1]])
        self.fuse = nn.Sequential(_separable(channels + keypoint_count, channels), _separable(channels, channels))
        self.maps = nn.Conv2d(channels, keypoint_count, 1)
        nn.init.normal_(self.maps.weight, std=0.01)
        nn.init.zeros_(self.maps.get_parameter("bias"))

    def forward(self, features: list[torch.Tensor], poses: torch.Tensor) -> torch.Tensor:
        """Features from fine to coarse and poses (N, K, H/4, W/4) to (N, K, H/4, W/4)."""
        merged = self.lateral[-1](features[-1])
        for level in reversed(range(len(features) - 1)):
            finer = self.lateral[level](features[level])
            merged = functional.interpolate(merged, size=finer.shape[2:], mode="nearest")
            merged = self.smooth[level](merged + finer)
        return self.maps(self.fuse(torch.cat([merged, poses.to(merged.dtype)], dim=1)))


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
