"""The sequence denoiser: where each keypoint of a track ought to be, how surely, and how deep it lies.

A trunk of dilated convolutions over time sees whole poses, as VideoPose3D does (Pavllo et al., CVPR 2019); without its
taps into the future it sees the past alone. A keypoint's place is then read off a parabola in time through the given
places of that keypoint, and of its left or right counterpart, in the frames around: a weighted least-squares fit. For
each keypoint in each frame the trunk says how far to look, how far slope and curvature are held back, and how far the
place that was given is to be believed, as this keypoint or as the other. So it is a Savitzky-Golay filter that learns
whom to believe and how far to look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from posefix.core.resources import StrictModel
from posefix.core.skeleton import Skeleton
from posefix.models.sequence_checkpoint import SequenceCheckpoint

FEATURES = 8  # of a given keypoint: x, y, movement, score, given, frames a second, that there is a frame
SPREADS, FIRST_SPREAD, RARE = (0.25, 12.0), 1.5, -3.0  # frames to look; before any training; logit of the unlikely
UNIT, RIDGE, STIFF = 4.0, 1e-2, -2.0  # frames; least ridge of slope and curvature; its logarithm before any training
OUTPUTS = {  # of a keypoint in a frame
    "look": 1,  # log of how far
    "ridges": 2,  # log, of slope and curvature
    "own": 1,  # logit of what was given, as this keypoint
    "counterpart": 1,  # the same, as the left or right counterpart
    "free": 1,  # logit of a place of its own
    "place": 2,  # that
    "spread": 1,  # log
    "depth": 1,
}
LEAST_LOG_SPREAD, MOST_LOG_SPREAD, FIRST_LOG_SPREAD = math.log(0.003), math.log(1.0), -3.0


class MotionConfig(StrictModel):
    """The network: ``width`` features of a frame, ``keypoint_width`` of a keypoint in it, and dilations in frames.

    Places are taken from frames up to ``reach`` away.
    """

    width: int = Field(default=224, ge=8)
    keypoint_width: int = Field(default=32, ge=4)
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 1)
    reach: int = Field(default=20, ge=1)


class Denoised(NamedTuple):
    """Tracks as the network sees them."""

    keypoints: torch.Tensor  # (N, T, K, 2), in the units of the input
    log_spread: torch.Tensor  # (N, T, K), log of the mean distance to the truth (Laplace's scale)
    depths: torch.Tensor  # (N, T, K), behind the middle of the hips


class TemporalBlock(nn.Module):
    """A dilated convolution over time, then a perceptron, both residual."""

    past: torch.Tensor

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(width), nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.register_buffer("past", torch.tensor([1.0, 1.0, 0.0]), persistent=False)

    def forward(self, x: torch.Tensor, causal: bool) -> torch.Tensor:
        """(N, T, width) -> the same shape; ``causal``: from the frames up to each alone."""
        weight = self.conv.weight * self.past if causal else self.conv.weight
        y = F.conv1d(
            self.norm(x).transpose(1, 2), weight, self.conv.bias, padding=self.conv.padding, dilation=self.conv.dilation
        )
        x = x + y.transpose(1, 2)
        output: torch.Tensor = x + self.mlp(x)
        return output


class MotionNetwork(nn.Module):
    """See the module's docstring. ``forward`` gives :class:`Denoised`."""

    flip: torch.Tensor

    def __init__(self, config: MotionConfig, skeleton: Skeleton) -> None:
        super().__init__()
        self.config, self.skeleton = config, skeleton
        k, width = len(skeleton), config.keypoint_width
        self.register_buffer("flip", torch.from_numpy(skeleton.flip), persistent=False)
        self.pose = nn.Linear(k * FEATURES, config.width)
        self.blocks = nn.ModuleList([TemporalBlock(config.width, dilation) for dilation in config.dilations])
        self.context = nn.Linear(config.width, k * width)
        self.keypoint = nn.Linear(FEATURES, width)
        self.which = nn.Parameter(0.02 * torch.randn(k, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sum(OUTPUTS.values()))
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, tracks: torch.Tensor, fps: torch.Tensor, causal: bool = False, latency: int = 0) -> Denoised:
        """Denoise tracks.

        Args:
            tracks: (N, T, K, 3) x, y, score, centred on the track and in units of the person's size; score 0 where
                nothing is given.
            fps: (N,) frames a second.
            causal: let no frame see a later one, but for what ``latency`` allows, as in a part of the training, so that
                the network is good at the ends of tracks.
            latency: later frames from which places are taken, with ``causal``.
        """
        n, t, k = tracks.shape[:3]
        told = features(tracks, fps)
        x = self.pose(told.flatten(2))
        for block in self.blocks:
            x = block(x, causal)
        x = self.norm(self.keypoint(told) + self.which + self.context(x).view(n, t, k, -1))
        out = dict(zip(OUTPUTS, self.out(x).split(list(OUTPUTS.values()), dim=-1), strict=True))
        frames = torch.arange(t, device=tracks.device)
        apart = frames - frames[:, None]  # of the frame that is seen from the one that sees
        near = apart.abs() <= self.config.reach
        if causal:
            near &= apart <= latency
        places = self._fit(out, tracks, apart, near)
        log_spread = (out["spread"][..., 0] + FIRST_LOG_SPREAD).clamp(LEAST_LOG_SPREAD, MOST_LOG_SPREAD)
        return Denoised(places, log_spread, out["depth"][..., 0])

    def _fit(
        self, out: dict[str, torch.Tensor], tracks: torch.Tensor, apart: torch.Tensor, near: torch.Tensor
    ) -> torch.Tensor:
        """(N, T, K, 2): where parabolas through the places given around are at each frame."""
        out = {name: value.transpose(1, 2) for name, value in out.items()}  # (N, K, T, ...)
        places, given = tracks[..., :2].transpose(1, 2), (tracks[..., 2] > 0).transpose(1, 2)
        mirrored = places[:, self.flip]
        look = (FIRST_SPREAD * out["look"].exp()).clamp(*SPREADS)  # (N, K, T, 1)
        kernel = (-0.5 * (apart / look) ** 2).masked_fill(~near, -math.inf)  # (N, K, T, T')
        believed = out["own"][..., 0].masked_fill(~given, -math.inf)
        other = (out["counterpart"][..., 0] + RARE)[:, self.flip].masked_fill(~given[:, self.flip], -math.inf)
        logits = [kernel + believed[:, :, None], kernel + other[:, :, None], out["free"] + RARE]
        weights = torch.cat(logits, dim=-1).softmax(-1)
        t = places.shape[2]
        own, counterpart, rest = weights[..., :t], weights[..., t : 2 * t], weights[..., 2 * t :]
        time = (apart / UNIT).to(places.dtype)
        both, powers = own + counterpart, [time**power for power in range(1, 5)]
        moments = torch.stack([(both * power).sum(-1) for power in powers], dim=-1)
        sums = [own @ places + counterpart @ mirrored + rest * out["place"]]
        sums += [(own * power) @ places + (counterpart * power) @ mirrored for power in powers[:2]]
        ridges = RIDGE + (out["ridges"] + STIFF).exp()
        return _at_zero(moments, torch.stack(sums, dim=-1), ridges).transpose(1, 2)


def _at_zero(moments: torch.Tensor, sums: torch.Tensor, ridges: torch.Tensor) -> torch.Tensor:
    """Values at time 0 of parabolas fitted by weighted least squares with a ridge; weights sum to 1.

    Args:
        moments: (..., 4) weighted means of time to the powers 1 to 4.
        sums: (..., 2, 3) weighted means of x and y times time to the powers 0 to 2.
        ridges: (..., 2) added to the second and fourth moment.
    """
    one, two, three, four = moments.double().unbind(-1)  # what follows nearly cancels where all frames are far
    slope, curve = two + ridges[..., 0], four + ridges[..., 1]
    # The first row of the adjugate of [[1, one, two], [one, slope, three], [two, three, curve]], and the determinant.
    a, b, c = slope * curve - three**2, two * three - one * curve, one * three - two * slope
    row = torch.stack([a, b, c], dim=-1) / (a + one * b + two * c)[..., None]
    return (sums * row[..., None, :]).sum(-1).to(sums.dtype)


def features(tracks: torch.Tensor, fps: torch.Tensor) -> torch.Tensor:
    """(N, T, K, 8) what the network is told of each keypoint; absent ones are at the centre."""
    given = (tracks[..., 2:] > 0).to(tracks.dtype)
    places = tracks[..., :2] * given
    both = given[:, 1:] * given[:, :-1]
    movement = F.pad(10 * (places[:, 1:] - places[:, :-1]) * both, (0, 0, 0, 0, 1, 0)).clamp(-10, 10)
    rate = (fps / 30).log()[:, None, None, None].expand_as(given)
    return torch.cat([places, movement, 2 * tracks[..., 2:] - 1, given, rate, torch.ones_like(given)], dim=-1)


DEFAULT = "posefix-motion"
MOTION = SequenceCheckpoint(MotionNetwork, MotionConfig, "motion", "the sequence denoiser", DEFAULT)
