"""The two losses of PoseFix (Moon et al., CVPR 2019, section 4), masked to annotated keypoints inside the crop."""

from __future__ import annotations

import torch
from torch.nn import functional

from posefix.model import decode


def refinement_losses(
    logits: torch.Tensor, target: torch.Tensor, labelled: torch.Tensor, crop_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy against the bilinear one-hot target, and L1 on the soft-argmax coordinates.

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
    flat = logits.float().flatten(2)
    indices, weights = decode.bilinear_one_hot(target, tuple(logits.shape[2:]), crop_size)
    log_probabilities = functional.log_softmax(flat, dim=2)
    cross_entropy = -(log_probabilities.gather(2, indices) * weights).sum(-1)
    predicted = decode.soft_argmax(log_probabilities.exp().view(logits.shape), crop_size)
    stride_y, stride_x = decode.map_stride(crop_size, tuple(logits.shape[2:]))
    stride = torch.tensor([stride_x, stride_y], device=logits.device)
    distance = ((predicted - target).abs() / stride).mean(-1)
    return (cross_entropy * mask).sum() / count, (distance * mask).sum() / count
