"""Boxes, crops, affine maps and flips: pure functions on arrays.

Coordinates follow COCO: x right, y down, integer coordinates are pixel centres. All maps scale by size - 1 (unbiased
data processing, Huang et al., CVPR 2020), so that crop, heatmap and image agree about where a pixel centre is, and a
flip is ``x -> width - 1 - x`` at every scale.
"""

from __future__ import annotations

import numpy as np

BOX_PADDING = 1.25  # how much wider than the person's box a crop is (Xiao et al., ECCV 2018; PoseFix)
POSE_BOX_PADDING = 0.15  # share of the pose's extent added on each side to make a person's box from a pose
STRAY_DISTANCE = 4.0  # times the spread of a pose: keypoints further out are strays
BOX_AREA_TO_AREA = 0.515  # a person's area, the s^2 of OKS, as a share of their box's: the mean over COCO's people
MIN_BOX_SIZE = 4.0  # px; smaller boxes are widened to this
CONFIDENT = 0.5  # times a person's highest score: keypoints from there on are confident ones
LEAST_CONFIDENT = 8  # confident keypoints, from which on a pose can speak against a box
LEAST_COVERED = 0.2  # of the extent of the confident keypoints, by the box; below, the pose is elsewhere
EXTENT_IOU = 0.95  # with the extent of the pose; from there on a box is made of it
LEAST_IOU = 0.15  # of a box with that extent; below, the box is too large to go by
UNIT_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])  # of a box, in its sizes


def areas_of(boxes: np.ndarray) -> np.ndarray:
    """Estimate areas (N,) in px^2, the s^2 of OKS, from the boxes (N, 4) xywh of people; 0 without a box."""
    areas: np.ndarray = BOX_AREA_TO_AREA * np.clip(boxes[:, 2:], 0, None).prod(axis=1)
    return areas


def pose_boxes(keypoints: np.ndarray, valid: np.ndarray, padding: float = POSE_BOX_PADDING) -> np.ndarray:
    """Box around each pose from its own extent, robust to stray points.

    A keypoint further from the pose's median than four times the distance within which two thirds of the keypoints lie
    (a stray detection, a placeholder at the origin) does not stretch the box. Of the poses of COCO train2017 one in 100
    has an annotated keypoint so far out.

    A side shorter than ``MIN_BOX_SIZE``, as that of keypoints on one line, or a single one, is widened to it about its
    middle.

    Args:
        keypoints: (N, K, 2) pixels.
        valid: (N, K) bool, which keypoints say something.
        padding: widening on each side as a share of the extent.

    Returns:
        (N, 4) float64 xywh; w = h = 0 where no keypoint is valid.
    """
    keypoints = np.asarray(keypoints, np.float64)
    valid = np.asarray(valid, bool) & np.isfinite(keypoints).all(-1)
    some = valid.any(1)
    masked = np.where(valid[..., None], keypoints, np.nan)
    masked[~some] = 0.0
    centre = np.nanmedian(masked, axis=1, keepdims=True)
    distance = np.nan_to_num(np.linalg.norm(masked - centre, axis=-1), nan=np.inf)
    two_thirds = np.maximum(np.ceil(2 / 3 * valid.sum(1)).astype(int) - 1, 0)
    spread = np.take_along_axis(np.sort(distance, axis=1), two_thirds[:, None], axis=1)
    near = distance <= np.maximum(STRAY_DISTANCE * spread, MIN_BOX_SIZE)
    low = np.where(near[..., None], masked, np.inf).min(1)
    high = np.where(near[..., None], masked, -np.inf).max(1)
    extent = high - low
    padded = (1 + 2 * padding) * extent
    size = np.maximum(padded, MIN_BOX_SIZE)
    boxes = np.concatenate([low - padding * extent - (size - padded) / 2, size], axis=1)
    boxes[~some] = 0.0
    return boxes


def known_boxes(boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: boxes (N, 4) xywh that are finite and of some area."""
    boxes = np.asarray(boxes, np.float64)
    known: np.ndarray = np.isfinite(boxes).all(-1) & (boxes[..., 2:] > 0).all(-1)
    return known


def person_boxes(boxes: np.ndarray, keypoints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The given box (N, 4) where there is one, else the extent of the pose; see :func:`pose_boxes`."""
    return np.where(known_boxes(boxes)[:, None], boxes, pose_boxes(keypoints, valid))


def contradicted_boxes(boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the people whose box does not fit their pose: the pose lies elsewhere, or the box is far larger.

    Only the confident keypoints count, and only if there are enough of them. A pose lies elsewhere if more than half of
    its keypoints lie outside the box as widened for a crop, or hardly any of its extent lies in it. A box is loose if
    its IoU with a pose that lies in it is small, as that of the whole image, or of corners in place of sizes.

    Args:
        boxes: (N, 4) xywh.
        keypoints: (N, K, 2) pixels.
        scores: (N, K) confidences, 0 where there is no estimate.

    Returns:
        Two (N,) bool, elsewhere and loose; never both, and neither without a box.
    """
    boxes = np.asarray(boxes, np.float64)
    confident = (scores > 0) & (scores >= CONFIDENT * scores.max(1, keepdims=True, initial=0))
    count = confident.sum(1)
    middle, half = boxes[:, :2] + boxes[:, 2:] / 2, BOX_PADDING * boxes[:, 2:] / 2
    outside = (np.abs(keypoints - middle[:, None]) > half[:, None]).any(-1) & confident
    extents = pose_boxes(keypoints, confident)
    overlap = iou(boxes, extents)
    areas, of_poses = boxes[:, 2:].prod(1), extents[:, 2:].prod(1)
    covered = overlap * (areas + of_poses) / ((1 + overlap) * np.maximum(of_poses, 1e-9))  # of the extent, by the box
    sure = known_boxes(boxes) & (count >= LEAST_CONFIDENT)
    elsewhere = sure & ((2 * outside.sum(1) > count) | (covered < LEAST_COVERED))
    return elsewhere, sure & ~elsewhere & (overlap < LEAST_IOU)


def crop_matrices(
    boxes: np.ndarray,
    size: tuple[int, int],
    padding: float = BOX_PADDING,
    scale: np.ndarray | float = 1.0,
    rotation: np.ndarray | float = 0.0,
    shift: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Affine maps from original pixels to crop pixels.

    The box is widened to the crop's aspect ratio, then by ``padding`` and ``scale``, turned by ``rotation`` and mapped
    so that its edges fall on the centres of the crop's outermost pixels.

    Args:
        boxes: (N, 4) xywh in original pixels.
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
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - np.einsum("nij,nj->ni", linear, centre)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def transform(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Apply maps (N, 2, 3) to points (N, ..., 2)."""
    matrices = matrices.reshape(len(matrices), *([1] * (points.ndim - 2)), 2, 3)
    moved: np.ndarray = np.einsum("...ij,...j->...i", matrices[..., :2], points) + matrices[..., 2]
    return moved


def transform_boxes(boxes: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Corners (N, 4) x0, y0, x1, y1 of the extents of boxes (N, 4) xywh under maps (N, 2, 3); zeros of unknown ones."""
    corners = transform(boxes[:, None, :2] + boxes[:, None, 2:] * UNIT_CORNERS, matrices)
    extents = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    return np.where(known_boxes(boxes)[:, None], extents, 0.0)


def independent_boxes(boxes: np.ndarray, keypoints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) xywh that were not made of the pose: zeros where a box is the pose's extent, or unknown."""
    extents = np.stack([pose_boxes(keypoints, valid, padding) for padding in (0.0, POSE_BOX_PADDING)])
    same = (iou(boxes, extents) > EXTENT_IOU).any(0)
    return np.where((known_boxes(boxes) & ~same)[:, None], boxes, 0.0)


def invert(matrices: np.ndarray) -> np.ndarray:
    """Inverse of affine maps (N, 2, 3), same shape."""
    linear = np.linalg.inv(matrices[..., :2])
    offset = -np.einsum("...ij,...j->...i", linear, matrices[..., 2])
    return np.concatenate([linear, offset[..., None]], axis=-1)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The affine map (N, 2, 3) that applies ``inner`` first, then ``outer``."""
    linear = outer[..., :2] @ inner[..., :2]
    offset = np.einsum("...ij,...j->...i", outer[..., :2], inner[..., 2]) + outer[..., 2]
    return np.concatenate([linear, offset[..., None]], axis=-1)


def translated(matrices: np.ndarray, offset: float) -> np.ndarray:
    """Affine maps (N, 2, 3) followed by a shift of ``offset`` pixels to the right and down."""
    moved: np.ndarray = matrices + np.array([[0, 0, offset], [0, 0, offset]])
    return moved


def map_scale(matrices: np.ndarray) -> np.ndarray:
    """(N,) length scale of affine maps (N, 2, 3): the square root of the determinant's magnitude."""
    scale: np.ndarray = np.sqrt(np.abs(np.linalg.det(matrices[..., :2])))
    return scale


def flip_matrices(matrices: np.ndarray, width: int, flipped: np.ndarray | bool = True) -> np.ndarray:
    """Maps (N, 2, 3) followed by a horizontal flip of the crop where ``flipped`` (N,) is true."""
    mirror = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])
    chosen = np.broadcast_to(np.asarray(flipped), (len(matrices),))[:, None, None]
    return np.where(chosen, compose(np.broadcast_to(mirror, matrices.shape), matrices), matrices)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(...) intersection over union of boxes (..., 4) and others (..., 4), xywh, which broadcast; 0 of empty boxes."""
    boxes, others = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - intersection
    ratio: np.ndarray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio
