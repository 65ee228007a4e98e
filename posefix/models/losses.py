"""What the two kinds of networks are trained on, masked to annotated keypoints inside the frame."""

from __future__ import annotations

import torch
from torch import distributed, nn
from torch.nn import functional

from posefix.models import decode
from posefix.models.fusion import FusionOutput
from posefix.models.interface import InputPose
from posefix.models.movenet import Evidence
from posefix.models.network import FusionNetwork, PoseFixNetwork

Batch = dict[str, torch.Tensor]
CALIBRATION_WEIGHT = 0.3  # of each calibration, beside the cross-entropy of the heatmaps


class TrainingLoss(nn.Module):
    """A network with its loss, so that one forward pass is one training step.

    Args:
        network: what is trained.
        coordinate_weight: scales the L1 loss of the deconv head.
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
        if "heatmaps" in batch:  # cached
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
    log_probabilities = functional.log_softmax(logits.float().flatten(2), dim=2).view(logits.shape)
    predicted = decode.soft_argmax(log_probabilities.exp(), crop_size)
    stride_y, stride_x = decode.map_stride(crop_size, (logits.shape[2], logits.shape[3]))
    stride = torch.tensor([stride_x, stride_y], device=logits.device)
    distance = ((predicted - target).abs() / stride).mean(-1)
    return cross_entropy(log_probabilities, target, mask, crop_size), masked_mean(distance, mask)


def cross_entropy(
    log_probabilities: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, crop_size: tuple[int, int]
) -> torch.Tensor:
    """Mean over the keypoints of ``mask`` (N, K) of maps' (N, K, h, w) against the bilinear one-hot of (N, K, 2)."""
    height, width = log_probabilities.shape[2:]
    indices, weights = decode.bilinear_one_hot(target, (height, width), crop_size)
    return masked_mean(-(log_probabilities.flatten(2).gather(2, indices) * weights).sum(-1), mask)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the values whose mask is 1; 0 if there is none.

    Of several processes each has a share of the batch: the mean of their results is that over the whole batch.
    """
    count, processes = mask.sum(), 1
    if distributed.is_initialized():
        distributed.all_reduce(count)
        processes = distributed.get_world_size()
    return (values * mask).sum() * processes / count.clamp(min=1)


def fusion_losses(
    fused: FusionOutput, pose: InputPose, batch: Batch, size: tuple[int, int], margin: float
) -> dict[str, torch.Tensor]:
    """Cross-entropy of the posterior, and calibration of the head's other outputs.

    Presence counts for every kind of keypoint that the data set annotates at all; the truth for a person is the OKS
    that decoding reaches.

    Args:
        fused: the head's output.
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
        return masked_mean(functional.binary_cross_entropy_with_logits(logits, truth, reduction="none"), mask)

    def oks_of(keypoints: torch.Tensor) -> torch.Tensor:
        return (similarity(keypoints) * labelled).sum(1) / labelled.sum(1).clamp(min=1)

    given, known = pose.scores > 0, labelled.amax(1)
    with torch.no_grad():
        decoded = decode.expected_oks_decode(fused.log_posterior.exp(), pose.scales, size, pose.keypoints)
        moved, _ = decode.move_or_stay(decoded, pose.keypoints, given, margin)
        oks, stay_oks = oks_of(moved), oks_of(torch.where(given[..., None], pose.keypoints, moved))
    calibrations = {
        "similarity": calibration(fused.quality.input_similarity, similarity(pose.keypoints), labelled * given),
        "presence": calibration(fused.quality.presence, labelled, annotated),
        "person": calibration(fused.quality.person, oks, known),
        "stay": calibration(fused.quality.stay, passed(stay_oks), known * given.any(1)),
        "move": calibration(fused.quality.move, passed(oks), known),
    }
    mask = labelled * decode.inside(target, size)
    return {
        "cross_entropy": cross_entropy(fused.log_posterior, target, mask, size),
        **{name: CALIBRATION_WEIGHT * value for name, value in calibrations.items()},
    }


def passed(oks: torch.Tensor) -> torch.Tensor:
    """Share of COCO's OKS thresholds 0.5, 0.55, ..., 0.95 that an OKS (N,) passes."""
    thresholds = torch.linspace(0.5, 0.95, 10, device=oks.device)
    return (oks[:, None] >= thresholds).float().mean(1)
