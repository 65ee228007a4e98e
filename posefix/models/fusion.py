"""What the image shows and what the estimator said, weighed against each other for each keypoint of one person.

By Bayes' rule the posterior over where a keypoint truly is, is proportional to a likelihood, which the image's heatmaps
give, times a prior, which the input pose gives: ``log p(y) = a H(y) + log m(y) + log n(y) + log o(y) + const``. H are
the heatmap logits; m is a mixture of Gaussians around the input keypoint and around its left/right counterpart, and a
uniform rest; n the same around two people whom the network sees, the one who fits the input best and the one in the
middle of the crop; o takes away where other people's keypoint is. How much each of them counts, ``a`` and all mixture
weights, depends on the person: a small transformer reads, for all keypoints together, how well image, input,
confidences and neighbours agree, and says so. What it can learn is thus whom to believe, never where to look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from posefix.core.skeleton import Skeleton
from posefix.models import decode
from posefix.models.interface import InputPose
from posefix.models.movenet import STRIDE, Evidence

INPUT_WIDTHS = (0.12, 0.3, 0.7, 1.6, 4.0)  # of the Gaussians around the input keypoint, in OKS scales s k
COUNTERPART_WIDTHS = (0.6, 2.0)  # around the counterpart's
SEEN_WIDTHS = (0.6, 1.5, 4.0)  # around the seen person's keypoint
OTHERS_WIDTH = 1.0  # around other people's
CELL_BLUR = 0.45  # cells; how far a Gaussian is widened, since it is known at cells alone
FIRST_SHARPNESS = 2.0  # a, before training
MAX_LOGIT = 12.0
DESCRIPTION = 74  # numbers that a keypoint is described by
LEAST_DENSITY = 1e-8  # relative to uniform
FAR = 12.0  # OKS scales: distances are told apart up to here


class Fused(NamedTuple):
    """The answer for N people.

    Attributes:
        input_similarity: (N, K) logit of the expected KS of the input keypoint.
        presence: (N, K) logit of the probability that the keypoint is in the image (annotated).
        person: (N,) logit of the expected OKS after refinement; low where there is nobody.
        log_posterior: (N, K, h, w) log-probabilities of where each keypoint is, each map summing to 1.
    """

    input_similarity: torch.Tensor
    presence: torch.Tensor
    person: torch.Tensor
    log_posterior: torch.Tensor


class PoseFusion(nn.Module):
    """Weighs evidence against input pose.

    Args:
        skeleton: of the poses.
        map_size: (h, w) of the heatmaps.
        channels: width of the transformer.
        layers: its depth.
    """

    def __init__(
        self, skeleton: Skeleton, map_size: tuple[int, int], channels: int = 96, layers: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        k, flip = len(skeleton), torch.as_tensor(skeleton.flip)
        self.map_size = map_size
        self.frame_size = tuple(STRIDE * (side - 1) + 1 for side in map_size)
        self.register_buffer("flip", flip, persistent=False)
        self.register_buffer("sided", flip != torch.arange(k), persistent=False)
        self.embed = nn.Sequential(nn.Linear(DESCRIPTION, channels), nn.GELU(), nn.Linear(channels, channels))
        self.names = nn.Parameter(torch.randn(k, channels) * 0.02)
        self.person_token = nn.Parameter(torch.zeros(1, 1, channels))
        layer = nn.TransformerEncoderLayer(
            channels, heads, 2 * channels, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False)
        self._counts = (1, len(INPUT_WIDTHS) + len(COUNTERPART_WIDTHS) + 1, 2 * len(SEEN_WIDTHS) + 1, 1, 1, 1)
        self.weights = nn.Linear(channels, sum(self._counts))
        self.person = nn.Linear(channels, 1)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.person.weight)
        first = [math.log(math.expm1(FIRST_SHARPNESS))]
        first += [-2.0, -1.0, 0.0, 0.0, 0.0, -3.0, -3.0, 0.0]  # input, counterpart, rest
        first += [-1.0, 0.0, 0.0, -2.0, -1.0, -1.0, 0.0]  # the fitting person, the one in the middle, rest
        first += [-3.0, 0.0, 0.0]  # others, similarity, presence
        with torch.no_grad():
            self.weights.bias.copy_(torch.tensor(first))

    def forward(self, evidence: Evidence, pose: InputPose) -> Fused:
        """Weigh N people; everything in pixels of the crop's frame."""
        heatmaps = evidence.heatmaps.float().clamp(-MAX_LOGIT, MAX_LOGIT)
        seen = self._seen_person(evidence, pose)
        central = evidence.poses[:, 0]
        described = self.describe(heatmaps, evidence, pose, seen)
        tokens = self.embed(described) + self.names
        tokens = torch.cat([self.person_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.encoder(tokens)
        person, tokens = tokens[:, 0], tokens[:, 1:]
        sharpness, around, by_seen, others, similarity, presence = self.weights(tokens).split(self._counts, dim=-1)
        logits = functional.softplus(sharpness[..., None]) * heatmaps
        logits = logits + self._input_prior(around, pose)
        logits = logits + self._mixture(by_seen, [(seen, SEEN_WIDTHS), (central, SEEN_WIDTHS)], pose.scales)
        logits = logits + self._without_others(others[..., 0], pose)
        log_posterior = functional.log_softmax(logits.flatten(2), dim=2).view(logits.shape)
        return Fused(similarity[..., 0], presence[..., 0], self.person(person)[..., 0], log_posterior)

    def _seen_person(self, evidence: Evidence, pose: InputPose) -> torch.Tensor:
        """(N, K, 2) of the P seen people the one who fits the input best; without any input the best seen."""
        distance = (evidence.poses - pose.keypoints[:, None]).norm(dim=-1) / pose.scales[:, None]
        given = (pose.scores > 0).float()[:, None]
        fit = (1 / (1 + distance / 3) * given).sum(-1) / given.sum(-1).clamp(min=1)
        fit = fit + 0.2 * evidence.centres.sigmoid()
        best = fit.argmax(1)
        return evidence.poses[torch.arange(len(best), device=best.device), best]

    def describe(self, heatmaps: torch.Tensor, evidence: Evidence, pose: InputPose, seen: torch.Tensor) -> torch.Tensor:
        """(N, K, D) how image, input, confidences and neighbours agree about each keypoint."""
        size, scales = self.frame_size, pose.scales
        given = pose.scores > 0
        x = pose.keypoints
        mirrored = x[:, self.flip]
        both = given & given[:, self.flip] & self.sided
        likelihood = decode.spatial_softmax(FIRST_SHARPNESS * heatmaps)
        expected = decode.expected_similarity(likelihood, scales.clamp(min=6.0), size)
        peak, best = decode.subpixel_argmax(expected, size)
        near = expected * self._gaussian(x, 3 * scales)
        near_peak, near_best = decode.subpixel_argmax(near.clamp(min=1e-12), size)

        def at(maps: torch.Tensor, points: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
            return torch.where(decode.inside(points, size), decode.sample_maps(maps, points, size), fill)

        def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return ((a - b).norm(dim=-1) / scales).clamp(max=FAR)

        def graded(distance: torch.Tensor) -> list[torch.Tensor]:
            return [torch.exp(-0.5 * distance**2), torch.exp(-0.5 * (distance / 3) ** 2), torch.log1p(distance) / 2.5]

        central = evidence.poses[:, 0]
        frame, reference = x.new_tensor([size[1], size[0]]), scales.mean(-1, keepdim=True)
        count = given.sum(-1, keepdim=True).clamp(min=1)
        middle = ((x * given[..., None]).sum(1) / count)[:, None]
        own = given.float()
        confidence = pose.scores.clamp(0, 1) * own
        mean_confidence = confidence.sum(-1, keepdim=True) / count
        other_given = (pose.other_scores > 0).float()
        low = heatmaps.new_full((), -MAX_LOGIT)
        columns = [
            own,
            confidence,
            confidence - mean_confidence,
            mean_confidence.expand_as(confidence),
            best,
            near_best * own,
            at(expected, x) * own,
            at(expected[:, self.flip], x) * own,
            at(expected, mirrored) * both,
            best[:, self.flip],
            heatmaps.flatten(2).amax(2) / 6,
            at(heatmaps, x, -MAX_LOGIT) / 6 * own,
            at(heatmaps[:, self.flip], x, -MAX_LOGIT) / 6 * own,
            (at(heatmaps, mirrored, -MAX_LOGIT) / 6) * both,
            at(heatmaps[:, self.flip], peak, -MAX_LOGIT) / 6,
            *[value * own for value in graded(apart(x, peak))],
            *[value * own for value in graded(apart(x, near_peak))],
            *[value * own for value in graded(apart(x, seen))],
            *graded(apart(seen, peak)),
            *[value * own for value in graded(apart(x, central))],
            *graded(apart(central, peak)),
            *graded(apart(central, seen)),
            *[value * both for value in graded(apart(x, mirrored))],
            *[value * both for value in graded(apart(mirrored, peak))],
            *[value * own for value in graded(apart(x, peak[:, self.flip]))],
            *graded(apart(peak, peak[:, self.flip])),
            decode.inside(x, size).float() * own,
            decode.inside(seen, size).float(),
            *self._relative((x - middle) / reference[..., None] / 6, own),
            *self._relative((peak - middle) / reference[..., None] / 6, torch.ones_like(own)),
            *self._relative((x - peak) / scales[..., None], own),
            *self._relative((seen - peak) / scales[..., None], torch.ones_like(own)),
            *[value * own for value in graded(self._nearest_other(x, pose, other_given))],
            *graded(self._nearest_other(peak, pose, other_given)),
            *self._relative(8 * (x / frame - 0.5), own),
            *self._relative(8 * (central / frame - 0.5), torch.ones_like(own)),
            evidence.centres[:, :1].clamp(low, -low).expand_as(confidence) / 6,
            (peak[..., 0] / size[1] - 0.5),
            (peak[..., 1] / size[0] - 0.5),
            (reference / 12).expand_as(confidence),
            evidence.centres.amax(1, keepdim=True).clamp(low, -low).expand_as(confidence) / 6,
            other_given.amax(-1).sum(-1, keepdim=True).expand_as(confidence) / 4,
        ]
        return torch.stack(columns, dim=-1)

    @staticmethod
    def _relative(offset: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
        bounded = torch.tanh(offset / 2) * weight[..., None]
        return [bounded[..., 0], bounded[..., 1]]

    def _nearest_other(self, points: torch.Tensor, pose: InputPose, given: torch.Tensor) -> torch.Tensor:
        """(N, K) distance of points (N, K, 2) from the nearest other person's same keypoint, in OKS scales."""
        distance = (points[:, None] - pose.others).norm(dim=-1) / pose.scales[:, None]
        return torch.where(given > 0, distance, FAR).amin(1).clamp(max=FAR)

    def _profiles(self, centres: torch.Tensor, widths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gaussian factors (..., h) and (..., w) around centres (..., 2) of widths (...), in pixels."""
        axes = []
        for axis, count in ((1, self.map_size[0]), (0, self.map_size[1])):
            cells = torch.arange(count, dtype=centres.dtype, device=centres.device) * 4.0
            axes.append(torch.exp(-0.5 * ((cells - centres[..., axis, None]) / widths[..., None]) ** 2))
        return axes[0], axes[1]

    def _gaussian(self, centres: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
        """(N, K, h, w) of height 1."""
        rows, columns = self._profiles(centres, widths)
        return rows[..., :, None] * columns[..., None, :]

    def _mixture(
        self, weights: torch.Tensor, parts: list[tuple[torch.Tensor, tuple[float, ...]]], scales: torch.Tensor
    ) -> torch.Tensor:
        """(N, K, h, w) logarithm of a mixture's density relative to uniform, weights (N, K, R + 1), rest last."""
        shares = functional.softmax(weights, dim=-1)
        widths = [scales[..., None] * scales.new_tensor(w) for _, w in parts]
        centres = [c[..., None, :].expand(*w.shape, 2) for (c, _), w in zip(parts, widths, strict=True)]
        width = (torch.cat(widths, -1) ** 2 + (4.0 * CELL_BLUR) ** 2).sqrt()
        rows, columns = self._profiles(torch.cat(centres, -2), width)
        area = 16.0 * self.map_size[0] * self.map_size[1]
        heights = shares[..., :-1] * area / (2 * math.pi * width**2)
        density = (rows * heights[..., None]).transpose(-1, -2) @ columns
        return (density + shares[..., -1, None, None]).clamp(min=LEAST_DENSITY).log()

    def _input_prior(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """Around the input keypoints and their counterparts; flat where there is no input."""
        given = pose.scores > 0
        both = given & given[:, self.flip] & self.sided
        counts = [len(INPUT_WIDTHS), len(COUNTERPART_WIDTHS), 1]
        input_part, counterpart, rest = weights.split(counts, dim=-1)
        never = torch.finfo(weights.dtype).min / 4
        weights = torch.cat(
            [
                input_part.masked_fill(~given[..., None], never),
                counterpart.masked_fill(~both[..., None], never),
                rest,
            ],
            dim=-1,
        )
        parts = [(pose.keypoints, INPUT_WIDTHS), (pose.keypoints[:, self.flip], COUNTERPART_WIDTHS)]
        return self._mixture(weights, parts, pose.scales)

    def _without_others(self, weights: torch.Tensor, pose: InputPose) -> torch.Tensor:
        """Logarithm of what is left where another person's same keypoint is."""
        widths = (pose.scales[:, None] * OTHERS_WIDTH).expand(pose.others.shape[:-1])
        rows, columns = self._profiles(pose.others, widths)
        given = (pose.other_scores > 0).float()
        covered = torch.einsum("nmkh,nmkw->nkhw", rows * given[..., None], columns).clamp(max=1)
        return torch.log1p(-0.98 * weights.sigmoid()[..., None, None] * covered)
