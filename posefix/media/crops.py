"""Cut the crop of a person out of an image by one affine map."""

from __future__ import annotations

import numpy as np

from posefix.core import geometry
from posefix.media.opencv import cv2


def crop_image(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp the part of an image that a map shows.

    Only the part that is shown is touched, and where the map shrinks by two or more it is first averaged over whole
    pixels, so that large photos neither cost much nor alias. Outside the image is black.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) map from image pixels to crop pixels.
        size: (height, width) of the crop.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = size
    inverse = geometry.invert(matrix[None])
    shown = geometry.transform(geometry.UNIT_CORNERS[None] * [width - 1.0, height - 1.0], inverse)[0]
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(shown.min(0)) - 2, 0, limit).astype(int)
    high = np.clip(np.ceil(shown.max(0)) + 3, 0, limit).astype(int)
    if (high <= low).any():
        return np.zeros((height, width, 3), np.uint8)
    part = image[low[1] : high[1], low[0] : high[0]]
    local = geometry.compose(matrix[None], np.array([[[1, 0, low[0]], [0, 1, low[1]]]], np.float64))
    factor = int(1 / max(geometry.map_scale(matrix[None])[0], 1e-6))
    if factor >= 2:
        part, shrunk = shrink(part, factor)
        local = geometry.compose(local, shrunk[None])
    return cv2.warpAffine(part, local[0], (width, height), flags=cv2.INTER_LINEAR)


def shrink(image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of ``factor`` x ``factor`` pixels.

    Returns:
        The smaller image (edge pixels repeated to fill the last blocks) and the (2, 3) map from its pixels to the
        original's: the centre of a block is ``factor * i + (factor - 1) / 2``.
    """
    height, width = (-(-side // factor) * factor for side in image.shape[:2])
    if (height, width) != image.shape[:2]:
        bottom, right = height - image.shape[0], width - image.shape[1]
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    smaller = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    offset = (factor - 1) / 2
    return smaller, np.array([[factor, 0, offset], [0, factor, offset]], np.float64)
