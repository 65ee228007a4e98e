"""Input poses as one Gaussian map per keypoint, rendered where the network runs."""

from __future__ import annotations

import torch


def render_heatmaps(
    keypoints: torch.Tensor,
    amplitudes: torch.Tensor,
    size: tuple[int, int],
    sigma: float,
    stride: float | tuple[float, float] = 1.0,
    channels_last: bool = False,
) -> torch.Tensor:
    """Render one Gaussian per keypoint: ``a exp(-((x - x0)^2 + (y - y0)^2) / (2 sigma^2))``.

    A Gaussian is the product of a column and a row profile, so the whole batch is one outer product and nothing but the
    result has its size.

    Args:
        keypoints: (N, K, 2) float, pixels of the crop.
        amplitudes: (N, K) float, height of each peak; 0 leaves the map empty.
        size: (height, width) of the maps.
        sigma: standard deviation in pixels of the crop.
        stride: crop pixels between neighbouring map pixels, one number or (y, x).
        channels_last: how the result lies in memory; convolutions of that layout need it.

    Returns:
        (N, K, height, width), dtype and device of ``keypoints``.
    """
    height, width = size
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    x = torch.arange(width, dtype=keypoints.dtype, device=keypoints.device) * stride_x
    y = torch.arange(height, dtype=keypoints.dtype, device=keypoints.device) * stride_y
    factor = -0.5 / sigma**2
    row = torch.exp(factor * (x - keypoints[..., 0:1]).square())
    column = torch.exp(factor * (y - keypoints[..., 1:2]).square()) * amplitudes[..., None]
    if channels_last:
        column, row = column.transpose(1, 2).contiguous(), row.transpose(1, 2).contiguous()
        return (column[:, :, None] * row[:, None]).permute(0, 3, 1, 2)
    return column[..., :, None] * row[..., None, :]
