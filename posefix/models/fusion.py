"""Fuse MoveNet's output with the input pose to a posterior over the position of each keypoint.

By Bayes' rule the posterior is proportional to the likelihood given by the image's heatmaps times a prior given by the
input pose: ``log p(y) = a H(y) + log m(y) + log n(y) + log o(y) + const``. H are the heatmap logits; m is a mixture of
a uniform distribution and of Gaussians around the input keypoint and its left/right counterpart; n is another around
two people detected in the image, the best match of the input and the most central one; o suppresses the positions of
other people's keypoints. A small transformer predicts ``a`` and all mixture weights for each person from features of
how well image, input, confidences and neighbours agree (:mod:`posefix.models.description`).
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

# Sigmas of the Gaussians, in OKS scales s k.
INPUT_SIGMAS = (0.12, 0.3, 0.7, 1.6, 4.0)  # around the input keypoint
COUNTERPART_SIGMAS = (0.6, 2.0)  # around its left/right counterpart
DETECTED_SIGMAS = (0.6, 1.5, 4.0)  # around the keypoint of a detected person
OTHERS_SIGMA = 1.0  # around other people's keypoint
CELL_BLUR = 0.45  # cells; sigma added to each Gaussian, since it is sampled at cells
EMBEDDING = 16  # length of the learned embedding of each keypoint type
MIN_DENSITY = 1e-8  # lower bound of mixture densities, relative to uniform


class FusionOutput(NamedTuple):
    """Output for N people."""

    log_posterior: torch.Tensor  # (N, K, h, w) log-probabilities, normalised over each map
    quality: Quality  # as logits


class PoseFusion(nn.Module):
    """The transformer and the mixtures whose weights it predicts.

    Args:
        skeleton: of the poses.
        map_size: (h, w) of the heatmaps.
        channels: width of the transformer.
        layers: depth of the transformer.
        heads: number of attention heads.
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
        self.names = nn.Parameter(torch.randn(k, EMBEDDING) * 0.1)
        self.embed = nn.Sequential(
            nn.Linear(description.WIDTH + EMBEDDING, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.person_token = nn.Parameter(torch.zeros(1, 1, channels))
        layer = nn.TransformerEncoderLayer(
            channels, heads, 2 * channels, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False)
        self._counts = [1, len(INPUT_SIGMAS) + len(COUNTERPART_SIGMAS) + 1, 2 * len(DETECTED_SIGMAS) + 1, 1, 1, 1]
        self.weights = nn.Linear(channels, sum(self._counts))
        self.person = nn.Linear(channels, 3)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.person.weight)
        bias = [math.log(math.expm1(description.SHARPNESS))]
        bias += [-2.0, -1.0, 0.0, 0.0, 0.0, -3.0, -3.0, 0.0]  # input, counterpart, uniform
        bias += [-1.0, 0.0, 0.0, -2.0, -1.0, -1.0, 0.0]  # matching person, central person, uniform
        bias += [-3.0, 0.0, 0.0]  # others, similarity, presence
        with torch.no_grad():
            self.weights.bias.copy_(torch.tensor(bias))

    def forward(self, evidence: Evidence, pose: InputPose) -> FusionOutput:
        """Compute the posteriors of N people."""
        heatmaps = evidence.heatmaps.float().clamp(-description.MAX_LOGIT, description.MAX_LOGIT)
        matching = matching_person(evidence, pose)
        central = evidence.poses[:, 0]
        features = description.describe(evidence, heatmaps, pose, matching, self.flip)
        tokens = self.embed(torch.cat([features, self.names.expand(features.shape[0], -1, -1)], dim=-1))
        tokens = self.encoder(torch.cat([self.person_token.expand(tokens.shape[0], -1, -1), tokens], dim=1))
        person, stay, move = self.person(tokens[:, 0]).unbind(-1)
        weights = torch.split(self.weights(tokens[:, 1:]), self._counts, dim=-1)
        sharpness, input_weights, detected_weights, suppression, similarity, presence = weights
        logits = functional.softplus(sharpness[..., None]) * heatmaps
        logits = logits + self._input_prior(input_weights, pose)
        logits = logits + self._mixture(
            detected_weights, [(matching, DETECTED_SIGMAS), (central, DETECTED_SIGMAS)], pose.scales
        )
        logits = logits + self._without_others(suppression[..., 0], pose)
        log_posterior = functional.log_softmax(logits.flatten(2), dim=2).view(logits.shape)
        return FusionOutput(log_posterior, Quality(presence[..., 0], person, stay, move, similarity[..., 0]))

    def _mixture(
        self, weights: torch.Tensor, components: list[tuple[torch.Tensor, tuple[float, ...]]], scales: torch.Tensor
    ) -> torch.Tensor:
        """Log-density (N, K, h, w) of a mixture relative to uniform; weights (N, K, R + 1), that of uniform last."""
        weights = functional.softmax(weights, dim=-1)
        sigmas = [scales[..., None] * scales.new_tensor(s) for _, s in components]
        centres = [centre[..., None, :].expand(*s.shape, 2) for (centre, _), s in zip(components, sigmas, strict=True)]
        sigma = (torch.cat(sigmas, -1) ** 2 + (STRIDE * CELL_BLUR) ** 2).sqrt()
        rows, columns = description.profiles(torch.cat(centres, -2), sigma, self.map_size)
        area = float(STRIDE**2 * self.map_size[0] * self.map_size[1])
        amplitudes = weights[..., :-1] * area / (2 * math.pi * sigma**2)
        density = (rows * amplitudes[..., None]).transpose(-1, -2) @ columns
        return (density + weights[..., -1, None, None]).clamp(min=MIN_DENSITY).log()

    def _input_prior(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """Log-prior around the input keypoints and their counterparts; uniform where there is no input."""
        valid = pose.scores > 0
        pair_valid = valid & valid[:, self.flip] & self.sided
        groups = (valid, len(INPUT_SIGMAS)), (pair_valid, len(COUNTERPART_SIGMAS)), (torch.ones_like(valid), 1)
        usable = torch.cat([mask[..., None].expand(-1, -1, count) for mask, count in groups], dim=-1)
        weights = weights.masked_fill(~usable, torch.finfo(weights.dtype).min / 4)
        components = [(pose.keypoints, INPUT_SIGMAS), (pose.keypoints[:, self.flip], COUNTERPART_SIGMAS)]
        return self._mixture(weights, components, pose.scales)

    def _without_others(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """Log-factor (N, K, h, w) that suppresses the positions of other people's same keypoint."""
        sigmas = (pose.scales[:, None] * OTHERS_SIGMA).expand(pose.others.shape[:-1])
        rows, columns = description.profiles(pose.others, sigmas, self.map_size)
        valid = (pose.other_scores > 0).float()
        covered = torch.einsum("nmkh,nmkw->nkhw", rows * valid[..., None], columns).clamp(max=1)
        return torch.log1p(-0.98 * weights.sigmoid()[..., None, None] * covered)


def matching_person(evidence: Evidence, pose: InputPose) -> torch.Tensor:
    """Return the detected pose (N, K, 2) that fits the input best; without input, the most confident one."""
    distance = (evidence.poses - pose.keypoints[:, None]).norm(dim=-1) / pose.scales[:, None]
    valid = (pose.scores > 0).float()[:, None]
    fit = (1 / (1 + distance / 3) * valid).sum(-1) / valid.sum(-1).clamp(min=1)
    best = (fit + 0.2 * evidence.centres.sigmoid()).argmax(1)
    return evidence.poses.gather(1, best[:, None, None, None].expand(-1, 1, *evidence.poses.shape[2:]))[:, 0]
