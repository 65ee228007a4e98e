"""The lifting network: 3D poses from tracks of 2D poses, by convolutions over time.

After VideoPose3D (Pavllo et al., CVPR 2019): a convolution over whole poses, then residual blocks with dilated
convolutions, none of them padded, so that each output sees exactly ``receptive_field`` frames. Frames beyond the ends
of a track, and keypoints without an estimate, are told to be absent; a single image is a track of one frame. Unlike
theirs, blocks are normalised frame by frame, as in transformers, so that absent frames do not change statistics; the
network gets confidences and the rate of frames, predicts how far off each keypoint is expected to be, and places
keypoints beside where the 2D pose has them: x and y are those of the input, times a scale of the frame, plus what the
network adds.
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

LEAST_SPREAD, MOST_SPREAD, FIRST_SPREAD = 0.005, 1.0, 0.05  # metres
FIRST_SCALE = 0.68  # metres in the size of a person, sqrt(area): before any training


class LiftingConfig(StrictModel):
    """The network: ``channels`` wide, with a convolution over each of ``filter_widths`` (odd) frames.

    Each is dilated so that the receptive field is the product of all of them. ``causal`` looks at the past alone.
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
    """3D poses as the network says them, for a person of standard size."""

    keypoints: torch.Tensor  # (N, T, K, 3) metres from the middle of the hips; x right, y down, z away
    log_spread: torch.Tensor  # (N, T, K), log of the mean distance to the truth, in metres


class Frames(nn.Module):
    """A dilated convolution over ``width`` frames without padding, as a linear map of those frames side by side.

    (N, T, C) -> (N, T - (width - 1) dilation, D). On CPUs it is faster so, in bfloat16 by far.
    """

    def __init__(self, channels: int, out: int, width: int, dilation: int) -> None:
        super().__init__()
        self.width, self.dilation = width, dilation
        self.linear = nn.Linear(width * channels, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        length = x.shape[1] - (self.width - 1) * self.dilation
        taps = [x[:, tap * self.dilation : tap * self.dilation + length] for tap in range(self.width)]
        output: torch.Tensor = self.linear(torch.cat(taps, dim=-1))
        return output


class ResidualBlock(nn.Module):
    """A dilated convolution over frames, then a perceptron; the residual is cut to the frames that are left."""

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
    """See the module's docstring. ``forward`` gives :class:`Lifted`."""

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
        self.frame = nn.Linear(k * FEATURES, channels)  # the frame itself, past the convolutions
        self.norm, self.out = nn.LayerNorm(channels), nn.Linear(channels, 4 * k + 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    @property
    def receptive_field(self) -> int:
        """How many frames of the input one frame of the output sees."""
        return math.prod(self.config.filter_widths)

    def forward(self, tracks: torch.Tensor, fps: torch.Tensor) -> Lifted:
        """Lift N tracks of T frames to as many 3D poses.

        Args:
            tracks: (N, T, K, 3) x, y, score, centred on the track and in units of the person's size; score 0 where
                nothing is given.
            fps: (N,) frames a second.
        """
        n, t, k = tracks.shape[:3]
        if tracks.shape[2:] != (len(self.skeleton), 3):
            raise ValueError(f"tracks must be (N, T, {len(self.skeleton)}, 3), not {tuple(tracks.shape)}")
        given = (tracks[..., 2:] > 0).to(tracks.dtype)
        places = (tracks[..., :2] - self._root(tracks[..., :2], given)) * given
        told = torch.cat([places, features(tracks, fps)[..., 2:]], dim=-1).flatten(2)
        more = self.receptive_field - 1
        before = more if self.config.causal else more // 2
        x = self.expand(F.pad(told, (0, 0, before, more - before)))
        for block in self.blocks:
            x = block(x)
        found = self.out(F.gelu(self.norm(x + self.frame(told)))).to(tracks.dtype)
        scale = FIRST_SCALE * found[..., :1, None].exp()
        offset, spread = found[..., 1:].view(n, t, k, 4).split([3, 1], dim=-1)
        log_spread = (spread[..., 0] + math.log(FIRST_SPREAD)).clamp(math.log(LEAST_SPREAD), math.log(MOST_SPREAD))
        return Lifted(F.pad(scale * places, (0, 1)) + offset, log_spread)

    def _root(self, places: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """(N, T, 1, 2): the middle of the hips of each frame, or that of all keypoints where one is not given."""
        hips, known = places[:, :, self.hips].mean(2, keepdim=True), given[:, :, self.hips].prod(2, keepdim=True)
        middle = (places * given).sum(2, keepdim=True) / given.sum(2, keepdim=True).clamp(min=1)
        return known * hips + (1 - known) * middle


DEFAULT = "posefix-lift"
LIFTING = SequenceCheckpoint(LiftingNetwork, LiftingConfig, "lifting", "the lifting network", DEFAULT)
