"""Crops show what their map says, at every scale."""

from __future__ import annotations

import numpy as np
import pytest

from posefix.core import geometry
from posefix.media.crops import crop_image, shrink


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose first two channels are proportional to x and y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("side", [30.0, 60.0, 130.0, 400.0, 900.0])
@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_a_crop_shows_the_pixels_that_its_map_leads_to(side: float, rotation: float) -> None:
    image = ramp(1000, 1000)
    matrix = geometry.crop_matrices(np.array([[40.0, 30.0, side * 0.6, side]]), (64, 48), rotation=rotation)
    crop = crop_image(image, matrix[0], (64, 48)).astype(float)
    y, x = np.mgrid[4:60, 4:44]
    source = geometry.transform(np.stack([x, y], axis=-1).reshape(1, -1, 2).astype(float), geometry.invert(matrix))[0]
    edge = 4 + side / 15  # a pixel of the crop, which there blends with the black outside
    inside = ((source > edge) & (source < 999 - edge)).all(1)
    shown = crop[4:60, 4:44, :2].reshape(-1, 2)[inside]
    assert np.abs(shown - source[inside] * 0.255).max() < 1.6  # rounding to bytes: half a level for image and crop


def test_averaging_keeps_positions() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)
    smaller, matrix = shrink(image, 4)
    assert smaller.shape == (10, 13, 3)
    np.testing.assert_allclose(smaller[2, 3], image[8:12, 12:16].reshape(-1, 3).mean(0), atol=1)
    centre = geometry.transform(np.array([[[3.0, 2.0]]]), matrix[None])[0, 0]
    assert centre.tolist() == [13.5, 9.5]


def test_outside_the_image_is_black() -> None:
    matrix = geometry.crop_matrices(np.array([[500.0, 500.0, 40.0, 60.0]]), (64, 48))
    assert not crop_image(np.full((50, 50, 3), 200, np.uint8), matrix[0], (64, 48)).any()


def test_a_huge_photo_and_a_single_pixel() -> None:
    huge = np.full((2000, 9000, 3), 90, np.uint8)
    matrix = geometry.crop_matrices(np.array([[0.0, 0.0, 9000.0, 2000.0]]), (64, 48))
    assert (crop_image(huge, matrix[0], (64, 48))[31, 24] == 90).all()
    dot = geometry.crop_matrices(np.array([[0.0, 0.0, 1.0, 1.0]]), (64, 48))
    assert crop_image(np.full((1, 1, 3), 50, np.uint8), dot[0], (64, 48)).max() > 40
