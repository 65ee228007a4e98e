"""Inputs and outputs common to all refinement networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from posefix.models import decode
from posefix.models.config import ModelConfig

Evidence = Any  # a NamedTuple of tensors whose first axis is the N people; each network has its own type
Tensors = TypeVar("Tensors", bound="tuple[torch.Tensor, ...]")


class InputPose(NamedTuple):
    """Estimated poses of N people, in pixels of the network's frame."""

    keypoints: torch.Tensor  # (N, K, 2)
    scores: torch.Tensor  # (N, K) confidences; 0 where there is no estimate
    scales: torch.Tensor  # (N, K) OKS scales s k
    others: torch.Tensor  # (N, M, K, 2) keypoints of the M nearest other people in the image
    other_scores: torch.Tensor  # (N, M, K) their confidences; 0 where there are fewer than M people
    boxes: torch.Tensor  # (N, 4) x0, y0, x1, y1 of boxes not derived from the pose; else zeros
    accuracy: torch.Tensor  # (N,) mean share of COCO's OKS thresholds that the estimator passes, about its AP / 100

    @property
    def has_box(self) -> torch.Tensor:
        """Mask (N,) bool of the people with a box."""
        return (self.boxes[:, 2:] > self.boxes[:, :2]).all(1)

    def mirrored(self, flip: torch.Tensor, width: int) -> InputPose:
        """Mirror the poses in a crop ``width`` pixels wide; ``flip`` (K,) exchanges left and right."""

        def mirror(points: torch.Tensor) -> torch.Tensor:
            return torch.stack([width - 1 - points[..., flip, 0], points[..., flip, 1]], dim=-1)

        x0, y0, x1, y1 = self.boxes.unbind(1)
        boxes = torch.stack([width - 1 - x1, y0, width - 1 - x0, y1], dim=1)
        return InputPose(
            mirror(self.keypoints),
            self.scores[..., flip],
            self.scales[..., flip],
            mirror(self.others),
            self.other_scores[..., flip],
            torch.where(self.has_box[:, None], boxes, self.boxes),
            self.accuracy,
        )

    def without_estimates(self) -> InputPose:
        """Return the same people without any estimated keypoint."""
        return self._replace(scores=torch.zeros_like(self.scores))


class Quality(NamedTuple):
    """Predicted quality of the poses of N people."""

    presence: torch.Tensor  # (N, K) probability that the keypoint is in the image, visible or hidden
    person: torch.Tensor  # (N,) expected OKS after refinement, given that the pose is on a person
    stay: torch.Tensor  # (N,) share of COCO's OKS thresholds that the input pose is expected to pass
    move: torch.Tensor  # (N,) share that the refined pose is expected to pass
    input_similarity: torch.Tensor  # (N, K) expected KS of the input keypoints


class NetworkOutput(NamedTuple):
    """Output for N people."""

    posterior: torch.Tensor  # (N, K, h, w) probabilities of the keypoints' positions, each map summing to 1
    quality: Quality | None = None  # None from a network that does not predict it


class Located(NamedTuple):
    """Decoded output of N people."""

    decoded: decode.Decoded
    quality: Quality | None

    @classmethod
    def of(cls, output: NetworkOutput, pose: InputPose, size: tuple[int, int]) -> Located:
        """Decode a network's output for an input pose; ``size`` is (height, width) of the frame."""
        return cls(decode.expected_oks_decode(output.posterior, pose.scales, size, pose.keypoints), output.quality)


class RefinementNetwork(nn.Module, ABC):
    """A network in two steps: encode the image, then predict from the encoding and an input pose.

    Poses are in pixels of the frame (``ModelConfig.frame_size``), the part of the crop whose corners are the centres of
    the heatmaps' corner pixels.
    """

    config: ModelConfig
    flip: torch.Tensor  # (K,) left/right counterpart of each keypoint
    heatmap_size: tuple[int, int]  # (h, w)

    @abstractmethod
    def encode(self, crops: torch.Tensor, flip_test: bool) -> Evidence:
        """Encode crops (N, 3, H, W) uint8 RGB: everything that does not depend on the pose."""

    @abstractmethod
    def predict(self, evidence: Evidence, pose: InputPose) -> NetworkOutput:
        """Predict the posterior of each keypoint."""

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        """Predict and decode."""
        return Located.of(self.predict(evidence, pose), pose, self.config.frame_size)


def take(tensors: Tensors, rows: torch.Tensor) -> Tensors:
    """Select people from a named tuple of tensors, such as :class:`InputPose` or evidence."""
    return type(tensors)(*(tensor[rows] for tensor in tensors))
