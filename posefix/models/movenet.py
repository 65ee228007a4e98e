"""MoveNet SinglePose (Google, 2021; Apache-2.0) in torch: backbone, pyramid and heads, trained to find poses.

One architecture in two widths: Lightning is MobileNetV2 1.0 (Sandler et al., CVPR 2018), Thunder 1.75. A pyramid brings
stride 32 back to 4 in three steps, where the heads of CenterNet (Zhou et al., 2019) find all people of the image.
Batch norm is folded into weight and bias, as in the published graphs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))  # expansion, blocks, stride
CHANNELS = {  # of the first convolution and of each stage, by the name of the network
    "movenet_lightning": (32, 16, 24, 32, 64, 96, 160, 320),
    "movenet_thunder": (56, 32, 40, 56, 112, 168, 280, 560),
}
# Stage that is taken in (strides 16, 8, 4); channels there, and after.
PYRAMID = ((3, 64, 32), (2, 32, 24), (1, 24, 24))
STRIDE = 4  # pixels between neighbouring cells of the output
ORIGIN = 1.5  # pixel under the middle of the first cell: a cell stands for the STRIDE pixels that begin at its corner
HEAD_CHANNELS = 96
POSES, OFFSETS, HEATMAPS, CENTRES = range(4)  # the heads, in the order of the published graph
SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KEYPOINTS = ("nose", *(f"{side}_{part}" for part in SIDED for side in ("left", "right")))  # COCO's
SEEN_PEOPLE = 4  # of a crop, whose regressed poses are kept
CENTRE_WEIGHT = 1.8  # cells from the middle of the image at which a person counts half as much, in MoveNet's decoding
CROP_MIDDLE = 12.0  # cells from the middle of a crop at which a person counts half as much


class MoveNetOutput(NamedTuple):
    """Output maps of N images of (H, W) pixels: (N, C, H/4, W/4)."""

    heatmaps: torch.Tensor  # C = 17 logits, of COCO's keypoints of all people of the image
    centres: torch.Tensor  # C = 1 logit, of the middles of people
    offsets: torch.Tensor  # C = 34, y and x of each keypoint from the corner of the cell that it lies in, in cells
    # C = 34, y and x of each keypoint of the person whose middle is in the cell, from its corner, in cells
    poses: torch.Tensor


class Evidence(NamedTuple):
    """What N crops show, in pixels of the frame, whose origin is the middle of the first cell."""

    heatmaps: torch.Tensor  # (N, K, h, w) logits, of all people of the crop
    poses: torch.Tensor  # (N, P, K, 2) regressed poses of the P most certain people near its middle
    centres: torch.Tensor  # (N, P) logits, how certain each of them is


class MoveNet(nn.Module):
    """Images to heatmaps, centres, offsets and regressed poses at stride 4.

    Args:
        channels: of the backbone; one of ``CHANNELS``.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, channels[0], 3, nn.ReLU6(), stride=2)]
        ends = []  # places of the stages' last blocks
        for (expansion, blocks, stride), inputs, outputs in zip(STAGES, channels[:-1], channels[1:], strict=True):
            layers.append(InvertedResidual(inputs, outputs, expansion, stride))
            layers += [InvertedResidual(outputs, outputs, expansion, 1) for _ in range(blocks - 1)]
            ends.append(len(layers) - 1)
        self.backbone = nn.ModuleList(layers)
        self._kept = [ends[stage] for stage, _, _ in PYRAMID]
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
        """Run on images, as for :meth:`features`, and all heads on what it sees."""
        features = self.features(images)
        poses, offsets, heatmaps, centres = (head(features) for head in self.heads)
        return MoveNetOutput(heatmaps, centres, offsets, poses)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute what all heads look at, (N, 24, H/4, W/4), of images (N, 3, H, W) of float in [-1, 1], RGB.

        H and W are multiples of 32.
        """
        x, kept = images, []
        for i, layer in enumerate(self.backbone):
            x = layer(x)
            if i in self._kept:
                kept.append(x)
        x = self.top(x)
        for level, finer in zip(self.pyramid, reversed(kept), strict=True):
            lateral, smooth = level.children()
            doubled = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = smooth(doubled + lateral(finer))
        features: torch.Tensor = x
        return features

    def poses_at(self, features: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """(N, P, K, 2) y and x, in cells, of each keypoint of P people from the corners of the cells that they are in.

        The map of poses is computed at these cells alone, ``row`` and ``column`` (N, P) of ``features``.
        """
        padded = functional.pad(features, (1, 1, 1, 1))
        width = padded.shape[3]
        first = row * width + column  # of the 3 x 3 cells that the head looks at
        step = torch.arange(3, device=row.device)
        around = (first[..., None] + (step[:, None] * width + step).flatten()).flatten(1)[:, None]
        channels = padded.shape[1]
        patches = padded.flatten(2).gather(2, around.expand(-1, channels, -1)).transpose(1, 2)
        patches = patches.reshape(-1, 3, 3, channels).permute(0, 3, 1, 2)
        found: torch.Tensor = self.heads[POSES](patches)[:, :, 1, 1]
        return found.view(-1, row.shape[1], found.shape[1] // 2, 2)


def mirror(maps: torch.Tensor) -> torch.Tensor:
    """Mirror images or maps (N, C, h, w); by index, since ONNX has no fast counterpart of ``flip``."""
    width = maps.shape[3]
    return maps[..., width - 1 - torch.arange(width, device=maps.device)]


def evidence(network: MoveNet, features: torch.Tensor, flip: torch.Tensor | None = None) -> Evidence:
    """Keep the heatmaps, and the most probable people, of whom those far from the middle of the crop count less.

    Args:
        network: whose heads to use.
        features: (N, C, h, w), its :meth:`MoveNet.features` of N images.
        flip: (K,) left/right counterpart of each keypoint: the second half of the features is then of the images of
            the first half mirrored, and the evidence, of N / 2 images, is the mean over both.
    """
    heatmaps, centres = network.heads[HEATMAPS](features), network.heads[CENTRES](features)
    if flip is not None:
        (heatmaps, mirrored_heatmaps), (centres, mirrored_centres) = _halves(heatmaps), _halves(centres)
        heatmaps = (heatmaps + mirror(mirrored_heatmaps[:, flip])) / 2
        centres = (centres + mirror(mirrored_centres)) / 2
    h, w = centres.shape[2:]
    probability = centres[:, 0].sigmoid()
    highest = functional.max_pool2d(probability[:, None], 3, stride=1, padding=1)[:, 0]
    distance = _distance(probability, (h - 1) / 2, (w - 1) / 2)
    rank = torch.where(probability == highest, probability, 0) / (1 + (distance / CROP_MIDDLE) ** 2)
    cells = rank.flatten(1).topk(SEEN_PEOPLE, dim=1).indices
    row, column = cells // w, cells % w
    if flip is None:
        found = network.poses_at(features, row, column)
    else:
        straight, mirrored = _halves(features)
        y, x = network.poses_at(mirrored, row, w - 1 - column)[:, :, flip].unbind(-1)
        found = (network.poses_at(straight, row, column) + torch.stack([y, 1 - x], dim=-1)) / 2
    poses = (torch.stack([row, column], dim=-1)[:, :, None] + found).flip(-1) * STRIDE - 0.5
    return Evidence(heatmaps, poses - ORIGIN, centres.flatten(1).gather(1, cells))


def _halves(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count = maps.shape[0] // 2
    return maps[:count], maps[count:]


def single_poses(output: MoveNetOutput) -> torch.Tensor:
    """(N, K, 3) x, y in pixels of the image and score, of the person in the middle, by MoveNet's decoding."""
    n, k, h, w = output.heatmaps.shape
    middle = output.centres[:, 0].sigmoid() / (_distance(output.centres, h / 2, w / 2) + CENTRE_WEIGHT)
    regressed = _poses_at(output, middle.flatten(1).argmax(1, keepdim=True))[:, 0]
    at = (regressed + 0.5) / STRIDE  # from the corner of the first cell, in cells
    distance = _distance(output.heatmaps, at[..., 1, None, None], at[..., 0, None, None])
    probability = output.heatmaps.sigmoid()
    cells = (probability / (distance + CENTRE_WEIGHT)).flatten(2).argmax(2, keepdim=True)
    offsets = output.offsets.view(n, k, 2, -1).gather(3, cells[..., None].expand(-1, -1, 2, -1))[..., 0]
    x = (cells[..., 0] % w + offsets[..., 1]) * STRIDE - 0.5
    y = (cells[..., 0] // w + offsets[..., 0]) * STRIDE - 0.5
    return torch.stack([x, y, probability.flatten(2).gather(2, cells)[..., 0]], dim=-1)


def _distance(maps: torch.Tensor, y: torch.Tensor | float, x: torch.Tensor | float) -> torch.Tensor:
    """(..., h, w) distance of each cell of maps (..., h, w) from places (y, x), in cells."""
    rows, columns = (torch.arange(side, dtype=maps.dtype, device=maps.device) for side in maps.shape[-2:])
    return ((rows[:, None] - y).square() + (columns - x).square()).sqrt()  # hypot has no counterpart in ONNX


def _poses_at(output: MoveNetOutput, cells: torch.Tensor) -> torch.Tensor:
    """(N, P, K, 2) x, y in pixels of the image of the people regressed at flat ``cells`` (N, P)."""
    n, channels, _, w = output.poses.shape
    found = output.poses.flatten(2).gather(2, cells[:, None].expand(-1, channels, -1))
    found = found.transpose(1, 2).reshape(n, cells.shape[1], channels // 2, 2)
    corner = torch.stack([cells % w, cells // w], dim=-1)[:, :, None]
    return (corner + found.flip(-1)) * STRIDE - 0.5


class Convolution(nn.Conv2d):
    """Convolution with TensorFlow's ``same`` padding, and what follows it; ``options`` are ``nn.Conv2d``'s."""

    def __init__(
        self, inputs: int, outputs: int, size: int, activation: nn.Module | None = None, **options: Any
    ) -> None:
        super().__init__(inputs, outputs, size, **options)
        self.activation = activation or nn.Identity()
        if self.stride == (1, 1):
            self.padding = size // 2, size // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == (2, 2):  # an even side is padded at its end alone
            x = functional.pad(x, (0, 1, 0, 1))
        activated: torch.Tensor = self.activation(super().forward(x))
        return activated


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (MobileNetV2's block); the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.layers = nn.Sequential(
            *([Convolution(inputs, inside, 1, nn.ReLU6())] if expansion > 1 else []),
            Convolution(inside, inside, 3, nn.ReLU6(), stride=stride, groups=inside),
            Convolution(inside, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(x)
        return x + output if self.residual else output


class Separable(nn.Sequential):
    """3x3 for each channel, 1x1 across them, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            Convolution(inputs, inputs, 3, groups=inputs, bias=False), Convolution(inputs, outputs, 1, nn.ReLU())
        )
