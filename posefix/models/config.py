"""The configuration of a network: all that must be known to build and run it."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from posefix.core.options import StrictModel

MOVENETS = ("movenet_lightning", "movenet_thunder")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ModelConfig(StrictModel):
    """The network.

    ``head`` says how the input pose meets the image: ``fusion`` after a whole MoveNet (``backbone`` is
    ``movenet_thunder`` or ``movenet_lightning``, ``pretrained`` its ONNX file); ``deconv`` and ``fpn`` in the first
    convolution, as Gaussians of standard deviation ``sigma`` in crop pixels, before any backbone of timm's
    (``pretrained``: see ``posefix.models.backbone``). ``box_padding`` is how much wider than the person's box the crop
    is. A keypoint moves only where its expected similarity to the truth (KS) grows by more than ``keep_margin``.
    """

    backbone: str = "resnet50"
    pretrained: str | None = None
    pad_type: Literal["", "same"] = ""
    head: Literal["deconv", "fpn", "fusion"] = "deconv"
    head_channels: int = Field(default=256, ge=1)
    input_size: tuple[int, int] = (256, 192)
    sigma: float = Field(default=7.0, gt=0)
    box_padding: float = Field(default=1.25, gt=0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels_last: bool = True
    keep_margin: float = Field(default=0.0, ge=0, le=1)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frame: the crop, or what lies between the middles of MoveNet's outermost cells."""
        height, width = self.input_size
        return (height - 3, width - 3) if self.head == "fusion" else (height, width)

    @property
    def frame_margin(self) -> float:
        """Pixels by which the frame begins inside the crop: half the way from a cell's first pixel to its last."""
        return 1.5 if self.head == "fusion" else 0.0

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and features lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        unit = 16 if self.head == "fpn" else 32
        if any(side < 32 or side % unit for side in self.input_size):
            raise ValueError(f"input_size must be multiples of {unit}, at least 32, with the {self.head} head")
        if (self.head == "fusion") != (self.backbone in MOVENETS):
            raise ValueError(f"the fusion head goes with backbone {' or '.join(MOVENETS)}, the others with timm's")
        if self.head == "fusion" and self.head_channels % 4:
            raise ValueError("head_channels must be a multiple of 4 with the fusion head")
        return self
