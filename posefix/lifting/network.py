"""The lifting network: 3D poses from tracks of 2D poses, by convolutions over time.

Like VideoPose3D (Pavllo et al., CVPR 2019), it has a convolution over whole poses and residual blocks of dilated
convolutions without padding, so each output sees exactly ``receptive_field`` frames. Features mark frames beyond the
ends of a track, and keypoints without an estimate, as absent; a single image is a track of one frame. Unlike
VideoPose3D, it normalises each frame by itself, so absent frames do not change statistics; it also takes confidences
and the frame rate, and predicts expected errors. x and y are those of the input, scaled per frame, plus an offset.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pydantic import Field, field_validator
from torch import nn
from torch.nn import functional as F

from posefix.core.resources import StrictModel
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import hips_of
from posefix.models.sequence_checkpoint import SequenceCheckpoint
from posefix.motion.network import FEATURES, features

MIN_SPREAD, MAX_SPREAD, INIT_SPREAD = 0.005, 1.0, 0.05  # metres
INIT_SCALE = 0.68  # metres per size of the person, sqrt(area): initial value


class LiftingConfig(StrictModel):
    """Size of the network: ``channels`` wide, with a convolution over each of ``filter_widths`` (odd) frames.

    Dilations make the receptive field the product of all widths. ``causal`` sees no later frame.
    """

    filter_widths: tuple[int, ...] = (3, 3, 3)
    channels: int = Field(default=448, ge=8)
    causal: bool = False

    @field_validator("filter_widths")
    @classmethod
    def _odd(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not widths or any(width < 1 or width % 2 == 0 for width in widths):
            raise ValueError("filter widths must be odd")
        return widths


class Lifted(NamedTuple):
    """3D poses for a person of standard size."""

    keypoints: torch.Tensor  # (N, T, K, 3) metres from the mid-hip; x right, y down, z away
    log_spread: torch.Tensor  # (N, T, K), log of the expected distance to the truth, in metres


class Frames(nn.Module):
    """A dilated convolution over ``width`` frames without padding, as a linear map of the concatenated frames.

    (N, T, C) -> (N, T - (width - 1) dilation, D). Faster than Conv1d on CPUs, most of all in bfloat16.
    """

    def __init__(self, channels: int, out: int, width: int, dilation: int) -> None:
        super().__init__()
        self.width, self.dilation = width, dilation
        self.linear = nn.Linear(width * channels, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, T, C) to (N, T - (width - 1) dilation, D)."""
        length = x.shape[1] - (self.width - 1) * self.dilation
        taps = [x[:, tap * self.dilation : tap * self.dilation + length] for tap in range(self.width)]
        output: torch.Tensor = self.linear(torch.cat(taps, dim=-1))
        return output


class ResidualBlock(nn.Module):
    """A dilated convolution over frames and an MLP; the residual is cropped to the remaining frames."""

    def __init__(self, channels: int, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.norm, self.frames = nn.LayerNorm(channels), Frames(channels, channels, width, dilation)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        lost = (width - 1) * dilation
        self.first = lost if causal else lost // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, C) -> (N, T - (width - 1) dilation, C)."""
        y = self.frames(self.norm(x))
        x = x[:, self.first : self.first + y.shape[1]] + y
        output: torch.Tensor = x + self.mlp(x)
        return output


class LiftingNetwork(nn.Module):
    """The lifting network, as described in the module's docstring."""

    def __init__(self, config: LiftingConfig, skeleton: Skeleton) -> None:
        super().__init__()
        self.config, self.skeleton = config, skeleton
        self.hips = hips_of(skeleton)
        k, channels, widths = len(skeleton), config.channels, config.filter_widths
        self.expand = Frames(k * FEATURES, channels, widths[0], 1)
        dilations = [math.prod(widths[:block]) for block in range(1, len(widths))]
        self.blocks = nn.ModuleList(
            [
                ResidualBlock(channels, width, dilation, config.causal)
                for width, dilation in zip(widths[1:], dilations, strict=True)
            ]
        )
        self.frame = nn.Linear(k * FEATURES, channels)  # skips the convolutions
        self.norm, self.out = nn.LayerNorm(channels), nn.Linear(channels, 4 * k + 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    @property
    def receptive_field(self) -> int:
        """Number of input frames that one output frame sees."""
        return math.prod(self.config.filter_widths)

    def forward(self, tracks: torch.Tensor, fps: torch.Tensor) -> Lifted:
        """Lift N tracks of T frames.

        Args:
            tracks: (N, T, K, 3) x, y, score, centred and in units of the person's size; score 0: no estimate.
            fps: (N,) frames per second.
        """
        n, t, k = tracks.shape[:3]
        if tracks.shape[2:] != (len(self.skeleton), 3):
            raise ValueError(f"tracks must be (N, T, {len(self.skeleton)}, 3), not {tuple(tracks.shape)}")
        valid = (tracks[..., 2:] > 0).to(tracks.dtype)
        positions = (tracks[..., :2] - self._root(tracks[..., :2], valid)) * valid
        inputs = torch.cat([positions, features(tracks, fps)[..., 2:]], dim=-1).flatten(2)
        padding = self.receptive_field - 1
        before = padding if self.config.causal else padding // 2
        x = self.expand(F.pad(inputs, (0, 0, before, padding - before)))
        for block in self.blocks:
            x = block(x)
        output = self.out(F.gelu(self.norm(x + self.frame(inputs)))).to(tracks.dtype)
        scale = INIT_SCALE * output[..., :1, None].exp()
        offset, spread = output[..., 1:].view(n, t, k, 4).split([3, 1], dim=-1)
        log_spread = (spread[..., 0] + math.log(INIT_SPREAD)).clamp(math.log(MIN_SPREAD), math.log(MAX_SPREAD))
        return Lifted(F.pad(scale * positions, (0, 1)) + offset, log_spread)

    def _root(self, positions: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return (N, T, 1, 2): the mid-hip of each frame, or the mean of all keypoints if a hip is missing."""
        hips, has_hips = positions[:, :, self.hips].mean(2, keepdim=True), valid[:, :, self.hips].prod(2, keepdim=True)
        middle = (positions * valid).sum(2, keepdim=True) / valid.sum(2, keepdim=True).clamp(min=1)
        return has_hips * hips + (1 - has_hips) * middle


DEFAULT = "posefix-lift"
LIFTING = SequenceCheckpoint(LiftingNetwork, LiftingConfig, "lifting", "the lifting network", DEFAULT)
