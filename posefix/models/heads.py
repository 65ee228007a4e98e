"""What surrounds the backbone of PoseFix's network: the input pose as heatmaps before it, and the head behind it."""

from __future__ import annotations

import itertools

import torch
from torch import nn


def render_heatmaps(
    keypoints: torch.Tensor, amplitudes: torch.Tensor, size: tuple[int, int], sigma: float
) -> torch.Tensor:
    """Render one Gaussian per keypoint: ``a exp(-((x - x0)^2 + (y - y0)^2) / (2 sigma^2))``.

    A Gaussian is the product of a column and a row profile, so the whole batch is one outer product and nothing but the
    result has its size.

    Args:
        keypoints: (N, K, 2) float, pixels of the crop.
        amplitudes: (N, K) float, height of each peak; 0 leaves the map empty.
        size: (height, width) of the crop.
        sigma: standard deviation in pixels.

    Returns:
        (N, K, height, width) in the memory layout ``channels_last``, dtype and device of ``keypoints``.
    """
    y, x = (torch.arange(side, dtype=keypoints.dtype, device=keypoints.device)[:, None] for side in size)
    points = keypoints.transpose(1, 2)  # (N, 2, K)
    factor = -0.5 / sigma**2
    row = torch.exp(factor * (x - points[:, None, 0]).square())  # (N, width, K)
    column = torch.exp(factor * (y - points[:, None, 1]).square()) * amplitudes[:, None]
    return (column[:, :, None] * row[:, None]).permute(0, 3, 1, 2)


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
