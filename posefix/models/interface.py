"""What goes into every refinement network and what comes out, whichever way the input pose meets the image in it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from posefix.models.config import ModelConfig

Evidence = Any  # a NamedTuple of tensors whose first axis is the N people: the network's own
Tensors = TypeVar("Tensors", bound="tuple[torch.Tensor, ...]")


class InputPose(NamedTuple):
    """What an estimator said of N people, in pixels of the network's frame.

    Attributes:
        keypoints: (N, K, 2).
        scores: (N, K) confidences; 0 says that there is no estimate.
        scales: (N, K) OKS scales s k.
        others: (N, M, K, 2) the same keypoints of the M nearest other people of the image.
        other_scores: (N, M, K) their confidences; 0 throughout where there are fewer than M.
        boxes: (N, 4) the person's box as x0, y0, x1, y1, where one is known by itself; zeros where not.
    """

    keypoints: torch.Tensor
    scores: torch.Tensor
    scales: torch.Tensor
    others: torch.Tensor
    other_scores: torch.Tensor
    boxes: torch.Tensor

    def mirrored(self, flip: torch.Tensor, width: int) -> InputPose:
        """The poses in the mirrored crop, ``width`` pixels wide; ``flip`` (K,) exchanges left and right."""

        def mirror(points: torch.Tensor) -> torch.Tensor:
            return torch.stack([width - 1 - points[..., flip, 0], points[..., flip, 1]], dim=-1)

        return InputPose(
            mirror(self.keypoints),
            self.scores[..., flip],
            self.scales[..., flip],
            mirror(self.others),
            self.other_scores[..., flip],
            torch.where(
                (self.boxes[:, 2:] > self.boxes[:, :2]).all(1, keepdim=True),
                torch.stack(
                    [width - 1 - self.boxes[:, 2], self.boxes[:, 1], width - 1 - self.boxes[:, 0], self.boxes[:, 3]], 1
                ),
                self.boxes,
            ),
        )

    def without_estimates(self) -> InputPose:
        """The same people, as if no keypoint of theirs had been estimated."""
        return self._replace(scores=torch.zeros_like(self.scores))


class NetworkOutput(NamedTuple):
    """Where the keypoints of N people are.

    Attributes:
        posterior: (N, K, h, w) probabilities, each map summing to 1.
        presence: (N, K) probability that the keypoint is in the image, visible or hidden; None where it is not told.
        person: (N,) OKS expected after refinement, low where there is nobody; None where it is not told.
        stay: (N,) share of COCO's OKS thresholds that the input pose is expected to pass; None where it is not told.
        move: (N,) likewise, the refined pose.
        input_similarity: (N, K) expected KS of the input keypoints; None where it is not told.
    """

    posterior: torch.Tensor
    presence: torch.Tensor | None = None
    person: torch.Tensor | None = None
    stay: torch.Tensor | None = None
    move: torch.Tensor | None = None
    input_similarity: torch.Tensor | None = None


class RefinementNetwork(Protocol):
    """A network in two steps: what the image says, and what follows from it and an input pose.

    Poses are in pixels of the frame (``ModelConfig.frame_size``), the part of the crop whose corners are the
    middles of the heatmaps' outermost pixels.

    Attributes:
        config: what it was built from.
        heatmap_size: (h, w).
        image_first: whether the first step is the costly one, so that asking again with other poses costs little.
    """

    config: ModelConfig
    heatmap_size: tuple[int, int]
    image_first: bool

    def encode(self, crops: torch.Tensor, flip_test: bool) -> Evidence:
        """Compute all that does not depend on the pose, of crops (N, 3, H, W) uint8 RGB."""
        ...

    def predict(self, evidence: Evidence, pose: InputPose) -> NetworkOutput:
        """Compute where the keypoints are."""
        ...


def take(tensors: Tensors, rows: torch.Tensor) -> Tensors:
    """The people at ``rows`` of a named tuple of tensors, such as :class:`InputPose` or evidence."""
    return type(tensors)(*(tensor[rows] for tensor in tensors))
