"""Configuration of a refinement network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from posefix.core.resources import StrictModel

MOVENETS = ("movenet_lightning", "movenet_thunder")
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Former options, still stored in old checkpoints, with the only values that remain supported.
RETIRED = {"pad_type": "", "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "channels_last": True}


class ModelConfig(StrictModel):
    """Architecture and decoding options.

    ``head`` says where the input pose is fused with the image: ``fusion`` after a complete MoveNet (``backbone`` is
    ``movenet_thunder`` or ``movenet_lightning``); ``deconv`` in the first convolution of any timm backbone, as
    Gaussians of standard deviation ``sigma`` in crop pixels. ``pretrained`` names the backbone's initial weights (see
    :func:`posefix.models.backbone.load_pretrained`); with ``pretrained_head`` the head starts from this checkpoint,
    too. ``box_padding`` is the size of the crop over that of the person's box. A keypoint moves only if its expected
    similarity to the truth (KS) grows by more than ``keep_margin``.
    """

    backbone: str = "resnet50"
    pretrained: str | None = None
    pretrained_head: bool = False
    head: Literal["deconv", "fusion"] = "deconv"
    head_channels: int = Field(default=256, ge=1)
    input_size: tuple[int, int] = (256, 192)
    sigma: float = Field(default=7.0, gt=0)
    box_padding: float = Field(default=1.25, gt=0)
    keep_margin: float = Field(default=0.0, ge=0, le=1)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frame: the crop, or the part between the centres of MoveNet's outermost cells."""
        height, width = self.input_size
        return (height - 3, width - 3) if self.head == "fusion" else (height, width)

    @property
    def frame_margin(self) -> float:
        """Offset of the frame in the crop, in pixels: with MoveNet, the centre of its 4-pixel cells."""
        return 1.5 if self.head == "fusion" else 0.0

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, spec: Any) -> Any:
        if not isinstance(spec, dict):
            return spec
        return {name: value for name, value in spec.items() if name not in RETIRED or value != RETIRED[name]}

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if any(side < 32 or side % 32 for side in self.input_size):
            raise ValueError("input_size must be multiples of 32")
        if (self.head == "fusion") != (self.backbone in MOVENETS):
            raise ValueError(f"the fusion head goes with backbone {' or '.join(MOVENETS)}, the others with timm's")
        if self.head == "fusion" and self.head_channels % 4:
            raise ValueError("head_channels must be a multiple of 4 with the fusion head")
        if self.pretrained_head and not self.pretrained:
            raise ValueError("pretrained_head needs a checkpoint as pretrained")
        return self
