"""How an estimator's confidence goes with its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from posefix.core.skeleton import Skeleton
from synth.correlation import Together, normal_cdf, shared_normals
from synth.distribution import at
from synth.errors import ErrorType
from synth.names import spread


@dataclass(frozen=True, eq=False)
class Confidence:
    """The distribution of the scores of keypoints, given what is wrong with them.

    Attributes:
        score: for each :class:`synth.errors.ErrorType`, also UNLABELLED, by name of keypoint, part or group, quantiles
            at ``synth.distribution.LEVELS``.
        together: correlation of the ranks of scores within a person, beyond what distances account for.
        with_distance: correlation of the rank of a score with that of the keypoint's distance to its anchor.
    """

    score: Mapping[ErrorType, Mapping[str, tuple[float, ...]]]
    together: Together = field(default_factory=Together)
    with_distance: float = 0.0

    def draw(
        self, types: np.ndarray, distances: np.ndarray, skeleton: Skeleton, rng: np.random.Generator
    ) -> np.ndarray:
        """Scores (N, K) float32 of keypoints with error types (N, K) and distances of normal ranks (N, K)."""
        shared = shared_normals(rng, len(types), skeleton)[..., 0]
        own = np.einsum("w,wnk->nk", self.together.weights(), shared)
        r = self.with_distance
        rank = normal_cdf(r * distances + np.sqrt(1 - r**2) * own)
        tables = np.array([spread(self.score[kind], skeleton) for kind in ErrorType], np.float64)
        columns = np.broadcast_to(np.arange(len(skeleton)), types.shape)
        chosen = tables[types.ravel() - int(ErrorType.UNLABELLED), columns.ravel()]
        return at(chosen, rank.ravel()).reshape(types.shape)

    def to_dict(self) -> dict:
        """Plain data, as in a statistics file."""
        return {
            "score": {
                kind.name.lower(): {name: list(values) for name, values in table.items()}
                for kind, table in self.score.items()
            },
            "together": self.together.to_dict(),
            "with_distance": round(float(self.with_distance), 4),
        }
