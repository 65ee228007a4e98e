"""What is shown around people of whom there is a pose and no image."""

from __future__ import annotations

import numpy as np

from posefix.media.opencv import cv2

FINEST = 64  # cells of the finest noise along a side


def random_backdrop(size: tuple[int, int], rng: np.random.Generator, noise: bool) -> np.ndarray:
    """An image that says nothing of any pose.

    Args:
        size: (height, width).
        rng: where it is drawn from.
        noise: smooth coloured noise, of random coarseness; otherwise one colour.

    Returns:
        (height, width, 3) uint8.
    """
    cells = int(rng.integers(2, FINEST + 1)) if noise else 1
    values = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
