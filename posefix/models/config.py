"""The configuration of a network: all that must be known to build and run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from posefix.core.errors import InputError

MOVENETS = ("movenet_lightning", "movenet_thunder")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """A group of settings: frozen, with no unknown names and only finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    head_channels: int = Field(256, ge=1)
    input_size: tuple[int, int] = (256, 192)
    sigma: float = Field(7.0, gt=0)
    box_padding: float = Field(1.25, gt=0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels_last: bool = True
    keep_margin: float = Field(0.0, ge=0, le=1)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frame: the crop, or what lies between the middles of MoveNet's outermost cells."""
        height, width = self.input_size
        return (height - 3, width - 3) if self.head == "fusion" else (height, width)

    @property
    def frame_margin(self) -> float:
        """Pixels by which the frame begins inside the crop: half the way from a cell's first pixel to its last."""
        return 1.5 if self.head == "fusion" else 0.0

    @model_validator(mode="after")
    def _divisible(self) -> ModelConfig:
        unit = 16 if self.head == "fpn" else 32
        if any(side < 32 or side % unit for side in self.input_size):
            raise ValueError(f"input_size must be multiples of {unit}, at least 32, with the {self.head} head")
        return self

    @model_validator(mode="after")
    def _backbone_of_fusion(self) -> ModelConfig:
        if (self.head == "fusion") != (self.backbone in MOVENETS):
            raise ValueError(f"the fusion head goes with backbone {' or '.join(MOVENETS)}, the others with timm's")
        if self.head == "fusion" and self.head_channels % 4:
            raise ValueError("head_channels must be a multiple of 4 with the fusion head")
        return self


def validated(kind: type[Model], spec: Any, source: str) -> Model:
    """Build a group of settings from plain data.

    Raises:
        InputError: naming ``source``, the first setting that does not fit, and for an unknown one those that there are.
    """
    try:
        return kind.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
    except RecursionError:
        raise InputError(f"{source}: nested too deep, or within itself, to be a configuration") from None
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        known = ", ".join(_options_at(kind, first["loc"][:-1]))
        raise InputError(f"{source}: there is no option {where:.80}; use one of {known}")
    raise InputError(f"{source}: {where:.80}: {first['msg']} (found {first.get('input')!r:.60})")


def _options_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the settings in the group at ``path`` inside ``kind``."""
    schema: Mapping[str, Any] = kind.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for part in path:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = next(choice for choice in node.get("anyOf", [node]) if choice.get("type") != "null")
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
    return list(node["properties"])
