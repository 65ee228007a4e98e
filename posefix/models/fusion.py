"""Fuse MoveNet's output with the input pose to a posterior over the position of each keypoint.

By Bayes' rule the posterior is proportional to a likelihood, which the image's heatmaps give, times a prior, which the
input pose gives: ``log p(y) = a H(y) + log m(y) + log n(y) + log o(y) + const``. H are the heatmap logits; m is a
mixture of Gaussians around the input keypoint and its left/right counterpart, and a uniform rest; n the same around two
people found in the image, the one who fits the input best and the one in the middle of the crop; o suppresses the
places of other people's keypoint. A small transformer predicts ``a`` and all mixture weights for each person from
numbers that describe how well image, input, confidences and neighbours agree (:mod:`posefix.models.description`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from posefix.core.skeleton import Skeleton
from posefix.models import description
from posefix.models.interface import InputPose, Quality
from posefix.models.movenet import STRIDE, Evidence

INPUT_WIDTHS = (0.12, 0.3, 0.7, 1.6, 4.0)  # of the Gaussians around the input keypoint, in OKS scales s k
COUNTERPART_WIDTHS = (0.6, 2.0)  # around the counterpart's
FOUND_WIDTHS = (0.6, 1.5, 4.0)  # around the keypoint of a person found in the image
OTHERS_WIDTH = 1.0  # around other people's
CELL_BLUR = 0.45  # cells; how far a Gaussian is widened, since it is known at cells alone
NAME = 16  # length of the learnt embedding of each kind of keypoint
LEAST_DENSITY = 1e-8  # relative to uniform


class FusionOutput(NamedTuple):
    """Output for N people."""

    log_posterior: torch.Tensor  # (N, K, h, w) log-probabilities of where each keypoint is, each map summing to 1
    quality: Quality  # logits of all that it holds


class PoseFusion(nn.Module):
    """The transformer and the mixtures that its output weighs.

    Args:
        skeleton: of the poses.
        map_size: (h, w) of the heatmaps.
        channels: width of the transformer.
        layers: its depth.
    """

    flip: torch.Tensor
    sided: torch.Tensor

    def __init__(
        self, skeleton: Skeleton, map_size: tuple[int, int], channels: int = 96, layers: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        k, flip = len(skeleton), torch.as_tensor(skeleton.flip)
        self.map_size = torch.Size(map_size)
        self.register_buffer("flip", flip, persistent=False)
        self.register_buffer("sided", flip != torch.arange(k), persistent=False)
        self.names = nn.Parameter(torch.randn(k, NAME) * 0.1)
        self.embed = nn.Sequential(
            nn.Linear(description.WIDTH + NAME, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.person_token = nn.Parameter(torch.zeros(1, 1, channels))
        layer = nn.TransformerEncoderLayer(
            channels, heads, 2 * channels, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False)
        self._counts = [1, len(INPUT_WIDTHS) + len(COUNTERPART_WIDTHS) + 1, 2 * len(FOUND_WIDTHS) + 1, 1, 1, 1]
        self.weights = nn.Linear(channels, sum(self._counts))
        self.person = nn.Linear(channels, 3)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.person.weight)
        first = [math.log(math.expm1(description.SHARPNESS))]
        first += [-2.0, -1.0, 0.0, 0.0, 0.0, -3.0, -3.0, 0.0]  # input, counterpart, rest
        first += [-1.0, 0.0, 0.0, -2.0, -1.0, -1.0, 0.0]  # the fitting person, the one in the middle, rest
        first += [-3.0, 0.0, 0.0]  # others, similarity, presence
        with torch.no_grad():
            self.weights.bias.copy_(torch.tensor(first))

    def forward(self, evidence: Evidence, pose: InputPose) -> FusionOutput:
        """Compute the posteriors of N people; everything in pixels of the crop's frame."""
        heatmaps = evidence.heatmaps.float().clamp(-description.MAX_LOGIT, description.MAX_LOGIT)
        matching = matching_person(evidence, pose)
        central = evidence.poses[:, 0]
        described = description.describe(evidence, heatmaps, pose, matching, self.flip)
        tokens = self.embed(torch.cat([described, self.names.expand(described.shape[0], -1, -1)], dim=-1))
        tokens = self.encoder(torch.cat([self.person_token.expand(tokens.shape[0], -1, -1), tokens], dim=1))
        person, stay, move = self.person(tokens[:, 0]).unbind(-1)
        weights = torch.split(self.weights(tokens[:, 1:]), self._counts, dim=-1)
        sharpness, around_input, around_found, others, similarity, presence = weights
        logits = functional.softplus(sharpness[..., None]) * heatmaps
        logits = logits + self._input_prior(around_input, pose)
        logits = logits + self._mixture(around_found, [(matching, FOUND_WIDTHS), (central, FOUND_WIDTHS)], pose.scales)
        logits = logits + self._without_others(others[..., 0], pose)
        log_posterior = functional.log_softmax(logits.flatten(2), dim=2).view(logits.shape)
        return FusionOutput(log_posterior, Quality(presence[..., 0], person, stay, move, similarity[..., 0]))

    def _mixture(
        self, weights: torch.Tensor, parts: list[tuple[torch.Tensor, tuple[float, ...]]], scales: torch.Tensor
    ) -> torch.Tensor:
        """(N, K, h, w) logarithm of a mixture's density relative to uniform, weights (N, K, R + 1), rest last."""
        weights = functional.softmax(weights, dim=-1)
        widths = [scales[..., None] * scales.new_tensor(w) for _, w in parts]
        centres = [c[..., None, :].expand(*w.shape, 2) for (c, _), w in zip(parts, widths, strict=True)]
        width = (torch.cat(widths, -1) ** 2 + (STRIDE * CELL_BLUR) ** 2).sqrt()
        rows, columns = description.profiles(torch.cat(centres, -2), width, self.map_size)
        area = float(STRIDE**2 * self.map_size[0] * self.map_size[1])
        amplitudes = weights[..., :-1] * area / (2 * math.pi * width**2)
        density = (rows * amplitudes[..., None]).transpose(-1, -2) @ columns
        return (density + weights[..., -1, None, None]).clamp(min=LEAST_DENSITY).log()

    def _input_prior(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """Around the input keypoints and their counterparts; flat where there is no input."""
        given = pose.scores > 0
        both = given & given[:, self.flip] & self.sided
        parts = (given, len(INPUT_WIDTHS)), (both, len(COUNTERPART_WIDTHS)), (torch.ones_like(given), 1)
        known = torch.cat([part[..., None].expand(-1, -1, count) for part, count in parts], dim=-1)
        weights = weights.masked_fill(~known, torch.finfo(weights.dtype).min / 4)
        centres = [(pose.keypoints, INPUT_WIDTHS), (pose.keypoints[:, self.flip], COUNTERPART_WIDTHS)]
        return self._mixture(weights, centres, pose.scales)

    def _without_others(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """(N, K, h, w) log-factor that suppresses the places of other people's same keypoint."""
        widths = (pose.scales[:, None] * OTHERS_WIDTH).expand(pose.others.shape[:-1])
        rows, columns = description.profiles(pose.others, widths, self.map_size)
        given = (pose.other_scores > 0).float()
        covered = torch.einsum("nmkh,nmkw->nkhw", rows * given[..., None], columns).clamp(max=1)
        return torch.log1p(-0.98 * weights.sigmoid()[..., None, None] * covered)


def matching_person(evidence: Evidence, pose: InputPose) -> torch.Tensor:
    """(N, K, 2) pose, of the people found in the image, that fits the input best; without input the most certain."""
    distance = (evidence.poses - pose.keypoints[:, None]).norm(dim=-1) / pose.scales[:, None]
    given = (pose.scores > 0).float()[:, None]
    fit = (1 / (1 + distance / 3) * given).sum(-1) / given.sum(-1).clamp(min=1)
    best = (fit + 0.2 * evidence.centres.sigmoid()).argmax(1)
    return evidence.poses.gather(1, best[:, None, None, None].expand(-1, 1, *evidence.poses.shape[2:]))[:, 0]
