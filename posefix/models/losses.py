"""Training losses of the two kinds of networks, masked to annotated keypoints inside the frame."""

from __future__ import annotations

import torch
from torch import distributed, nn
from torch.nn import functional

from posefix.models import decode
from posefix.models.fusion import FusionOutput
from posefix.models.interface import InputPose
from posefix.models.movenet import Evidence, Stages
from posefix.models.network import FusionNetwork, PoseFixNetwork

Batch = dict[str, torch.Tensor]
CALIBRATION_WEIGHT = 0.3  # of each calibration term, relative to the cross-entropy of the heatmaps


class TrainingLoss(nn.Module):
    """A network together with its loss, as one module for distributed training.

    Args:
        network: the network to train.
        coordinate_weight: weight of the deconv head's L1 loss.
    """

    def __init__(self, network: PoseFixNetwork | FusionNetwork, coordinate_weight: float = 1.0) -> None:
        super().__init__()
        self.network, self.coordinate_weight = network, coordinate_weight

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Compute the terms of the loss by name, scalars to be summed."""
        config = self.network.config
        size = config.frame_size
        pose = InputPose(*(batch[name] for name in InputPose._fields))
        if isinstance(self.network, PoseFixNetwork):
            logits = self.network(batch["crops"], pose.keypoints, (pose.scores > 0).float())
            cross_entropy, coordinate = refinement_losses(logits, batch["target"], batch["labelled"], size)
            return {"cross_entropy": cross_entropy, "coordinate": self.coordinate_weight * coordinate}
        if "heatmaps" in batch:  # cached
            evidence = Evidence(*(batch[name] for name in Evidence._fields))
        elif "stride16" in batch:
            evidence = self.network.finish(Stages(*(batch[name] for name in Stages._fields)))
        else:
            evidence = self.network.encode(batch["crops"], flip_test=False)
        return fusion_losses(self.network(evidence, pose), pose, batch, size, config.keep_margin)


def refinement_losses(
    logits: torch.Tensor, target: torch.Tensor, labelled: torch.Tensor, crop_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the cross-entropy and the L1 loss of soft-argmax coordinates (PoseFix, section 4).

    Args:
        logits: (N, K, h, w) heatmaps before the spatial softmax.
        target: (N, K, 2) true keypoints in pixels of the crop.
        labelled: (N, K) bool mask of annotated keypoints; those outside the crop never count.
        crop_size: (height, width) of the crop.

    Returns:
        cross-entropy and L1 (in heatmap pixels), each a scalar, the mean over the keypoints (0 if there are none).
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
    """Compute the masked mean cross-entropy of maps (N, K, h, w) against bilinear one-hot targets (N, K, 2)."""
    height, width = log_probabilities.shape[2:]
    indices, weights = decode.bilinear_one_hot(target, (height, width), crop_size)
    return masked_mean(-(log_probabilities.flatten(2).gather(2, indices) * weights).sum(-1), mask)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the values whose mask is 1; 0 if there are none.

    In distributed training each process has a part of the batch, and the mean of the results over the processes is the
    mean over the whole batch.
    """
    count, processes = mask.sum(), 1
    if distributed.is_initialized():
        distributed.all_reduce(count)
        processes = distributed.get_world_size()
    return (values * mask).sum() * processes / count.clamp(min=1)


def fusion_losses(
    fused: FusionOutput, pose: InputPose, batch: Batch, size: tuple[int, int], margin: float
) -> dict[str, torch.Tensor]:
    """Compute the cross-entropy of the posterior and the calibration losses of the head's other outputs.

    The target of ``presence`` is whether a keypoint is labelled, for all keypoints that the data set annotates; the
    target of ``person`` is the OKS of the decoded pose.

    Args:
        fused: the head's output.
        pose: its input.
        batch: with ``target`` (N, K, 2), ``labelled`` and ``annotated`` (N, K) bool and ``target_scales`` (N, K), the
            true OKS scales in pixels of the frame.
        size: (height, width) of the frame.
        margin: expected KS gain above which a keypoint moves.

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

    valid, has_labels = pose.scores > 0, labelled.amax(1)
    with torch.no_grad():
        decoded = decode.expected_oks_decode(fused.log_posterior.exp(), pose.scales, size, pose.keypoints)
        refined, _ = decode.move_or_stay(decoded, pose.keypoints, valid, margin)
        oks, stay_oks = oks_of(refined), oks_of(torch.where(valid[..., None], pose.keypoints, refined))
    calibrations = {
        "similarity": calibration(fused.quality.input_similarity, similarity(pose.keypoints), labelled * valid),
        "presence": calibration(fused.quality.presence, labelled, annotated),
        "person": calibration(fused.quality.person, oks, has_labels),
        "stay": calibration(fused.quality.stay, passed(stay_oks), has_labels * valid.any(1)),
        "move": calibration(fused.quality.move, passed(oks), has_labels),
    }
    mask = labelled * decode.inside(target, size)
    return {
        "cross_entropy": cross_entropy(fused.log_posterior, target, mask, size),
        **{name: CALIBRATION_WEIGHT * value for name, value in calibrations.items()},
    }


def passed(oks: torch.Tensor) -> torch.Tensor:
    """Return the share of COCO's OKS thresholds 0.5, 0.55, ..., 0.95 that OKS values (N,) pass."""
    thresholds = torch.linspace(0.5, 0.95, 10, device=oks.device)
    return (oks[:, None] >= thresholds).float().mean(1)
