"""Augmentation of geometry and appearance."""

from __future__ import annotations

import os

import numpy as np

from posefix.core import geometry
from posefix.core.errors import require
from posefix.media.opencv import cv2
from posefix.training.config import AugmentationConfig

COARSEST = 4.5  # maximum factor by which a crop is shrunk before it is enlarged again


def random_maps(
    boxes: np.ndarray, size: tuple[int, int], padding: float, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw crop maps with random scale, rotation, shift and flip per person.

    Args:
        boxes: (N, 4) xywh.
        size: (height, width) of the crop.
        padding: size of the crop relative to the box.

    Returns:
        (N, 2, 3) float64 maps including the flip, and (N,) bool, whether they flip.
    """
    n = len(boxes)
    scale = 1 + config.scale * rng.uniform(-1, 1, n)
    rotation = config.rotation * rng.uniform(-1, 1, n) * (rng.random(n) < config.rotation_probability)
    shift = config.shift * rng.uniform(-1, 1, (n, 2))
    flipped = rng.random(n) < config.flip
    maps = geometry.crop_matrices(boxes, size, padding, scale, rotation, shift)
    return geometry.flip_matrices(maps, size[1], flipped), flipped


class Appearance:
    """Photometric and occlusion augmentation by albumentations, a pure function of crop and seed."""

    def __init__(self, config: AugmentationConfig) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no network access on import
        A = require("albumentations", "train", "training")
        photometric = A.Compose(
            [
                A.RandomBrightnessContrast(0.3, 0.3, p=0.7),
                A.HueSaturationValue(10, 30, 15, p=0.5),
                A.OneOf(
                    [A.GaussianBlur((3, 5)), A.ImageCompression(quality_range=(30, 80)), A.GaussNoise((0.02, 0.08))],
                    p=0.3,
                ),
                A.ToGray(p=0.1),
            ],
            p=config.photometric,
        )
        occlusion = A.CoarseDropout(
            num_holes_range=(1, 3),
            hole_height_range=(0.08, 0.35),
            hole_width_range=(0.08, 0.35),
            fill="random_uniform",
            p=config.occlusion,
        )
        self._transform = A.Compose([photometric, occlusion], seed=0)
        self._resolution = config.resolution

    def __call__(self, crops: np.ndarray, rng: np.random.Generator, indices: range) -> np.ndarray:
        """Augment the crops (N, H, W, 3) uint8 at ``indices``; the others become black."""
        seeds = rng.integers(2**31, size=len(crops))
        factors = [self._resolution and rng.random() < self._resolution and rng.uniform(1, COARSEST) for _ in crops]
        augmented = np.zeros_like(crops)
        for i in indices:
            self._transform.set_random_seed(int(seeds[i]))
            augmented[i] = self._transform(image=coarsen(crops[i], factors[i]) if factors[i] else crops[i])["image"]
        return augmented


def coarsen(crop: np.ndarray, factor: float) -> np.ndarray:
    """Reduce the resolution of a crop (H, W, 3) by ``factor``, keeping its size."""
    height, width = crop.shape[:2]
    small = cv2.resize(crop, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
