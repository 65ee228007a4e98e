"""People differ: some an estimator gets right, some it inverts or swaps as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefix.core.skeleton import GROUPS, Skeleton
from synth.correlation import groups_of

ITERATIONS = 200
CONVERGED = 1e-7


@dataclass(frozen=True, eq=False)
class Kinds:
    """A mixture of C kinds of people.

    Attributes:
        shares: (C,) float64, how many people are of each kind; they sum to 1.
        factors: (C, 3, 5) float64: for a kind's face, upper and lower body, how much likelier each error type is than
            in the tables of probabilities (from GOOD on, whose factor is 1), before what is left sums to 1.
    """

    shares: np.ndarray
    factors: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count,) int64 kinds."""
        return rng.choice(len(self.shares), count, p=self.shares)

    def of_keypoints(self, skeleton: Skeleton) -> np.ndarray:
        """(C, K, 5) factors of a skeleton's keypoints."""
        return self.factors[:, groups_of(skeleton)]

    def split(self, table: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        """Probabilities of every kind whose mixture are given ones.

        Args:
            table: (..., K, 5) probabilities over everybody; each sums to 1.
            skeleton: whose K keypoints.

        Returns:
            (C, ..., K, 5) float64; each sums to 1.
        """
        factors = self.of_keypoints(skeleton).reshape(
            len(self.shares), *(1,) * (table.ndim - 2), len(skeleton), table.shape[-1]
        )
        shares = self.shares.reshape(-1, *(1,) * table.ndim)
        weights = table.astype(np.float64)
        for _ in range(ITERATIONS):
            split = factors * weights
            split /= np.maximum(split.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
            mixture = (shares * split).sum(0)
            if np.abs(mixture - table).max(initial=0) < CONVERGED:
                break
            weights = weights * table / np.where(mixture > 0, mixture, 1)
        return split

    def to_list(self, errors: Sequence[str]) -> list[dict]:
        """Plain data, as in a statistics file; ``errors`` are the names of the error types after GOOD."""
        return [
            {
                "share": round(float(share), 4),
                **{
                    error: {group: float(f"{f:.4g}") for group, f in zip(GROUPS, factors[:, i], strict=True)}
                    for i, error in enumerate(errors, 1)
                },
            }
            for share, factors in zip(self.shares, self.factors, strict=True)
        ]
