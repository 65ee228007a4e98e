"""What errors of one person have in common: normal numbers that the person, a body group or a limb share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from posefix.core.skeleton import GROUPS, Skeleton

LEVELS = ("person", "group", "limb")
LEAST_PAIRS = 20  # of keypoints, for a correlation to be measured at all


@dataclass(frozen=True)
class Together:
    """Correlation between two keypoints of a person; 0 <= person <= group <= limb <= 1.

    Attributes:
        person: of keypoints in different body groups (face, upper, lower).
        group: of keypoints in one group, on different limbs.
        limb: of keypoints on one limb (see :func:`limbs_of`).
    """

    person: float = 0.0
    group: float = 0.0
    limb: float = 0.0

    @classmethod
    def nested(cls, person: float, group: float, limb: float) -> Together:
        """The nearest correlations that are in order; those that are not known (NaN) as the level outside."""
        levels, least = [], 0.0
        for value in (person, group, limb):
            least = float(np.clip(value, least, 1.0)) if np.isfinite(value) else least
            levels.append(least)
        return cls(*levels)

    def weights(self) -> np.ndarray:
        """(4,) float32 factors of the person's, group's, limb's and own unit normals whose sum is correlated so."""
        steps = np.diff([0.0, self.person, self.group, self.limb, 1.0])
        return np.sqrt(np.maximum(steps, 0)).astype(np.float32)

    def to_dict(self) -> dict[str, float]:
        """Plain data, as in a statistics file."""
        return {level: round(float(getattr(self, level)), 4) for level in LEVELS}


def limbs_of(skeleton: Skeleton) -> np.ndarray:
    """(K,) int64: the limb of each keypoint: the face, or one side of the upper or lower body."""
    group, order = groups_of(skeleton), np.arange(len(skeleton))
    named = np.array([name.startswith("right_") - int(name.startswith("left_")) for name in skeleton.keypoint_names])
    side = np.where(named != 0, named, np.sign(order - skeleton.flip))
    limbs = 3 * group + np.where(group == GROUPS.index("face"), 0, side)
    return np.unique(limbs, return_inverse=True)[1].reshape(-1)


def groups_of(skeleton: Skeleton) -> np.ndarray:
    """(K,) int64: the place of each keypoint's body group in ``GROUPS``."""
    return np.array([GROUPS.index(g) for g in skeleton.groups])


def shared_normals(rng: np.random.Generator, count: int, skeleton: Skeleton, dimensions: int = 1) -> np.ndarray:
    """Unit normals of each person, group, limb and keypoint, at every keypoint that has a part in them.

    Returns:
        (4, count, K, dimensions) float32; summed with :meth:`Together.weights`, they are correlated as it says.
    """
    owners = (np.zeros(len(skeleton), int), groups_of(skeleton), limbs_of(skeleton), np.arange(len(skeleton)))
    draws = [rng.standard_normal((count, owner.max() + 1, dimensions), np.float32)[:, owner] for owner in owners]
    return np.stack(draws)


def pairs_of(skeleton: Skeleton) -> dict[str, np.ndarray]:
    """(P, 2) int64 pairs of keypoints for each of ``LEVELS``."""
    i, j = np.triu_indices(len(skeleton), 1)
    group, limb = groups_of(skeleton), limbs_of(skeleton)
    same_group, same_limb = group[i] == group[j], limb[i] == limb[j]
    chosen = (~same_group, same_group & ~same_limb, same_limb)
    return {level: np.stack([i[c], j[c]], axis=1) for level, c in zip(LEVELS, chosen, strict=True)}


def correlations(values: np.ndarray, known: np.ndarray, skeleton: Skeleton) -> tuple[float, float, float]:
    """Correlation of unit normals (N, K) over the pairs of each level, where both are ``known`` (N, K).

    NaN for a level with fewer than ``LEAST_PAIRS`` pairs.
    """
    values = values - (values[known].mean() if known.any() else 0)
    spread = float((values[known] ** 2).mean()) if known.any() else np.nan
    found = []
    for pairs in pairs_of(skeleton).values():
        both = known[:, pairs[:, 0]] & known[:, pairs[:, 1]]
        product = (values[:, pairs[:, 0]] * values[:, pairs[:, 1]])[both]
        found.append(float(product.mean()) / spread if len(product) >= LEAST_PAIRS and spread > 0 else np.nan)
    return found[0], found[1], found[2]


def normal_cdf(values: np.ndarray) -> np.ndarray:
    """The standard normal distribution function, float32."""
    return torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(values, np.float32))).numpy()


def normal_quantile(shares: np.ndarray) -> np.ndarray:
    """Its inverse, float32."""
    return torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(shares, np.float32))).numpy()
