"""Boxes, crops, affine maps and flips: pure functions on arrays.

Coordinates follow COCO: x right, y down, integer coordinates are pixel centres. All maps scale by size - 1 (unbiased
data processing, Huang et al., CVPR 2020), so that pixel centres of crop, heatmap and image agree, and a flip is
``x -> width - 1 - x`` at every scale.
"""

from __future__ import annotations

import numpy as np

BOX_PADDING = 1.25  # size of a crop relative to the person's box (Xiao et al., ECCV 2018; PoseFix)
POSE_BOX_PADDING = 0.15  # padding of a box made from a pose, on each side, as a share of the pose's extent
MIN_KEYPOINTS = 3  # of a pose whose bounding box says how large the person is
STRAY_DISTANCE = 4.0  # keypoints further from the median than this multiple of the pose's spread are outliers
BOX_AREA_TO_AREA = 0.515  # a person's area, the s^2 of OKS, as a share of the box area: the mean over COCO's people
MIN_BOX_SIZE = 4.0  # px; smaller boxes are widened to this
CONFIDENT = 0.5  # keypoints with at least this share of the person's highest score are confident
MIN_CONFIDENT = 8  # minimum number of confident keypoints of a pose that can contradict a box
MIN_COVERED = 0.2  # minimum share of the confident keypoints' extent covered by the box; below, the pose is elsewhere
EXTENT_IOU = 0.95  # a box with a larger IoU with the pose's extent was derived from the pose
MIN_IOU = 0.15  # a box with a smaller IoU with the pose's extent is loose
UNIT_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])  # corners of the unit square


def areas_of(boxes: np.ndarray) -> np.ndarray:
    """Estimate people's areas (N,) in px^2, the s^2 of OKS, from their boxes (N, 4) xywh; 0 without a box."""
    areas: np.ndarray = BOX_AREA_TO_AREA * np.clip(boxes[:, 2:], 0, None).prod(axis=1)
    return areas


def pose_boxes(keypoints: np.ndarray, valid: np.ndarray, padding: float = POSE_BOX_PADDING) -> np.ndarray:
    """Compute the bounding box of each pose, robust to outliers.

    Outliers (stray detections, placeholders at the origin) are further from the pose's median than four times the
    distance within which two thirds of the keypoints lie. One in 100 poses of COCO train2017 has such a keypoint.

    Sides shorter than ``MIN_BOX_SIZE``, as of a single keypoint or keypoints on a line, are widened to it.

    Args:
        keypoints: (N, K, 2) pixels.
        valid: (N, K) bool mask of the keypoints to enclose.
        padding: padding on each side as a share of the extent.

    Returns:
        (N, 4) float64 xywh; w = h = 0 where no keypoint is valid.
    """
    keypoints = np.asarray(keypoints, np.float64)
    valid = np.asarray(valid, bool) & np.isfinite(keypoints).all(-1)
    has_pose = valid.any(1)
    masked = np.where(valid[..., None], keypoints, np.nan)
    masked[~has_pose] = 0.0
    centre = np.nanmedian(masked, axis=1, keepdims=True)
    distance = np.nan_to_num(np.linalg.norm(masked - centre, axis=-1), nan=np.inf)
    two_thirds = np.maximum(np.ceil(2 / 3 * valid.sum(1)).astype(int) - 1, 0)
    spread = np.take_along_axis(np.sort(distance, axis=1), two_thirds[:, None], axis=1)
    inlier = distance <= np.maximum(STRAY_DISTANCE * spread, MIN_BOX_SIZE)
    low = np.where(inlier[..., None], masked, np.inf).min(1)
    high = np.where(inlier[..., None], masked, -np.inf).max(1)
    extent = high - low
    padded = (1 + 2 * padding) * extent
    size = np.maximum(padded, MIN_BOX_SIZE)
    boxes = np.concatenate([low - padding * extent - (size - padded) / 2, size], axis=1)
    boxes[~has_pose] = 0.0
    return boxes


def known_boxes(boxes: np.ndarray) -> np.ndarray:
    """Mask (N,) bool of the boxes (N, 4) xywh that are finite and not empty."""
    boxes = np.asarray(boxes, np.float64)
    known: np.ndarray = np.isfinite(boxes).all(-1) & (boxes[..., 2:] > 0).all(-1)
    return known


def person_boxes(boxes: np.ndarray, keypoints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) xywh, with :func:`pose_boxes` in place of unknown ones."""
    return np.where(known_boxes(boxes)[:, None], boxes, pose_boxes(keypoints, valid))


def contradicted_boxes(boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the people whose box does not fit their pose: the pose lies elsewhere, or the box is loose.

    Only poses with enough confident keypoints are tested, by these. A pose lies elsewhere if more than half of its
    keypoints are outside the box padded as for a crop, or the box covers little of its extent. A box is loose if it
    contains the pose but has a small IoU with it, as the whole image has, or a box of corners taken for sizes.

    Args:
        boxes: (N, 4) xywh.
        keypoints: (N, K, 2) pixels.
        scores: (N, K) confidences, 0 where there is no estimate.

    Returns:
        elsewhere and loose, (N,) bool each; never both, and neither without a box.
    """
    boxes = np.asarray(boxes, np.float64)
    confident = (scores > 0) & (scores >= CONFIDENT * scores.max(1, keepdims=True, initial=0))
    count = confident.sum(1)
    centre, half = boxes[:, :2] + boxes[:, 2:] / 2, BOX_PADDING * boxes[:, 2:] / 2
    outside = (np.abs(keypoints - centre[:, None]) > half[:, None]).any(-1) & confident
    extents = pose_boxes(keypoints, confident)
    overlap = iou(boxes, extents)
    areas, pose_areas = boxes[:, 2:].prod(1), extents[:, 2:].prod(1)
    covered = overlap * (areas + pose_areas) / ((1 + overlap) * np.maximum(pose_areas, 1e-9))  # share of the extent
    testable = known_boxes(boxes) & (count >= MIN_CONFIDENT)
    elsewhere = testable & ((2 * outside.sum(1) > count) | (covered < MIN_COVERED))
    return elsewhere, testable & ~elsewhere & (overlap < MIN_IOU)


def crop_matrices(
    boxes: np.ndarray,
    size: tuple[int, int],
    padding: float = BOX_PADDING,
    scale: np.ndarray | float = 1.0,
    rotation: np.ndarray | float = 0.0,
    shift: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Compute affine maps from image pixels to crop pixels.

    Each box is widened to the crop's aspect ratio, enlarged by ``padding`` and ``scale``, rotated, and mapped so that
    its edges fall on the centres of the crop's outermost pixels.

    Args:
        boxes: (N, 4) xywh in image pixels.
        size: (height, width) of the crop in pixels.
        padding: factor on the box's size.
        scale: (N,) or scalar extra factor on the box's size.
        rotation: (N,) or scalar, degrees, clockwise on the screen.
        shift: (N, 2) or scalar, displacement of the centre as a share of the padded box.

    Returns:
        (N, 2, 3) float64 matrices M with ``crop = M @ [x, y, 1]``.
    """
    boxes = np.asarray(boxes, np.float64)
    height, width = size
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    w = np.maximum(boxes[:, 2], MIN_BOX_SIZE)
    h = np.maximum(boxes[:, 3], MIN_BOX_SIZE)
    aspect = (width - 1) / (height - 1)
    w = np.maximum(w, h * aspect) * padding * scale
    centre = centre + np.asarray(shift) * np.stack([w, w / aspect], axis=1)
    zoom = (width - 1) / w
    angle = np.deg2rad(np.broadcast_to(np.asarray(rotation, np.float64), zoom.shape))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    crop_centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = crop_centre - np.einsum("nij,nj->ni", linear, centre)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def transform(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Apply maps (N, 2, 3) to points (N, ..., 2)."""
    matrices = matrices.reshape(len(matrices), *([1] * (points.ndim - 2)), 2, 3)
    transformed: np.ndarray = np.einsum("...ij,...j->...i", matrices[..., :2], points) + matrices[..., 2]
    return transformed


def transform_boxes(boxes: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Map boxes (N, 4) xywh by (N, 2, 3) and return their extents (N, 4) x0, y0, x1, y1; zeros for unknown boxes."""
    corners = transform(boxes[:, None, :2] + boxes[:, None, 2:] * UNIT_CORNERS, matrices)
    extents = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    return np.where(known_boxes(boxes)[:, None], extents, 0.0)


def independent_boxes(boxes: np.ndarray, keypoints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) xywh, with zeros in place of those that are the pose's extent, or unknown."""
    extents = np.stack([pose_boxes(keypoints, valid, padding) for padding in (0.0, POSE_BOX_PADDING)])
    same = (iou(boxes, extents) > EXTENT_IOU).any(0)
    return np.where((known_boxes(boxes) & ~same)[:, None], boxes, 0.0)


def invert(matrices: np.ndarray) -> np.ndarray:
    """Invert affine maps (N, 2, 3)."""
    linear = np.linalg.inv(matrices[..., :2])
    offset = -np.einsum("...ij,...j->...i", linear, matrices[..., 2])
    return np.concatenate([linear, offset[..., None]], axis=-1)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Compose affine maps (N, 2, 3): ``inner`` is applied first, then ``outer``."""
    linear = outer[..., :2] @ inner[..., :2]
    offset = np.einsum("...ij,...j->...i", outer[..., :2], inner[..., 2]) + outer[..., 2]
    return np.concatenate([linear, offset[..., None]], axis=-1)


def translated(matrices: np.ndarray, offset: float) -> np.ndarray:
    """Append a shift by ``offset`` pixels, right and down, to affine maps (N, 2, 3)."""
    shifted: np.ndarray = matrices + np.array([[0, 0, offset], [0, 0, offset]])
    return shifted


def map_scale(matrices: np.ndarray) -> np.ndarray:
    """Return the length scale (N,) of affine maps (N, 2, 3): the square root of the determinant's magnitude."""
    scale: np.ndarray = np.sqrt(np.abs(np.linalg.det(matrices[..., :2])))
    return scale


def flip_matrices(matrices: np.ndarray, width: int, flipped: np.ndarray | bool = True) -> np.ndarray:
    """Append a horizontal flip of the crop to maps (N, 2, 3) where ``flipped`` (N,) is true."""
    mirror = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])
    mask = np.broadcast_to(np.asarray(flipped), (len(matrices),))[:, None, None]
    return np.where(mask, compose(np.broadcast_to(mirror, matrices.shape), matrices), matrices)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the IoU (...) of boxes (..., 4) and (..., 4) xywh, broadcast against each other; 0 for empty boxes."""
    boxes, others = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - intersection
    ratio: np.ndarray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio
