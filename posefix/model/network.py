"""The refiner's network: backbone over image and input pose, upsampling head, one heatmap per keypoint."""

from __future__ import annotations

import math

import torch
from torch import nn

from posefix.config import ModelConfig
from posefix.model import decode
from posefix.model.backbone import create_backbone
from posefix.model.heads import DeconvHead, FPNHead
from synth.heatmaps import render_heatmaps


class RefinerNetwork(nn.Module):
    """Image crop plus input pose to corrected heatmaps.

    The input pose enters as K extra channels of the first convolution (PoseFix, CVPR 2019, section 4) and, with the
    ``fpn`` head, once more at the head's finest level, where it need not survive the backbone's downsampling.

    Args:
        config: sizes and choices; see :class:`posefix.config.ModelConfig`.
        keypoint_count: K.
        pretrained: whether to start from ``config.pretrained``; False when a checkpoint is loaded anyway.
    """

    def __init__(self, config: ModelConfig, keypoint_count: int, pretrained: bool = True) -> None:
        super().__init__()
        self.config = config
        self.keypoint_count = keypoint_count
        self.backbone = create_backbone(config, 3 + keypoint_count, pretrained)
        channels, strides = self.backbone.feature_info.channels(), self.backbone.feature_info.reduction()
        if config.head == "deconv":
            self.head: nn.Module = DeconvHead(channels[-1], config.head_channels, keypoint_count, strides[-1])
        else:
            self.head = FPNHead(channels, config.head_channels, keypoint_count, pose_channels=keypoint_count)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (config.mean, config.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(h, w) of the output heatmaps: a quarter of the crop."""
        return math.ceil(self.config.input_size[0] / 4), math.ceil(self.config.input_size[1] / 4)

    def forward(self, crops: torch.Tensor, keypoints: torch.Tensor, amplitudes: torch.Tensor) -> torch.Tensor:
        """Refine a batch.

        Args:
            crops: (N, 3, H, W) uint8 or float in [0, 255], RGB.
            keypoints: (N, K, 2) float32 input pose in pixels of the crop.
            amplitudes: (N, K) float32, height of each input Gaussian; 0 says that there is no input.

        Returns:
            (N, K, H/4, W/4) logits of the spatial softmax.
        """
        height, width = self.config.input_size
        if tuple(crops.shape[1:]) != (3, height, width) or keypoints.shape[1:] != (self.keypoint_count, 2):
            raise ValueError(
                f"expected crops (N, 3, {height}, {width}) and keypoints (N, {self.keypoint_count}, 2), "
                f"got {tuple(crops.shape)} and {tuple(keypoints.shape)}"
            )
        sigma = self.config.sigma
        channels_last = self.config.channels_last
        poses = render_heatmaps(keypoints, amplitudes, (height, width), sigma, channels_last=channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        image = (crops.to(poses.dtype).contiguous(memory_format=layout) - self.mean) / self.std
        features = self.backbone(torch.cat([image, poses], dim=1))
        if isinstance(self.head, DeconvHead):
            return self.head(features[-1])
        stride = decode.map_stride((height, width), self.heatmap_size)
        return self.head(
            features, render_heatmaps(keypoints, amplitudes, self.heatmap_size, sigma, stride, channels_last)
        )
