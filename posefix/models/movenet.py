"""MoveNet SinglePose (Google, 2021; Apache-2.0) in torch: backbone, feature pyramid and heads.

One architecture in two widths: Lightning is MobileNetV2 1.0 (Sandler et al., CVPR 2018), Thunder 1.75. A feature
pyramid goes from stride 32 to 4 in three steps, where CenterNet heads (Zhou et al., 2019) detect all people. Batch norm
is folded into weight and bias, as in the published graphs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))  # expansion, blocks, stride
CHANNELS = {  # of the first convolution and of each stage
    "movenet_lightning": (32, 16, 24, 32, 64, 96, 160, 320),
    "movenet_thunder": (56, 32, 40, 56, 112, 168, 280, 560),
}
PYRAMID = ((3, 64, 32), (2, 32, 24), (1, 24, 24))  # backbone stage (strides 16, 8, 4), its lateral and output channels
STRIDE = 4  # pixels per cell of the output
ORIGIN = 1.5  # pixel at the centre of the first cell
HEAD_CHANNELS = 96
POSES, OFFSETS, HEATMAPS, CENTRES = range(4)  # order of the heads in the published graph
SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KEYPOINTS = ("nose", *(f"{side}_{part}" for part in SIDED for side in ("left", "right")))  # COCO's
MAX_PEOPLE = 4  # regressed poses kept per crop
CENTRE_WEIGHT = 1.8  # cells from the centre at which MoveNet's decoding halves a score
CROP_CENTRE_WEIGHT = 12.0  # cells from the centre of a crop at which :func:`evidence` halves a score


class MoveNetOutput(NamedTuple):
    """Output maps of N images of (H, W) pixels: (N, C, H/4, W/4)."""

    heatmaps: torch.Tensor  # C = 17 logits of COCO's keypoints, of all people in the image
    centres: torch.Tensor  # C = 1 logit of people's centres
    offsets: torch.Tensor  # C = 34, y and x of each keypoint relative to the corner of its cell, in cells
    poses: torch.Tensor  # C = 34, y and x of the keypoints of the person centred in the cell, likewise


class Stages(NamedTuple):
    """Outputs of MoveNet's second to fourth stage for N images of (H, W) pixels: (N, C, H/s, W/s) at stride s."""

    stride4: torch.Tensor
    stride8: torch.Tensor
    stride16: torch.Tensor


class Evidence(NamedTuple):
    """Detections in N crops, in pixels of the frame, whose origin is the centre of the first cell."""

    heatmaps: torch.Tensor  # (N, K, h, w) logits, of all people in the crop
    poses: torch.Tensor  # (N, P, K, 2) regressed poses of the P best people, best first
    centres: torch.Tensor  # (N, P) logits of their centres


class MoveNet(nn.Module):
    """Maps images to heatmaps, centres, offsets and regressed poses at stride 4.

    Args:
        channels: of the backbone; one of ``CHANNELS``.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, channels[0], 3, nn.ReLU6(), stride=2)]
        ends = []  # index of each stage's last block
        for (expansion, blocks, stride), inputs, outputs in zip(STAGES, channels[:-1], channels[1:], strict=True):
            layers.append(InvertedResidual(inputs, outputs, expansion, stride))
            layers += [InvertedResidual(outputs, outputs, expansion, 1) for _ in range(blocks - 1)]
            ends.append(len(layers) - 1)
        self.backbone = nn.ModuleList(layers)
        self._lateral_layers = [ends[stage] for stage, _, _ in PYRAMID]
        self._late = max(self._lateral_layers) + 1  # first layer that only sees stride 16
        self.top = nn.Sequential(Convolution(channels[-1], 1280, 1, nn.ReLU6()), Convolution(1280, 64, 1))
        self.pyramid = nn.ModuleList(
            nn.ModuleList([Convolution(channels[1 + stage], inside, 1), Separable(inside, out)])
            for stage, inside, out in PYRAMID
        )
        self.heads = nn.ModuleList(
            nn.Sequential(Separable(PYRAMID[-1][-1], HEAD_CHANNELS), Convolution(HEAD_CHANNELS, out, 1))
            for out in (34, 34, 17, 1)
        )

    def forward(self, images: torch.Tensor) -> MoveNetOutput:
        """Run backbone, pyramid and all heads on images as in :meth:`features`."""
        features = self.features(images)
        poses, offsets, heatmaps, centres = (head(features) for head in self.heads)
        return MoveNetOutput(heatmaps, centres, offsets, poses)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the input of the heads, (N, 24, H/4, W/4).

        Images are (N, 3, H, W) float in [-1, 1], RGB; H and W multiples of 32.
        """
        return self.features_of(self.stages(images))

    def stages(self, images: torch.Tensor) -> Stages:
        """Run the first four stages on images as in :meth:`features`."""
        x, outputs = images, []
        for i, layer in enumerate(self.backbone[: self._late]):
            x = layer(x)
            if i in self._lateral_layers:
                outputs.append(x)
        return Stages(*outputs)

    def features_of(self, stages: Stages) -> torch.Tensor:
        """Run the other stages and the pyramid: the features of :meth:`features`."""
        x: torch.Tensor = stages.stride16
        for layer in self.backbone[self._late :]:
            x = layer(x)
        x = self.top(x)
        for block, lateral in zip(self.pyramid, reversed(stages), strict=True):
            project, smooth = block.children()
            upsampled = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = smooth(upsampled + project(lateral))
        return x

    def freeze_early(self) -> None:
        """Exclude the first four stages from training."""
        self.backbone[: self._late].requires_grad_(False)

    def poses_at(self, features: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """Run the pose head at cells ``row`` and ``column`` (N, P) int64 only.

        Returns (N, P, K, 2) y and x of each keypoint relative to the corner of the cell, in cells.
        """
        padded = functional.pad(features, (1, 1, 1, 1))
        width = padded.shape[3]
        top_left = row * width + column  # top left of the head's 3 x 3 receptive field
        step = torch.arange(3, device=row.device)
        window = (top_left[..., None] + (step[:, None] * width + step).flatten()).flatten(1)[:, None]
        channels = padded.shape[1]
        patches = padded.flatten(2).gather(2, window.expand(-1, channels, -1)).transpose(1, 2)
        patches = patches.reshape(-1, 3, 3, channels).permute(0, 3, 1, 2)
        poses: torch.Tensor = self.heads[POSES](patches)[:, :, 1, 1]
        return poses.view(-1, row.shape[1], poses.shape[1] // 2, 2)


def mirror(maps: torch.Tensor) -> torch.Tensor:
    """Mirror images or maps (N, C, h, w); by index, since ``flip`` is slow in ONNX."""
    width = maps.shape[3]
    return maps[..., width - 1 - torch.arange(width, device=maps.device)]


def evidence(network: MoveNet, features: torch.Tensor, flip: torch.Tensor | None = None) -> Evidence:
    """Compute the heatmaps and the poses of the best people; scores fall with the distance from the crop's centre.

    Args:
        network: provides the heads.
        features: (N, C, h, w) from :meth:`MoveNet.features`.
        flip: (K,) left/right counterpart of each keypoint, for the flip test: the second half of the features is then
            of the mirrored images of the first half, and the N / 2 results are averages over both.
    """
    heatmaps, centres = network.heads[HEATMAPS](features), network.heads[CENTRES](features)
    if flip is not None:
        (heatmaps, mirrored_heatmaps), (centres, mirrored_centres) = _halves(heatmaps), _halves(centres)
        heatmaps = (heatmaps + mirror(mirrored_heatmaps[:, flip])) / 2
        centres = (centres + mirror(mirrored_centres)) / 2
    h, w = centres.shape[2:]
    probability = centres[:, 0].sigmoid()
    local_maximum = functional.max_pool2d(probability[:, None], 3, stride=1, padding=1)[:, 0]
    distance = _distance(probability, (h - 1) / 2, (w - 1) / 2)
    score = torch.where(probability == local_maximum, probability, 0) / (1 + (distance / CROP_CENTRE_WEIGHT) ** 2)
    cells = score.flatten(1).topk(MAX_PEOPLE, dim=1).indices
    row, column = cells // w, cells % w
    if flip is None:
        offsets = network.poses_at(features, row, column)
    else:
        straight, mirrored = _halves(features)
        y, x = network.poses_at(mirrored, row, w - 1 - column)[:, :, flip].unbind(-1)
        offsets = (network.poses_at(straight, row, column) + torch.stack([y, 1 - x], dim=-1)) / 2
    poses = (torch.stack([row, column], dim=-1)[:, :, None] + offsets).flip(-1) * STRIDE - 0.5
    return Evidence(heatmaps, poses - ORIGIN, centres.flatten(1).gather(1, cells))


def _halves(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count = maps.shape[0] // 2
    return maps[:count], maps[count:]


def single_poses(output: MoveNetOutput) -> torch.Tensor:
    """Decode the central person of each image as MoveNet does: (N, K, 3) x, y in image pixels and score."""
    n, k, h, w = output.heatmaps.shape
    centre_score = output.centres[:, 0].sigmoid() / (_distance(output.centres, h / 2, w / 2) + CENTRE_WEIGHT)
    regressed = _poses_at(output, centre_score.flatten(1).argmax(1, keepdim=True))[:, 0]
    position = (regressed + 0.5) / STRIDE  # in cells, from the corner of the first cell
    distance = _distance(output.heatmaps, position[..., 1, None, None], position[..., 0, None, None])
    probability = output.heatmaps.sigmoid()
    cells = (probability / (distance + CENTRE_WEIGHT)).flatten(2).argmax(2, keepdim=True)
    offsets = output.offsets.view(n, k, 2, -1).gather(3, cells[..., None].expand(-1, -1, 2, -1))[..., 0]
    x = (cells[..., 0] % w + offsets[..., 1]) * STRIDE - 0.5
    y = (cells[..., 0] // w + offsets[..., 0]) * STRIDE - 0.5
    return torch.stack([x, y, probability.flatten(2).gather(2, cells)[..., 0]], dim=-1)


def _distance(maps: torch.Tensor, y: torch.Tensor | float, x: torch.Tensor | float) -> torch.Tensor:
    """Return the distance (..., h, w) of each cell of the maps from (y, x), in cells."""
    rows, columns = (torch.arange(side, dtype=maps.dtype, device=maps.device) for side in maps.shape[-2:])
    return ((rows[:, None] - y).square() + (columns - x).square()).sqrt()  # ONNX has no hypot


def _poses_at(output: MoveNetOutput, cells: torch.Tensor) -> torch.Tensor:
    """Return the poses (N, P, K, 2) regressed at flat cell indices (N, P), as x, y in image pixels."""
    n, channels, _, w = output.poses.shape
    offsets = output.poses.flatten(2).gather(2, cells[:, None].expand(-1, channels, -1))
    offsets = offsets.transpose(1, 2).reshape(n, cells.shape[1], channels // 2, 2)
    corner = torch.stack([cells % w, cells // w], dim=-1)[:, :, None]
    return (corner + offsets.flip(-1)) * STRIDE - 0.5


class Convolution(nn.Conv2d):
    """Convolution with TensorFlow's ``same`` padding and an activation; ``options`` are those of ``nn.Conv2d``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, activation: nn.Module | None = None, **options: Any
    ) -> None:
        super().__init__(inputs, outputs, size, **options)
        self.activation = activation or nn.Identity()
        if self.stride == (1, 1):
            self.padding = size // 2, size // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == (2, 2):  # TensorFlow pads even sides at the end only
            x = functional.pad(x, (0, 1, 0, 1))
        activated: torch.Tensor = self.activation(super().forward(x))
        return activated


class InvertedResidual(nn.Module):
    """MobileNetV2 block: expand, depthwise convolution, project; with a residual connection where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *([Convolution(inputs, hidden, 1, nn.ReLU6())] if expansion > 1 else []),
            Convolution(hidden, hidden, 3, nn.ReLU6(), stride=stride, groups=hidden),
            Convolution(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(x)
        return x + output if self.residual else output


class Separable(nn.Sequential):
    """Depthwise separable convolution: 3x3 per channel, 1x1 across channels, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            Convolution(inputs, inputs, 3, groups=inputs, bias=False), Convolution(inputs, outputs, 1, nn.ReLU())
        )
