"""Parts of PoseFix's network: input pose as heatmaps, timm backbone, deconvolution head."""

from __future__ import annotations

import itertools
import sys
from functools import cache
from typing import Any

import torch
from torch import nn

from posefix.core.errors import InputError, require
from posefix.models.weights import read_weights, resolve

NEW_CHANNEL_STD = 0.01  # std of the initial weights of the pose channels, relative to the image channels
STRIDE = 32  # of the last backbone features, in crop pixels


@cache
def import_timm() -> Any:
    """Import timm on first use: it takes seconds, and MoveNet does not need it.

    PyPI's torchvision is built against CUDA, so next to a CPU-only torch neither it nor timm can be imported. timm's
    networks use none of its operators: declaring the two that torchvision registers on import is enough.

    Raises:
        InputError: when timm is not installed.
    """
    try:
        return require("timm", "train", "this backbone")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return require("timm", "train", "this backbone")


def create_backbone(name: str, in_channels: int) -> Any:
    """Create a timm feature extractor with random weights; InputError unless its last features have stride 32."""
    timm = import_timm()
    if not timm.is_model(name):
        raise InputError(f"timm knows no backbone {name!r:.80}; see timm.list_models()")
    try:
        backbone = timm.create_model(name, features_only=True, in_chans=in_channels)
    except Exception as error:  # timm's constructors raise arbitrary exceptions
        raise InputError(f"timm cannot build backbone {name!r:.80} ({type(error).__name__}: {error!s:.200})") from None
    strides = backbone.feature_info.reduction()
    if strides[-1] != STRIDE:
        raise InputError(f"backbone {name!r} has features at strides {strides}, but the last must be {STRIDE}")
    return backbone


def load_pretrained(backbone: nn.Module, name: str, source: str) -> None:
    """Initialise a backbone with pretrained weights.

    The weights of the pose channels start near zero, so that the network first behaves like the pretrained one.

    Args:
        backbone: a MoveNet or a timm network.
        name: of the backbone.
        source: ``imagenet`` to download timm's weights; or a checkpoint of this package, by path or shipped name; or
            the path of a safetensors file with a timm state dict.

    Raises:
        InputError: when the weights cannot be loaded or do not fit.
    """
    if source == "imagenet":
        try:
            weights = import_timm().create_model(name, features_only=True, pretrained=True).state_dict()
        except Exception as error:  # timm and its hub client raise many types if the download fails
            raise InputError(
                f"ImageNet weights of {name} cannot be loaded ({type(error).__name__}); "
                "give a safetensors file as model.pretrained, or null to start from scratch"
            ) from None
    else:
        weights, _ = read_weights(resolve(source))
        weights = {key.removeprefix("backbone."): value for key, value in weights.items()}
    expected = backbone.state_dict()
    _widen_first_convolution(weights, expected)
    matching = {k: v for k, v in weights.items() if k in expected and expected[k].shape == v.shape}
    if missing := sorted(set(expected) - set(matching)):
        raise InputError(f"{source}: weights do not fit {name}; {missing[0]} is missing")
    backbone.load_state_dict(matching)


def load_pretrained_head(head: nn.Module, source: str) -> None:
    """Initialise a head with that of a checkpoint, by path or shipped name; InputError when it does not fit."""
    weights, _ = read_weights(resolve(source))
    try:
        head.load_state_dict({k.removeprefix("head."): v for k, v in weights.items() if k.startswith("head.")})
    except RuntimeError:
        raise InputError(f"{source}: has no head that fits this configuration; see model.pretrained_head") from None


def _widen_first_convolution(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Add pose channels to the first convolution's weight in ``weights``."""
    name, wide = next((k, v) for k, v in expected.items() if v.ndim == 4)
    image = weights.get(name)
    if image is not None and wide.shape[1] > 3 and image.shape == (wide.shape[0], 3, *wide.shape[2:]):
        weights[name] = torch.randn(wide.shape) * image.std() * NEW_CHANNEL_STD
        weights[name][:, :3] = image


def render_heatmaps(
    keypoints: torch.Tensor, amplitudes: torch.Tensor, size: tuple[int, int], sigma: float
) -> torch.Tensor:
    """Render one Gaussian per keypoint: ``a exp(-((x - x0)^2 + (y - y0)^2) / (2 sigma^2))``.

    Args:
        keypoints: (N, K, 2) float, pixels of the crop.
        amplitudes: (N, K) float, height of each peak; 0 leaves the map empty.
        size: (height, width) of the crop.
        sigma: standard deviation in pixels.

    Returns:
        (N, K, height, width), in ``channels_last`` layout, with the dtype and device of ``keypoints``.
    """
    y, x = (torch.arange(side, dtype=keypoints.dtype, device=keypoints.device)[:, None] for side in size)
    points = keypoints.transpose(1, 2)  # (N, 2, K)
    factor = -0.5 / sigma**2
    row = torch.exp(factor * (x - points[:, None, 0]).square())  # (N, width, K)
    column = torch.exp(factor * (y - points[:, None, 1]).square()) * amplitudes[:, None]
    return (column[:, :, None] * row[:, None]).permute(0, 3, 1, 2)


class DeconvHead(nn.Module):
    """Three 4x4 stride-2 transposed convolutions, then a 1x1 convolution to K maps (Xiao et al., ECCV 2018)."""

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
        """Map features (N, C, H/32, W/32) to heatmap logits (N, K, H/4, W/4)."""
        maps: torch.Tensor = self.maps(self.upsample(features))
        return maps
