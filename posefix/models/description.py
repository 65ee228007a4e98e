"""Describe in numbers how image, input pose, confidences, box and neighbours agree about each keypoint."""

from __future__ import annotations

import torch

from posefix.models import decode
from posefix.models.interface import InputPose
from posefix.models.movenet import STRIDE, Evidence

SHARPNESS = 2.0  # of the heatmap logits, where they are taken for a likelihood
FAR = 12.0  # OKS scales; distances are told apart up to here
MAX_LOGIT = 12.0
LEAST_SCALE = 6.0  # px; keypoints with smaller OKS scales are looked for as with this one
CERTAIN = 0.999  # confidence from which on an input claims to be certain
EXACTNESS = (0.4, 1.0, 3.0)  # OKS scales within which sure keypoints are met
WIDTH = 89  # numbers that a keypoint is described by


def describe(
    evidence: Evidence, heatmaps: torch.Tensor, pose: InputPose, seen: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Describe N people.

    Args:
        evidence: what the image shows.
        heatmaps: (N, K, h, w) its logits, clamped to +-``MAX_LOGIT``.
        pose: the input, in pixels of the frame.
        seen: (N, K, 2) the seen person who fits the input best.
        flip: (K,) left/right counterpart of each keypoint.

    Returns:
        (N, K, WIDTH) float32, each about -1 to 1.
    """
    size = tuple(STRIDE * (side - 1) + 1 for side in heatmaps.shape[2:])
    scales, x = pose.scales, pose.keypoints
    given = pose.scores > 0
    own = given.float()
    mirrored = x[:, flip]
    sided = flip != torch.arange(len(flip), device=flip.device)
    both = (given & given[:, flip] & sided).float()
    expected = decode.expected_similarity(
        decode.spatial_softmax(SHARPNESS * heatmaps), scales.clamp(min=LEAST_SCALE), size
    )
    peak, best = decode.subpixel_argmax(expected, size)
    near = expected * gaussian(x, 3 * scales, heatmaps.shape[2:])
    near_peak, near_best = decode.subpixel_argmax(near.clamp(min=1e-12), size)
    ones = torch.ones_like(own)

    def at(maps: torch.Tensor, points: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        return torch.where(decode.inside(points, size), decode.sample_maps(maps, points, size), fill)

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ((a - b).norm(dim=-1) / scales).clamp(max=FAR)

    def graded(distance: torch.Tensor, weight: torch.Tensor = ones) -> list[torch.Tensor]:
        values = torch.exp(-0.5 * distance**2), torch.exp(-0.5 * (distance / 3) ** 2), torch.log1p(distance) / 2.5
        return [value * weight for value in values]

    def relative(offset: torch.Tensor, weight: torch.Tensor = ones) -> list[torch.Tensor]:
        return [*(torch.tanh(offset / 2) * weight[..., None]).unbind(-1)]

    central = evidence.poses[:, 0]
    frame, reference = x.new_tensor([size[1], size[0]]), scales.mean(-1, keepdim=True)
    count = own.sum(-1, keepdim=True).clamp(min=1)
    middle = ((x * own[..., None]).sum(1) / count)[:, None]
    confidence = pose.scores.clamp(0, 1) * own
    mean_confidence = confidence.sum(-1, keepdim=True) / count
    other_given = (pose.other_scores > 0).float()
    centres = evidence.centres.clamp(-MAX_LOGIT, MAX_LOGIT) / 6
    sure = best**2 * own
    met = apart(x, near_peak)
    exact = [(sure * torch.exp(-0.5 * (met / e) ** 2)).sum(-1) / sure.sum(-1).clamp(min=1e-3) for e in EXACTNESS]
    certain = ((confidence >= CERTAIN) | ~given).all(-1) & given.any(-1)
    told = (pose.boxes[:, 2:] > pose.boxes[:, :2]).all(-1).float()
    box_middle = ((pose.boxes[:, :2] + pose.boxes[:, 2:]) / 2)[:, None]
    box_half = ((pose.boxes[:, 2:] - pose.boxes[:, :2]) / 2).clamp(min=1)[:, None]
    boxed = told[:, None] * own
    in_box = ((x - box_middle).abs() <= 1.1 * box_half).all(-1).float() * boxed
    central_in_box = ((central - box_middle).abs() <= 1.1 * box_half).all(-1).float().mean(-1) * told
    seen_in_box = ((seen - box_middle).abs() <= 1.1 * box_half).all(-1).float().mean(-1) * told
    people = [  # of the person as a whole, the same for each keypoint
        *exact,
        sure.sum(-1) / len(flip),
        certain.float(),
        told,
        in_box.sum(-1) / count[:, 0],
        central_in_box,
        seen_in_box,
        mean_confidence[:, 0],
        centres[:, 0],
        centres.amax(1),
        reference[:, 0] / 12,
        other_given.amax(-1).sum(-1) / 4,
        count[:, 0] / len(flip),
    ]
    columns = [
        own,
        confidence,
        confidence - mean_confidence,
        best,
        near_best * own,
        at(expected, x) * own,
        at(expected[:, flip], x) * own,
        at(expected, mirrored) * both,
        best[:, flip],
        heatmaps.flatten(2).amax(2) / 6,
        at(heatmaps, x, -MAX_LOGIT) / 6 * own,
        at(heatmaps[:, flip], x, -MAX_LOGIT) / 6 * own,
        at(heatmaps, mirrored, -MAX_LOGIT) / 6 * both,
        at(heatmaps[:, flip], peak, -MAX_LOGIT) / 6,
        *graded(apart(x, peak), own),
        *graded(met, own),
        *graded(apart(x, seen), own),
        *graded(apart(seen, peak)),
        *graded(apart(x, central), own),
        *graded(apart(central, peak)),
        *graded(apart(central, seen)),
        *graded(apart(x, mirrored), both),
        *graded(apart(mirrored, peak), both),
        *graded(apart(x, peak[:, flip]), own),
        *graded(apart(peak, peak[:, flip])),
        decode.inside(x, size).float() * own,
        decode.inside(seen, size).float(),
        *relative((x - middle) / reference[..., None] / 6, own),
        *relative((peak - middle) / reference[..., None] / 6),
        *relative((x - peak) / scales[..., None], own),
        *relative((seen - peak) / scales[..., None]),
        *graded(nearest_other(x, pose), own),
        *graded(nearest_other(peak, pose)),
        *relative(8 * (x / frame - 0.5), own),
        *relative(8 * (central / frame - 0.5)),
        *relative(8 * (peak / frame - 0.5)),
        *relative((x - box_middle) / box_half, boxed),
        *relative((peak - box_middle) / box_half, told[:, None] * ones),
        in_box,
        *(value[:, None].expand_as(own) for value in people),
    ]
    return torch.stack(columns, dim=-1)


def nearest_other(points: torch.Tensor, pose: InputPose) -> torch.Tensor:
    """(N, K) distance of points (N, K, 2) from the nearest other person's same keypoint, in OKS scales."""
    distance = (points[:, None] - pose.others).norm(dim=-1) / pose.scales[:, None]
    return torch.where(pose.other_scores > 0, distance, FAR).amin(1).clamp(max=FAR)


def profiles(centres: torch.Tensor, widths: torch.Tensor, map_size: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian factors (..., h) and (..., w) around centres (..., 2) of widths (...), in pixels of the frame."""
    axes = []
    for axis, count in ((1, map_size[0]), (0, map_size[1])):
        cells = torch.arange(count, dtype=centres.dtype, device=centres.device) * float(STRIDE)
        axes.append(torch.exp(-0.5 * ((cells - centres[..., axis, None]) / widths[..., None]) ** 2))
    return axes[0], axes[1]


def gaussian(centres: torch.Tensor, widths: torch.Tensor, map_size: torch.Size) -> torch.Tensor:
    """(N, K, h, w) Gaussians of height 1 around centres (N, K, 2) of widths (N, K), in pixels of the frame."""
    rows, columns = profiles(centres, widths, map_size)
    return rows[..., :, None] * columns[..., None, :]
