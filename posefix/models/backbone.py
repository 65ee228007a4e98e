"""Backbones from timm, widened to take the input pose beside the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from posefix.core.errors import InputError
from posefix.models._timm import timm
from posefix.models.config import ModelConfig

NEW_CHANNEL_STD = 0.01  # of the first convolution's weights for the pose channels, relative to those for the image
STRIDES = [4, 8, 16, 32]  # of the features, in pixels of the crop


def create_backbone(config: ModelConfig, in_channels: int, pretrained: bool = True) -> nn.Module:
    """Create a timm network that gives its features at strides 4, 8, 16 and 32.

    ``config.pretrained`` names its first weights: ``null`` from scratch; ``imagenet`` through timm (which downloads
    them); anything else a local timm state dict (safetensors, or a ``.pth`` read with ``weights_only``). With
    weights, the channels of the input pose start near zero, so that the network starts as the one that was trained.

    Raises:
        InputError: for an unknown or unsuitable backbone, or weights that cannot be had or do not fit.
    """
    if not timm.is_model(config.backbone):
        raise InputError(f"timm knows no backbone {config.backbone!r:.80}; see timm.list_models()")
    options: dict[str, Any] = {"features_only": True}
    if config.pad_type:
        options["pad_type"] = config.pad_type
    reductions = _create(config.backbone, **options).feature_info.reduction()
    options["out_indices"] = [i for i, stride in enumerate(reductions) if 4 <= stride <= 32]
    if [reductions[i] for i in options["out_indices"]] != STRIDES:
        raise InputError(f"backbone {config.backbone!r} has features at strides {reductions}, needed are {STRIDES}")
    backbone = _create(config.backbone, in_chans=in_channels, **options)
    if pretrained and config.pretrained:
        weights = _image_weights(config.pretrained, config.backbone, options)
        expected = backbone.state_dict()
        _widen_first_convolution(weights, expected)
        fitting = {k: v for k, v in weights.items() if k in expected and expected[k].shape == v.shape}
        if missing := sorted(set(expected) - set(fitting)):
            raise InputError(f"{config.pretrained}: weights do not fit {config.backbone}; {missing[0]} is missing")
        backbone.load_state_dict(fitting)
    return backbone


def _create(name: str, **options: Any) -> Any:
    try:
        return timm.create_model(name, pretrained=False, **options)
    except Exception as error:  # timm's networks raise whatever they stumble upon
        raise InputError(
            f"timm cannot build backbone {name!r:.80} with {options} ({type(error).__name__}: {error!s:.200})"
        ) from None


def _image_weights(source: str, name: str, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    if source == "imagenet":
        try:
            return timm.create_model(name, pretrained=True, **options).state_dict()
        except Exception as error:  # timm and its hub client raise many kinds for "not to be had"
            raise InputError(
                f"ImageNet weights of {name} cannot be had ({type(error).__name__}); "
                "give a local state dict as model.pretrained, or null to start from scratch"
            ) from None
    try:
        if Path(source).suffix == ".safetensors":
            return load_file(source)
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file makes it stumble upon
        raise InputError(f"{source}: not a readable, plain state dict ({type(error).__name__})") from None


def _widen_first_convolution(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Replace the first convolution's weight in ``weights`` by one that takes the pose channels too."""
    name, wide = next((k, v) for k, v in expected.items() if v.ndim == 4)
    image = weights.get(name)
    if image is not None and image.shape == (wide.shape[0], 3, *wide.shape[2:]):
        weights[name] = torch.randn(wide.shape) * image.std() * NEW_CHANNEL_STD
        weights[name][:, :3] = image
