"""What goes into every refinement network and what comes out, whichever way the input pose meets the image in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from posefix.models import decode
from posefix.models.config import ModelConfig

Evidence = Any  # a NamedTuple of tensors whose first axis is the N people, of a type that each network chooses
Tensors = TypeVar("Tensors", bound="tuple[torch.Tensor, ...]")


class InputPose(NamedTuple):
    """What an estimator says of N people, in pixels of the network's frame."""

    keypoints: torch.Tensor  # (N, K, 2)
    scores: torch.Tensor  # (N, K) confidences; 0 where there is no estimate
    scales: torch.Tensor  # (N, K) OKS scales s k
    others: torch.Tensor  # (N, M, K, 2) the same keypoints of the M nearest other people of the image
    other_scores: torch.Tensor  # (N, M, K) their confidences; 0 throughout where there are fewer than M
    # (N, 4) the person's box as x0, y0, x1, y1, if it is known from elsewhere than the pose; else zeros
    boxes: torch.Tensor
    # (N,) share of COCO's OKS thresholds that the estimator's poses are known to pass on average, about its AP
    accuracy: torch.Tensor

    @property
    def has_box(self) -> torch.Tensor:
        """(N,) bool, whether the box is known."""
        return (self.boxes[:, 2:] > self.boxes[:, :2]).all(1)

    def mirrored(self, flip: torch.Tensor, width: int) -> InputPose:
        """The poses in the mirrored crop, ``width`` pixels wide; ``flip`` (K,) exchanges left and right."""

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
        """The same people, as if no keypoint of theirs had been estimated."""
        return self._replace(scores=torch.zeros_like(self.scores))


class Quality(NamedTuple):
    """How good the poses of N people are, as a network expects."""

    presence: torch.Tensor  # (N, K) probability that the keypoint is in the image, visible or hidden
    # (N,) OKS expected after refinement; trained on annotated people alone, it says nothing of poses on no person
    person: torch.Tensor
    stay: torch.Tensor  # (N,) share of COCO's OKS thresholds that the input pose is expected to pass
    move: torch.Tensor  # (N,) likewise, the refined pose
    input_similarity: torch.Tensor  # (N, K) expected KS of the input keypoints


class NetworkOutput(NamedTuple):
    """Where the keypoints of N people are."""

    posterior: torch.Tensor  # (N, K, h, w) probabilities, each map summing to 1
    quality: Quality | None = None  # of the poses; None from a network that does not estimate it


class Located(NamedTuple):
    """Where keypoints are best placed: what an engine computes for N people."""

    decoded: decode.Decoded
    quality: Quality | None

    @classmethod
    def of(cls, output: NetworkOutput, pose: InputPose, size: tuple[int, int]) -> Located:
        """Decode the posteriors that a network computed for a pose; ``size`` is the frame's (height, width)."""
        return cls(decode.expected_oks_decode(output.posterior, pose.scales, size, pose.keypoints), output.quality)


class RefinementNetwork(nn.Module, ABC):
    """A network in two steps: one for the image alone, and one for the result of the first and an input pose.

    Poses are in pixels of the frame (``ModelConfig.frame_size``), the part of the crop whose corners are the
    middles of the heatmaps' outermost pixels.
    """

    config: ModelConfig  # what it was built from
    flip: torch.Tensor  # (K,) left/right counterpart of each keypoint
    heatmap_size: tuple[int, int]  # (h, w)

    @abstractmethod
    def encode(self, crops: torch.Tensor, flip_test: bool) -> Evidence:
        """Compute all that does not depend on the pose, of crops (N, 3, H, W) uint8 RGB."""

    @abstractmethod
    def predict(self, evidence: Evidence, pose: InputPose) -> NetworkOutput:
        """Compute where the keypoints are."""

    def locate(self, evidence: Evidence, pose: InputPose) -> Located:
        """Compute and decode where the keypoints are."""
        return Located.of(self.predict(evidence, pose), pose, self.config.frame_size)


def take(tensors: Tensors, rows: torch.Tensor) -> Tensors:
    """The people at ``rows`` of a named tuple of tensors, such as :class:`InputPose` or evidence."""
    return type(tensors)(*(tensor[rows] for tensor in tensors))
