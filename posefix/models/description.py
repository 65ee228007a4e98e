"""Describe in numbers how image, input pose, confidences, box and neighbours agree about each keypoint."""

from __future__ import annotations

import torch

from posefix.models import decode
from posefix.models.interface import InputPose
from posefix.models.movenet import STRIDE, Evidence

SHARPNESS = 2.0  # factor on the heatmap logits, where they serve as a likelihood
FAR = 12.0  # OKS scales; larger distances count as this one
MAX_LOGIT = 12.0
LEAST_SCALE = 6.0  # px; smaller OKS scales count as this one when the heatmap is decoded
CERTAIN = 0.999  # confidence from which on an input claims to be certain
EXACTNESS = (0.4, 1.0, 3.0)  # OKS scales within which input and heatmap agree
BOX_MARGIN = 1.1  # factor on the box, within which a keypoint counts as inside
WIDTH = 90  # numbers that describe a keypoint


def describe(
    evidence: Evidence, heatmaps: torch.Tensor, pose: InputPose, matching: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Describe N people by (N, K, WIDTH) float32 numbers, each about -1 to 1.

    Args:
        evidence: what the image shows.
        heatmaps: (N, K, h, w) its logits, clamped to +-``MAX_LOGIT``.
        pose: the input, in pixels of the frame.
        matching: (N, K, 2) the person found in the image who fits the input best.
        flip: (K,) left/right counterpart of each keypoint.
    """
    size = STRIDE * (heatmaps.shape[2] - 1) + 1, STRIDE * (heatmaps.shape[3] - 1) + 1
    scales, x, mirrored = pose.scales, pose.keypoints, pose.keypoints[:, flip]
    given = (pose.scores > 0).float()
    ones = torch.ones_like(given)
    both = given * given[:, flip] * (flip != torch.arange(len(flip), device=flip.device))
    likelihood = decode.spatial_softmax(SHARPNESS * heatmaps)
    expected = decode.expected_similarity(likelihood, scales.clamp(min=LEAST_SCALE), size)
    peak, best = decode.subpixel_argmax(expected, size)
    near = (expected * gaussian(x, 3 * scales, heatmaps.shape[2:])).clamp(min=1e-12)
    near_peak, near_best = decode.subpixel_argmax(near, size)

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        distance: torch.Tensor = (a - b).norm(dim=-1) / scales
        return distance.clamp(max=FAR)

    central, confidence = evidence.poses[:, 0], pose.scores.clamp(0, 1) * given
    columns = [
        given,
        confidence,
        confidence - confidence.sum(-1, keepdim=True) / given.sum(-1, keepdim=True).clamp(min=1),
        best,
        near_best * given,
        _value_at(expected, x, size) * given,
        _value_at(expected[:, flip], x, size) * given,
        _value_at(expected, mirrored, size) * both,
        best[:, flip],
        heatmaps.flatten(2).amax(2) / 6,
        _value_at(heatmaps, x, size, -MAX_LOGIT) / 6 * given,
        _value_at(heatmaps[:, flip], x, size, -MAX_LOGIT) / 6 * given,
        _value_at(heatmaps, mirrored, size, -MAX_LOGIT) / 6 * both,
        _value_at(heatmaps[:, flip], peak, size, -MAX_LOGIT) / 6,
        *_graded(apart(x, peak), given),
        *_graded(apart(x, near_peak), given),
        *_graded(apart(x, matching), given),
        *_graded(apart(matching, peak), ones),
        *_graded(apart(x, central), given),
        *_graded(apart(central, peak), ones),
        *_graded(apart(central, matching), ones),
        *_graded(apart(x, mirrored), both),
        *_graded(apart(mirrored, peak), both),
        *_graded(apart(x, peak[:, flip]), given),
        *_graded(apart(peak, peak[:, flip]), ones),
        *_describe_places(pose, peak, matching, central, size),
    ]
    people = _describe_people(evidence, pose, matching, best, apart(x, near_peak))
    return torch.stack([*columns, *(value[:, None].expand_as(given) for value in people)], dim=-1)


def _value_at(maps: torch.Tensor, points: torch.Tensor, size: tuple[int, int], fill: float = 0.0) -> torch.Tensor:
    """(N, K) values of maps (N, K, h, w) at points (N, K, 2); ``fill`` outside the frame."""
    return torch.where(decode.inside(points, size), decode.sample_maps(maps, points, size), fill)


def _describe_places(
    pose: InputPose, peak: torch.Tensor, matching: torch.Tensor, central: torch.Tensor, size: tuple[int, int]
) -> list[torch.Tensor]:
    """Numbers (N, K) that say where keypoints, peaks of the heatmaps and people found, all (N, K, 2), lie."""
    scales, x, given = pose.scales, pose.keypoints, (pose.scores > 0).float()
    ones, has_box = torch.ones_like(given), pose.has_box.float()[:, None]
    frame, reference = x.new_tensor([size[1], size[0]]), scales.mean(-1, keepdim=True)
    middle = ((x * given[..., None]).sum(1) / given.sum(-1, keepdim=True).clamp(min=1))[:, None]
    box_middle, box_half = _box(pose)
    return [
        decode.inside(x, size).float() * given,
        decode.inside(matching, size).float(),
        *_relative((x - middle) / reference[..., None] / 6, given),
        *_relative((peak - middle) / reference[..., None] / 6, ones),
        *_relative((x - peak) / scales[..., None], given),
        *_relative((matching - peak) / scales[..., None], ones),
        *_graded(nearest_other(x, pose), given),
        *_graded(nearest_other(peak, pose), ones),
        *_relative(8 * (x / frame - 0.5), given),
        *_relative(8 * (central / frame - 0.5), ones),
        *_relative(8 * (peak / frame - 0.5), ones),
        *_relative((x - box_middle) / box_half, has_box * given),
        *_relative((peak - box_middle) / box_half, has_box * ones),
        in_box(x, pose) * given,
    ]


def _describe_people(
    evidence: Evidence, pose: InputPose, matching: torch.Tensor, best: torch.Tensor, distance: torch.Tensor
) -> list[torch.Tensor]:
    """Numbers (N,) that describe each person as a whole.

    ``best`` (N, K) are the values of the heatmaps' peaks, ``distance`` (N, K) the OKS scales from the input to the
    nearest peak.
    """
    given = pose.scores > 0
    k, count = given.shape[1], given.sum(-1).clamp(min=1)
    confidence = pose.scores.clamp(0, 1) * given
    centres = evidence.centres.clamp(-MAX_LOGIT, MAX_LOGIT) / 6
    sure = best**2 * given
    return [
        *((sure * torch.exp(-0.5 * (distance / e) ** 2)).sum(-1) / sure.sum(-1).clamp(min=1e-3) for e in EXACTNESS),
        sure.sum(-1) / k,
        (((confidence >= CERTAIN) | ~given).all(-1) & given.any(-1)).float(),
        pose.has_box.float(),
        (in_box(pose.keypoints, pose) * given).sum(-1) / count,
        in_box(evidence.poses[:, 0], pose).mean(-1),
        in_box(matching, pose).mean(-1),
        confidence.sum(-1) / count,
        centres[:, 0],
        centres.amax(1),
        pose.scales.mean(-1) / 12,
        (pose.other_scores > 0).float().amax(-1).sum(-1) / 4,
        count / k,
        pose.accuracy,
    ]


def _graded(distance: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    values = torch.exp(-0.5 * distance**2), torch.exp(-0.5 * (distance / 3) ** 2), torch.log1p(distance) / 2.5
    return [value * weight for value in values]


def _relative(offset: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    return [*(torch.tanh(offset / 2) * weight[..., None]).unbind(-1)]


def _box(pose: InputPose) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle and half size (N, 1, 2) of the boxes."""
    low, high = pose.boxes[:, None, :2], pose.boxes[:, None, 2:]
    return (low + high) / 2, ((high - low) / 2).clamp(min=1)


def in_box(points: torch.Tensor, pose: InputPose) -> torch.Tensor:
    """(N, K) 1 for points (N, K, 2) in the person's box, a little widened; 0 where there is no box."""
    middle, half = _box(pose)
    return (((points - middle).abs() <= BOX_MARGIN * half).all(-1) & pose.has_box[:, None]).float()


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
