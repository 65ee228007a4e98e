"""The sequence denoiser: position, uncertainty and depth of each keypoint of a track.

The trunk is a stack of dilated convolutions over time on whole poses, like VideoPose3D (Pavllo et al., CVPR 2019);
without their taps into the future it is causal. Each keypoint's position is then a weighted least-squares fit of a
parabola in time to the input positions of this keypoint, and of its left/right counterpart, in the frames around. For
each keypoint and frame, the trunk predicts the width of the fit's window, ridges on slope and curvature, and the
reliability of the input position as this keypoint and as its counterpart. This is a Savitzky-Golay filter with learned
weights and window.
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

FEATURES = 8  # per keypoint: x, y, movement (2), score, whether valid, log frame rate, whether the frame exists
WIDTHS, INIT_WIDTH = (0.25, 12.0), 1.5  # frames: range and initial value of the fit's window
LOGIT_BIAS = -3.0  # of unlikely choices
TIME_UNIT, MIN_RIDGE, INIT_RIDGE = 4.0, 1e-2, -2.0  # frames; minimum ridge of slope and curvature; initial logarithm
OUTPUTS = {  # channels per keypoint and frame
    "look": 1,  # log width of the fit's window
    "ridges": 2,  # log, of slope and curvature
    "own": 1,  # logit of the input position, as this keypoint
    "counterpart": 1,  # logit of the input position, as the left/right counterpart
    "free": 1,  # logit of a directly regressed position
    "place": 2,  # that position
    "spread": 1,  # log
    "depth": 1,
}
MIN_LOG_SPREAD, MAX_LOG_SPREAD, INIT_LOG_SPREAD = math.log(0.003), math.log(1.0), -3.0


class MotionConfig(StrictModel):
    """Size of the network: ``width`` features per frame, ``keypoint_width`` per keypoint, dilations in frames.

    Positions are fitted to frames up to ``reach`` away.
    """

    width: int = Field(default=224, ge=8)
    keypoint_width: int = Field(default=32, ge=4)
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 1)
    reach: int = Field(default=20, ge=1)


class Denoised(NamedTuple):
    """Output of the sequence denoiser."""

    keypoints: torch.Tensor  # (N, T, K, 2), in the units of the input
    log_spread: torch.Tensor  # (N, T, K), log of the expected distance to the truth (Laplace scale)
    depths: torch.Tensor  # (N, T, K), relative to the mid-hip


class TemporalBlock(nn.Module):
    """A dilated convolution over time and an MLP, both residual."""

    past: torch.Tensor

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(width), nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.register_buffer("past", torch.tensor([1.0, 1.0, 0.0]), persistent=False)

    def forward(self, x: torch.Tensor, causal: bool) -> torch.Tensor:
        """Map (N, T, width) to the same shape; if ``causal``, no frame sees a later one."""
        weight = self.conv.weight * self.past if causal else self.conv.weight
        y = F.conv1d(
            self.norm(x).transpose(1, 2), weight, self.conv.bias, padding=self.conv.padding, dilation=self.conv.dilation
        )
        x = x + y.transpose(1, 2)
        output: torch.Tensor = x + self.mlp(x)
        return output


class MotionNetwork(nn.Module):
    """The sequence denoiser, as described in the module's docstring."""

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
            tracks: (N, T, K, 3) x, y, score, centred and in units of the person's size; score 0: no estimate.
            fps: (N,) frames per second.
            causal: hide later frames, except as ``latency`` allows; part of the training, for the ends of tracks.
            latency: number of later frames that positions are fitted to if ``causal``.
        """
        n, t, k = tracks.shape[:3]
        inputs = features(tracks, fps)
        x = self.pose(inputs.flatten(2))
        for block in self.blocks:
            x = block(x, causal)
        x = self.norm(self.keypoint(inputs) + self.which + self.context(x).view(n, t, k, -1))
        out = dict(zip(OUTPUTS, self.out(x).split(list(OUTPUTS.values()), dim=-1), strict=True))
        frames = torch.arange(t, device=tracks.device)
        offsets = frames - frames[:, None]  # (T, T'), from each frame to the frames of its fit
        in_window = offsets.abs() <= self.config.reach
        if causal:
            in_window &= offsets <= latency
        positions = self._fit(out, tracks, offsets, in_window)
        log_spread = (out["spread"][..., 0] + INIT_LOG_SPREAD).clamp(MIN_LOG_SPREAD, MAX_LOG_SPREAD)
        return Denoised(positions, log_spread, out["depth"][..., 0])

    def _fit(
        self, out: dict[str, torch.Tensor], tracks: torch.Tensor, offsets: torch.Tensor, in_window: torch.Tensor
    ) -> torch.Tensor:
        """Fit parabolas to the input positions around each frame: (N, T, K, 2)."""
        out = {name: value.transpose(1, 2) for name, value in out.items()}  # (N, K, T, ...)
        positions, valid = tracks[..., :2].transpose(1, 2), (tracks[..., 2] > 0).transpose(1, 2)
        mirrored = positions[:, self.flip]
        width = (INIT_WIDTH * out["look"].exp()).clamp(*WIDTHS)  # (N, K, T, 1)
        kernel = (-0.5 * (offsets / width) ** 2).masked_fill(~in_window, -math.inf)  # (N, K, T, T')
        own_logits = out["own"][..., 0].masked_fill(~valid, -math.inf)
        pair_logits = (out["counterpart"][..., 0] + LOGIT_BIAS)[:, self.flip].masked_fill(
            ~valid[:, self.flip], -math.inf
        )
        logits = [kernel + own_logits[:, :, None], kernel + pair_logits[:, :, None], out["free"] + LOGIT_BIAS]
        weights = torch.cat(logits, dim=-1).softmax(-1)
        t = positions.shape[2]
        own, counterpart, free = weights[..., :t], weights[..., t : 2 * t], weights[..., 2 * t :]
        time = (offsets / TIME_UNIT).to(positions.dtype)
        total, powers = own + counterpart, [time**power for power in range(1, 5)]
        moments = torch.stack([(total * power).sum(-1) for power in powers], dim=-1)
        sums = [own @ positions + counterpart @ mirrored + free * out["place"]]
        sums += [(own * power) @ positions + (counterpart * power) @ mirrored for power in powers[:2]]
        ridges = MIN_RIDGE + (out["ridges"] + INIT_RIDGE).exp()
        return _parabola_at_zero(moments, torch.stack(sums, dim=-1), ridges).transpose(1, 2)


def _parabola_at_zero(moments: torch.Tensor, sums: torch.Tensor, ridges: torch.Tensor) -> torch.Tensor:
    """Evaluate parabolas, fitted by ridge regression with weights that sum to 1, at time 0.

    Args:
        moments: (..., 4) weighted means of time to the powers 1 to 4.
        sums: (..., 2, 3) weighted means of x and y times time to the powers 0 to 2.
        ridges: (..., 2) added to the second and fourth moment.
    """
    m1, m2, m3, m4 = moments.double().unbind(-1)  # double: differences cancel where all frames are far
    slope, curve = m2 + ridges[..., 0], m4 + ridges[..., 1]
    # First row of the inverse of [[1, m1, m2], [m1, slope, m3], [m2, m3, curve]]: adjugate over determinant.
    a, b, c = slope * curve - m3**2, m2 * m3 - m1 * curve, m1 * m3 - m2 * slope
    row = torch.stack([a, b, c], dim=-1) / (a + m1 * b + m2 * c)[..., None]
    return (sums * row[..., None, :]).sum(-1).to(sums.dtype)


def features(tracks: torch.Tensor, fps: torch.Tensor) -> torch.Tensor:
    """Return the network's input features (N, T, K, 8); absent keypoints are at the centre."""
    valid = (tracks[..., 2:] > 0).to(tracks.dtype)
    positions = tracks[..., :2] * valid
    both_valid = valid[:, 1:] * valid[:, :-1]
    movement = F.pad(10 * (positions[:, 1:] - positions[:, :-1]) * both_valid, (0, 0, 0, 0, 1, 0)).clamp(-10, 10)
    rate = (fps / 30).log()[:, None, None, None].expand_as(valid)
    return torch.cat([positions, movement, 2 * tracks[..., 2:] - 1, valid, rate, torch.ones_like(valid)], dim=-1)


DEFAULT = "posefix-motion"
MOTION = SequenceCheckpoint(MotionNetwork, MotionConfig, "motion", "the sequence denoiser", DEFAULT)
