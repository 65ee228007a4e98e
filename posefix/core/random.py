"""Draw what NumPy has no name for."""

from __future__ import annotations

import numpy as np


def log_uniform(rng: np.random.Generator, span: tuple[float, float], size: int | tuple[int, ...]) -> np.ndarray:
    """Draw values between the two of ``span``, as likely between 1 and 2 as between 2 and 4."""
    return np.exp(rng.uniform(np.log(span[0]), np.log(span[1]), size))
