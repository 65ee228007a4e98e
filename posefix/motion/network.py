"""The sequence denoiser: where each keypoint of a track ought to be, how surely, and how deep it lies.

The body is the DSTformer of MotionBERT (Zhu et al., ICCV 2023, section 3.2): attention over keypoints and over time in
two streams of opposite order, fused by weights that a linear map of both gives. Places in time enter as learnt biases
of the attention by distance in frames, so that windows of any length and streams of frames see the same. A keypoint's
place is a mean of the given places of that keypoint, and of its left or right counterpart, in the frames around, with
weights of a last attention, plus a correction: at first that is a Gaussian filter, and what is learnt is where to
deviate from it.
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

FEATURES = 8  # of a given keypoint: x, y, movement, score, given, frames a second, bias
FARTHEST = 64  # frames; farther ones are as far
FIRST_SPREAD, RARE = 1.2, -4.0  # the filter before any training, in frames; logit of what is rare
LEAST_LOG_SPREAD, MOST_LOG_SPREAD = math.log(0.003), math.log(1.0)


class MotionConfig(StrictModel):
    """The network: ``width`` features of a keypoint in a frame, ``depth`` double blocks, ``heads`` of attention."""

    width: int = Field(default=64, ge=8)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    expansion: int = Field(default=2, ge=1)
    reach: int = Field(default=20, ge=1)  # frames from which places are taken


class Denoised(NamedTuple):
    """Tracks as the network sees them."""

    keypoints: torch.Tensor  # (N, T, K, 2), in the units of the input
    log_spread: torch.Tensor  # (N, T, K), log of the mean distance to the truth (Laplace's scale)
    depths: torch.Tensor  # (N, T, K), behind the middle of the hips


class Attention(nn.Module):
    """Multi-head self-attention over the second last axis."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """(B, L, width) and a (heads, L, L) bias -> (B, L, width)."""
        b, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if bias is None else bias[None].expand(b, -1, -1, -1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(b, length, width))


class Half(nn.Module):
    """Attention over keypoints or over time, then a perceptron, both residual."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.expansion * width),
            nn.GELU(),
            nn.Linear(config.expansion * width, width),
        )

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        x = x + self.attention(x, bias)
        return x + self.mlp(x)


class Block(nn.Module):
    """One double block: keypoints then time beside time then keypoints, fused."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.spatial = nn.ModuleList([Half(config), Half(config)])
        self.temporal = nn.ModuleList([Half(config), Half(config)])
        self.distance = nn.Parameter(torch.zeros(2, config.heads, 2 * FARTHEST + 1))
        self.fusion = nn.Linear(2 * config.width, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.zeros_(self.fusion.bias)

    def forward(self, x: torch.Tensor, offsets: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
        """(N, T, K, width) features; (T, T) frame offsets and which frames see which -> the same shape."""
        streams = []
        for stream, order in enumerate(("st", "ts")):
            y = x
            for step in order:
                y = self._over_keypoints(y, stream) if step == "s" else self._over_time(y, stream, offsets, allowed)
            streams.append(y)
        weights = self.fusion(torch.cat(streams, dim=-1)).softmax(-1)
        return streams[0] * weights[..., :1] + streams[1] * weights[..., 1:]

    def _over_keypoints(self, x: torch.Tensor, stream: int) -> torch.Tensor:
        return self.spatial[stream](x.flatten(0, 1), None).view(x.shape)

    def _over_time(
        self, x: torch.Tensor, stream: int, offsets: torch.Tensor, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        n, t, k, width = x.shape
        bias = self.distance[stream][:, offsets]
        if allowed is not None:
            bias = bias.masked_fill(~allowed, float("-inf"))
        y = self.temporal[stream](x.transpose(1, 2).reshape(n * k, t, width), bias)
        return y.view(n, k, t, width).transpose(1, 2)


class MotionNetwork(nn.Module):
    """See the module's docstring. ``forward`` gives :class:`Denoised`."""

    flip: torch.Tensor

    def __init__(self, config: MotionConfig, skeleton: Skeleton) -> None:
        super().__init__()
        self.config = config
        width, k = config.width, len(skeleton)
        self.register_buffer("flip", torch.from_numpy(skeleton.flip), persistent=False)
        self.embed = nn.Linear(FEATURES, width)
        self.which = nn.Parameter(0.02 * torch.randn(k, width))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.own, self.counterpart = nn.Linear(width, width), nn.Linear(width, width)
        distance = torch.arange(-FARTHEST, FARTHEST + 1).float()
        self.distance = nn.Parameter(-0.5 * (distance / FIRST_SPREAD).clamp(-4, 4) ** 2)
        self.far_bias = nn.Parameter(torch.tensor(RARE))
        self.free = nn.Linear(width, 1)
        self.out = nn.Linear(width, 6)  # a place of its own, a correction, log spread, depth
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.free.weight)
        nn.init.constant_(self.free.bias, RARE)
        nn.init.normal_(self.out.weight, std=0.002)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, tracks: torch.Tensor, fps: torch.Tensor, causal: bool = False, latency: int | None = None
    ) -> Denoised:
        """Denoise tracks.

        Args:
            tracks: (N, T, K, 3) x, y, score, centred on the track and in units of the person's size; score 0 where
                nothing is given.
            fps: (N,) frames a second.
            causal: let no frame see a later one, but for what ``latency`` allows.
            latency: later frames from which places are taken, with ``causal``; None for all.
        """
        n, t, k = tracks.shape[:3]
        x = self.embed(_features(tracks, fps)) + self.which
        frames = torch.arange(t, device=tracks.device)
        apart = frames - frames[:, None]  # of the frame that is seen from the one that sees
        offsets = apart.clamp(-FARTHEST, FARTHEST) + FARTHEST
        allowed = apart <= 0 if causal else None
        for block in self.blocks:
            x = block(x, offsets, allowed)
        x = self.norm(x)
        out = self.out(x)
        near = apart.abs() <= self.config.reach
        if causal and latency is not None:
            near &= apart <= latency
        places = self._gather(x, tracks, out[..., :2], offsets, near) + out[..., 2:4]
        log_spread = (out[..., 4] - 3.0).clamp(LEAST_LOG_SPREAD, MOST_LOG_SPREAD)
        return Denoised(places, log_spread, out[..., 5])

    def _gather(
        self, x: torch.Tensor, tracks: torch.Tensor, own: torch.Tensor, offsets: torch.Tensor, near: torch.Tensor
    ) -> torch.Tensor:
        """(N, T, K, 2): the weighted mean of given places around, and of a place of its own."""
        width = x.shape[-1]
        places, given = tracks[..., :2].transpose(1, 2), (tracks[..., 2] > 0).transpose(1, 2)  # (N, K, T, ...)
        query = self.query(x).transpose(1, 2) / math.sqrt(width)
        keys = self.own(x).transpose(1, 2), self.counterpart(x).transpose(1, 2)[:, self.flip]
        bias = self.distance[offsets].masked_fill(~near, float("-inf"))
        logits = [
            (query @ key.transpose(-1, -2) + bias).masked_fill(~seen[:, :, None], float("-inf"))
            for key, seen in zip(keys, (given, given[:, self.flip]), strict=True)
        ]
        logits[1] = logits[1] + self.far_bias
        free = self.free(x).transpose(1, 2)
        weights = torch.cat([*logits, free], dim=-1).softmax(-1)
        t = places.shape[2]
        mean = weights[..., :t] @ places + weights[..., t : 2 * t] @ places[:, self.flip]
        return (mean + weights[..., 2 * t :] * own.transpose(1, 2)).transpose(1, 2)


def _features(tracks: torch.Tensor, fps: torch.Tensor) -> torch.Tensor:
    """(N, T, K, 8) what the network is told of each keypoint; absent ones are at the centre."""
    given = (tracks[..., 2:] > 0).to(tracks.dtype)
    places = tracks[..., :2] * given
    both = given[:, 1:] * given[:, :-1]
    movement = F.pad(10 * (places[:, 1:] - places[:, :-1]) * both, (0, 0, 0, 0, 1, 0))
    rate = (fps / 30).log()[:, None, None, None].expand_as(given)
    return torch.cat([places, movement.clamp(-10, 10), 2 * tracks[..., 2:] - 1, given, rate, torch.ones_like(given)], -1)
