"""Features that describe how image, input pose, confidences, box and neighbours agree about each keypoint."""

from __future__ import annotations

import torch

from posefix.models import decode
from posefix.models.interface import InputPose
from posefix.models.movenet import STRIDE, Evidence

SHARPNESS = 2.0  # factor on the heatmap logits that makes them a likelihood
MAX_DISTANCE = 12.0  # OKS scales; larger distances are clamped
MAX_LOGIT = 12.0  # larger logits are clamped
MIN_SCALE = 6.0  # px; smaller OKS scales are clamped when the heatmap is decoded
CERTAIN = 0.999  # confidence above which an input keypoint counts as certain
TOLERANCES = (0.4, 1.0, 3.0)  # OKS scales within which input and heatmap agree
BOX_MARGIN = 1.1  # a keypoint in the box enlarged by this factor counts as inside
WIDTH = 90  # features per keypoint


def describe(
    evidence: Evidence, heatmaps: torch.Tensor, pose: InputPose, matching: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Compute the features (N, K, WIDTH) float32 of N people, each about -1 to 1.

    Args:
        evidence: MoveNet's output for the crops.
        heatmaps: (N, K, h, w) its heatmap logits, clamped to +-``MAX_LOGIT``.
        pose: input pose in pixels of the frame.
        matching: (N, K, 2) detected person that fits the input best.
        flip: (K,) left/right counterpart of each keypoint.
    """
    size = STRIDE * (heatmaps.shape[2] - 1) + 1, STRIDE * (heatmaps.shape[3] - 1) + 1
    scales, x, mirrored = pose.scales, pose.keypoints, pose.keypoints[:, flip]
    valid = (pose.scores > 0).float()
    ones = torch.ones_like(valid)
    pair_valid = valid * valid[:, flip] * (flip != torch.arange(len(flip), device=flip.device))
    likelihood = decode.spatial_softmax(SHARPNESS * heatmaps)
    expected = decode.expected_similarity(likelihood, scales.clamp(min=MIN_SCALE), size)
    peak, peak_value = decode.subpixel_argmax(expected, size)
    expected_near = (expected * gaussian(x, 3 * scales, heatmaps.shape[2:])).clamp(min=1e-12)
    near_peak, near_value = decode.subpixel_argmax(expected_near, size)

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        norm: torch.Tensor = (a - b).norm(dim=-1) / scales
        return norm.clamp(max=MAX_DISTANCE)

    central, confidence = evidence.poses[:, 0], pose.scores.clamp(0, 1) * valid
    features = [
        valid,
        confidence,
        confidence - confidence.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1),
        peak_value,
        near_value * valid,
        _value_at(expected, x, size) * valid,
        _value_at(expected[:, flip], x, size) * valid,
        _value_at(expected, mirrored, size) * pair_valid,
        peak_value[:, flip],
        heatmaps.flatten(2).amax(2) / 6,
        _value_at(heatmaps, x, size, -MAX_LOGIT) / 6 * valid,
        _value_at(heatmaps[:, flip], x, size, -MAX_LOGIT) / 6 * valid,
        _value_at(heatmaps, mirrored, size, -MAX_LOGIT) / 6 * pair_valid,
        _value_at(heatmaps[:, flip], peak, size, -MAX_LOGIT) / 6,
        *_distance_features(distance(x, peak), valid),
        *_distance_features(distance(x, near_peak), valid),
        *_distance_features(distance(x, matching), valid),
        *_distance_features(distance(matching, peak), ones),
        *_distance_features(distance(x, central), valid),
        *_distance_features(distance(central, peak), ones),
        *_distance_features(distance(central, matching), ones),
        *_distance_features(distance(x, mirrored), pair_valid),
        *_distance_features(distance(mirrored, peak), pair_valid),
        *_distance_features(distance(x, peak[:, flip]), valid),
        *_distance_features(distance(peak, peak[:, flip]), ones),
        *_location_features(pose, peak, matching, central, size),
    ]
    person_features = _person_features(evidence, pose, matching, peak_value, distance(x, near_peak))
    return torch.stack([*features, *(value[:, None].expand_as(valid) for value in person_features)], dim=-1)


def _value_at(maps: torch.Tensor, points: torch.Tensor, size: tuple[int, int], fill: float = 0.0) -> torch.Tensor:
    """Sample maps (N, K, h, w) at points (N, K, 2); ``fill`` outside the frame."""
    return torch.where(decode.inside(points, size), decode.sample_maps(maps, points, size), fill)


def _location_features(
    pose: InputPose, peak: torch.Tensor, matching: torch.Tensor, central: torch.Tensor, size: tuple[int, int]
) -> list[torch.Tensor]:
    """Compute features (N, K) of the locations of input keypoints, heatmap peaks and detected people, all (N, K, 2)."""
    scales, x, valid = pose.scales, pose.keypoints, (pose.scores > 0).float()
    ones, has_box = torch.ones_like(valid), pose.has_box.float()[:, None]
    frame, mean_scale = x.new_tensor([size[1], size[0]]), scales.mean(-1, keepdim=True)
    centroid = ((x * valid[..., None]).sum(1) / valid.sum(-1, keepdim=True).clamp(min=1))[:, None]
    box_centre, box_half = _box(pose)
    return [
        decode.inside(x, size).float() * valid,
        decode.inside(matching, size).float(),
        *_offset_features((x - centroid) / mean_scale[..., None] / 6, valid),
        *_offset_features((peak - centroid) / mean_scale[..., None] / 6, ones),
        *_offset_features((x - peak) / scales[..., None], valid),
        *_offset_features((matching - peak) / scales[..., None], ones),
        *_distance_features(nearest_other(x, pose), valid),
        *_distance_features(nearest_other(peak, pose), ones),
        *_offset_features(8 * (x / frame - 0.5), valid),
        *_offset_features(8 * (central / frame - 0.5), ones),
        *_offset_features(8 * (peak / frame - 0.5), ones),
        *_offset_features((x - box_centre) / box_half, has_box * valid),
        *_offset_features((peak - box_centre) / box_half, has_box * ones),
        in_box(x, pose) * valid,
    ]


def _person_features(
    evidence: Evidence, pose: InputPose, matching: torch.Tensor, peak_values: torch.Tensor, distance: torch.Tensor
) -> list[torch.Tensor]:
    """Compute features (N,) of each person as a whole.

    ``peak_values`` (N, K) are the values of the heatmap peaks, ``distance`` (N, K) the distances in OKS scales from the
    input to the nearest peak.
    """
    valid = pose.scores > 0
    k, count = valid.shape[1], valid.sum(-1).clamp(min=1)
    confidence = pose.scores.clamp(0, 1) * valid
    centres = evidence.centres.clamp(-MAX_LOGIT, MAX_LOGIT) / 6
    weights = peak_values**2 * valid
    return [
        *(
            (weights * torch.exp(-0.5 * (distance / t) ** 2)).sum(-1) / weights.sum(-1).clamp(min=1e-3)
            for t in TOLERANCES
        ),
        weights.sum(-1) / k,
        (((confidence >= CERTAIN) | ~valid).all(-1) & valid.any(-1)).float(),
        pose.has_box.float(),
        (in_box(pose.keypoints, pose) * valid).sum(-1) / count,
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


def _distance_features(distance: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    values = torch.exp(-0.5 * distance**2), torch.exp(-0.5 * (distance / 3) ** 2), torch.log1p(distance) / 2.5
    return [value * weight for value in values]


def _offset_features(offset: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    return [*(torch.tanh(offset / 2) * weight[..., None]).unbind(-1)]


def _box(pose: InputPose) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centres and half sizes (N, 1, 2) of the boxes."""
    low, high = pose.boxes[:, None, :2], pose.boxes[:, None, 2:]
    return (low + high) / 2, ((high - low) / 2).clamp(min=1)


def in_box(points: torch.Tensor, pose: InputPose) -> torch.Tensor:
    """Return 1 for points (N, K, 2) in the person's box enlarged by ``BOX_MARGIN``, else 0, as (N, K)."""
    centre, half = _box(pose)
    return (((points - centre).abs() <= BOX_MARGIN * half).all(-1) & pose.has_box[:, None]).float()


def nearest_other(points: torch.Tensor, pose: InputPose) -> torch.Tensor:
    """Return the distance (N, K) of points (N, K, 2) to the nearest other person's same keypoint, in OKS scales."""
    distance = (points[:, None] - pose.others).norm(dim=-1) / pose.scales[:, None]
    return torch.where(pose.other_scores > 0, distance, MAX_DISTANCE).amin(1).clamp(max=MAX_DISTANCE)


def profiles(centres: torch.Tensor, sigmas: torch.Tensor, map_size: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Return factors (..., h) and (..., w) of Gaussians; centres (..., 2) and sigmas (...) in pixels of the frame."""
    factors = []
    for axis, count in ((1, map_size[0]), (0, map_size[1])):
        cells = torch.arange(count, dtype=centres.dtype, device=centres.device) * float(STRIDE)
        factors.append(torch.exp(-0.5 * ((cells - centres[..., axis, None]) / sigmas[..., None]) ** 2))
    return factors[0], factors[1]


def gaussian(centres: torch.Tensor, sigmas: torch.Tensor, map_size: torch.Size) -> torch.Tensor:
    """Render Gaussians (N, K, h, w) of height 1; centres (N, K, 2) and sigmas (N, K) in pixels of the frame."""
    rows, columns = profiles(centres, sigmas, map_size)
    return rows[..., :, None] * columns[..., None, :]
