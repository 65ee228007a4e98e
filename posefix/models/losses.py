"""What the two kinds of networks are trained on, masked to annotated keypoints inside the frame."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from posefix.models import decode
from posefix.models.fusion import Fused
from posefix.models.interface import InputPose
from posefix.models.movenet import Evidence
from posefix.models.network import FusionNetwork, PoseFixNetwork

Batch = dict[str, torch.Tensor]
PERSON_WEIGHT = PRESENCE_WEIGHT = SIMILARITY_WEIGHT = UTILITY_WEIGHT = 0.3  # beside the cross-entropy of the heatmaps


class TrainingLoss(nn.Module):
    """A network with its loss, so that one forward pass is one training step.

    Args:
        network: what is trained.
        coordinate_weight: scales the L1 loss of the deconv and fpn heads.
    """

    def __init__(self, network: PoseFixNetwork | FusionNetwork, coordinate_weight: float = 1.0) -> None:
        super().__init__()
        self.network, self.coordinate_weight = network, coordinate_weight

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The parts of the loss by name, scalars that are to be summed."""
        config = self.network.config
        size = config.frame_size
        pose = InputPose(*(batch[name] for name in InputPose._fields))
        if isinstance(self.network, PoseFixNetwork):
            logits = self.network(batch["crops"], pose.keypoints, (pose.scores > 0).float())
            cross_entropy, coordinate = refinement_losses(logits, batch["target"], batch["labelled"], size)
            return {"cross_entropy": cross_entropy, "coordinate": self.coordinate_weight * coordinate}
        cached = "heatmaps" in batch
        if cached:
            evidence = Evidence(*(batch[name] for name in Evidence._fields))
        else:
            evidence = self.network.encode(batch["crops"], flip_test=False)
        return fusion_losses(self.network(evidence, pose), pose, batch, size, config.keep_margin)


def refinement_losses(
    logits: torch.Tensor, target: torch.Tensor, labelled: torch.Tensor, crop_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy against the bilinear one-hot target, and L1 on the soft-argmax coordinates (PoseFix, section 4).

    Args:
        logits: (N, K, h, w) heatmaps before the spatial softmax.
        target: (N, K, 2) true keypoints in pixels of the crop.
        labelled: (N, K) bool, keypoints that count; those outside the crop never do.
        crop_size: (height, width) of the crop.

    Returns:
        Two scalars, each the mean over counted keypoints (0 if there are none); the L1 in heatmap pixels.
    """
    mask = (labelled & decode.inside(target, crop_size)).float()
    count = mask.sum().clamp(min=1)
    log_probabilities = functional.log_softmax(logits.float().flatten(2), dim=2).view(logits.shape)
    predicted = decode.soft_argmax(log_probabilities.exp(), crop_size)
    stride_y, stride_x = decode.map_stride(crop_size, tuple(logits.shape[2:]))
    stride = torch.tensor([stride_x, stride_y], device=logits.device)
    distance = ((predicted - target).abs() / stride).mean(-1)
    return cross_entropy(log_probabilities, target, mask, crop_size), (distance * mask).sum() / count


def cross_entropy(
    log_probabilities: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, crop_size: tuple[int, int]
) -> torch.Tensor:
    """Mean over the keypoints of ``mask`` (N, K) of maps' (N, K, h, w) against the bilinear one-hot of (N, K, 2)."""
    indices, weights = decode.bilinear_one_hot(target, tuple(log_probabilities.shape[2:]), crop_size)
    values = -(log_probabilities.flatten(2).gather(2, indices) * weights).sum(-1)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def fusion_losses(
    fused: Fused, pose: InputPose, batch: Batch, size: tuple[int, int], margin: float
) -> dict[str, torch.Tensor]:
    """Cross-entropy of the posterior, and calibration of all that the head says beside it.

    Of presence, every kind of keypoint counts that the data set annotates at all; of a person, the OKS that decoding
    reaches with the keypoints' similarities to the truth.

    Args:
        fused: the head's answer.
        pose: its input.
        batch: with ``target`` (N, K, 2), ``labelled`` and ``annotated`` (N, K) bool and ``target_scales`` (N, K), the
            true OKS scales in pixels of the frame.
        size: (height, width) of the frame.
        margin: of decoding.

    Returns:
        Scalars by name.
    """
    target, scales = batch["target"], batch["target_scales"]
    labelled, annotated = batch["labelled"].float(), batch["annotated"].float()

    def similarity(keypoints: torch.Tensor) -> torch.Tensor:
        return torch.exp(-0.5 * (keypoints - target).square().sum(-1) / scales.square())

    def calibration(logits: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        values = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return (values * mask).sum() / mask.sum().clamp(min=1)

    with torch.no_grad():
        posterior = fused.log_posterior.exp()
        decoded = decode.expected_oks_decode(posterior, pose.scales, size, pose.keypoints)
        moved, _ = decode.move_or_stay(decoded, pose.keypoints, pose.scores > 0, margin)
        present = pose.scores > 0
        stayed = torch.where(present[..., None], pose.keypoints, moved)
        oks, stay_oks = (
            (similarity(points) * labelled).sum(1) / labelled.sum(1).clamp(min=1) for points in (moved, stayed)
        )
    given = labelled * present
    mask = labelled * decode.inside(target, size)
    person = calibration(fused.person, oks, labelled.amax(1))
    return {
        "cross_entropy": cross_entropy(fused.log_posterior, target, mask, size),
        "similarity": SIMILARITY_WEIGHT * calibration(fused.input_similarity, similarity(pose.keypoints), given),
        "presence": PRESENCE_WEIGHT * calibration(fused.presence, labelled, annotated),
        "person": PERSON_WEIGHT * person,
        "stay": UTILITY_WEIGHT * calibration(fused.stay, passed(stay_oks), labelled.amax(1) * present.any(1)),
        "move": UTILITY_WEIGHT * calibration(fused.move, passed(oks), labelled.amax(1)),
    }


def passed(oks: torch.Tensor) -> torch.Tensor:
    """Share of COCO's OKS thresholds 0.5, 0.55, ..., 0.95 that an OKS (N,) passes."""
    thresholds = torch.linspace(0.5, 0.95, 10, device=oks.device)
    return (oks[:, None] >= thresholds).float().mean(1)
