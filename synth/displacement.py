"""Where within an error type a keypoint lies: how far from its anchor, in which direction, and as whom else.

The anchor is the point that the type means: the truth itself for Good, Jitter and Miss, the counterpart for Inversion,
the neighbour's keypoint for Swap. Distances are in units of ``sqrt(2 s^2 k^2)``, so that KS = exp(-distance^2).

Directions follow a projected normal distribution (Wang and Gelfand, "Directional data analysis under the general
projected normal distribution", Statistical Methodology 2013): that of ``inward * a + g``, where the unit vector a
points from the anchor to the centre of the person's annotated keypoints and g is a standard normal of two dimensions
in the image. Errors of a person are displaced alike, since g is shared as :class:`synth.correlation.Together` says;
and alike far, since the ranks of distances share normals too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from posefix.core.skeleton import Skeleton
from synth.correlation import Together
from synth.names import spread

LARGEST_DISTANCE = 1e4  # sqrt(2 s^2 k^2), of a keypoint that says anything
STRONGEST = 8.0  # inwardness beyond which all directions are the same


@dataclass(frozen=True, eq=False)
class Displacement:
    """The distribution of keypoints around their anchors for one error type.

    Attributes:
        distance: by name of keypoint, part or group, quantiles at ``synth.distribution.LEVELS``.
        inward: by name, how strongly they lie towards the person's centre; below 0 away from it.
        distance_together: correlation of the ranks of distances within a person.
        direction_together: correlation of directions within a person.
    """

    distance: Mapping[str, tuple[float, ...]]
    inward: Mapping[str, float]
    distance_together: Together = field(default_factory=Together)
    direction_together: Together = field(default_factory=Together)

    def quantiles(self, skeleton: Skeleton) -> np.ndarray:
        """(K, L) float64 quantiles of a skeleton's keypoints."""
        return np.array(spread(self.distance, skeleton), np.float64)

    def inwardness(self, skeleton: Skeleton) -> np.ndarray:
        """(K,) float64."""
        return np.array(spread(self.inward, skeleton), np.float64)

    def to_dict(self) -> dict:
        """Plain data, as in a statistics file."""
        return {
            "distance": {name: list(values) for name, values in self.distance.items()},
            "inward": {name: round(float(value), 4) for name, value in self.inward.items()},
            "distance_together": self.distance_together.to_dict(),
            "direction_together": self.direction_together.to_dict(),
        }


def inwardness_of(mean_cosine: np.ndarray) -> np.ndarray:
    """The inwardness whose directions have a mean cosine to the inward axis of ``mean_cosine`` (any shape)."""
    strengths, cosines = _mean_cosines()
    return np.sign(mean_cosine) * np.interp(np.abs(mean_cosine), cosines, strengths)


@lru_cache(maxsize=1)
def _mean_cosines() -> tuple[np.ndarray, np.ndarray]:
    """Strengths s (S,) and the mean cosine of each: sqrt(pi/8) s exp(-s^2/4) (I0(s^2/4) + I1(s^2/4))."""
    strengths = torch.linspace(0, STRONGEST, 200, dtype=torch.float64)
    x = strengths**2 / 4
    cosines = (torch.pi / 8) ** 0.5 * strengths * (torch.special.i0e(x) + torch.special.i1e(x))
    return strengths.numpy(), cosines.numpy()
