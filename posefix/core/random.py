"""Random distributions that NumPy lacks."""

from __future__ import annotations

import numpy as np


def log_uniform(rng: np.random.Generator, span: tuple[float, float], size: int | tuple[int, ...]) -> np.ndarray:
    """Draw values whose logarithm is uniform over ``span`` (low, high)."""
    return np.exp(rng.uniform(np.log(span[0]), np.log(span[1]), size))
