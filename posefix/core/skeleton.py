"""Skeletons: names, left/right pairs, limbs and OKS sigmas of keypoints.

A skeleton is a YAML file, in ``configs/skeletons`` or anywhere else::

    name: coco17
    keypoints:                      # in the order of the arrays
      - {name: nose, sigma: 0.026, group: face}
      - {name: left_eye, sigma: 0.025, group: face}
    pairs: [[left_eye, right_eye]]  # optional: by default from the left_/right_ prefixes
    limbs: [[nose, left_eye]]
    template: {nose: [0.0, -0.45]}  # optional: the mean upright pose, in units of sqrt(area)
    mappings:                       # optional: keypoints of other skeletons that mean the same
      halpe26: {nose: nose}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.resources import validated

GROUPS = ("face", "upper", "lower")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Names and structure of K keypoints.

    Attributes:
        name: short name, as in the file name of its YAML.
        keypoint_names: K names, in array order.
        sigmas: (K,) float64, the per-keypoint standard deviations of COCO's OKS; ``k_j = 2 sigma_j``.
        flip: (K,) int64 permutation that exchanges left and right; its own inverse.
        limbs: (L, 2) int64 indices of connected keypoints.
        groups: (K,) str, one of ``face``, ``upper``, ``lower`` for each keypoint.
        template: (K, 2) float64 mean pose in units of sqrt(area), or None.
        mappings: for other skeletons' names, ``{their keypoint: our keypoint}``.
    """

    name: str
    keypoint_names: tuple[str, ...]
    sigmas: np.ndarray
    flip: np.ndarray
    limbs: np.ndarray
    groups: np.ndarray
    template: np.ndarray | None = None
    mappings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keypoint_names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Skeleton) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.keypoint_names))

    def scales(self, areas: np.ndarray) -> np.ndarray:
        """Compute the OKS scales s k_j (..., K) in pixels, for areas s^2 (...) in px^2."""
        scales: np.ndarray = np.sqrt(areas)[..., None] * 2 * self.sigmas
        return scales

    def index(self, keypoint: str) -> int:
        """Return the index of a keypoint; raises KeyError for an unknown name."""
        try:
            return self.keypoint_names.index(keypoint)
        except ValueError:
            raise KeyError(f"skeleton {self.name} has no keypoint {keypoint!r}") from None

    def group(self, name: str) -> np.ndarray:
        """Mask (K,) bool of the keypoints in a group."""
        members: np.ndarray = self.groups == name
        return members

    def parts(self) -> tuple[str, ...]:
        """Return the names of the keypoints without their side: ``knee`` for ``left_knee``."""
        return tuple(n.removeprefix("left_").removeprefix("right_") for n in self.keypoint_names)

    def indices_from(self, other: Skeleton) -> np.ndarray:
        """Return the index (K,) int64 in ``other`` of each keypoint of this skeleton, -1 where there is none.

        Uses this skeleton's mapping from ``other`` if there is one, else the inverse of the other's mapping, else equal
        names.
        """
        if other.name in self.mappings:
            theirs = {ours: their for their, ours in self.mappings[other.name].items()}
        elif self.name in other.mappings:
            theirs = dict(other.mappings[self.name])
        else:
            theirs = {n: n for n in self.keypoint_names}
        order = {n: i for i, n in enumerate(other.keypoint_names)}
        return np.array([order.get(theirs.get(n, ""), -1) for n in self.keypoint_names], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data, as in the YAML file; the inverse of :func:`from_dict`."""
        names = self.keypoint_names
        keypoints = zip(names, self.sigmas.tolist(), self.groups.tolist(), strict=True)
        spec: dict[str, Any] = {
            "name": self.name,
            "keypoints": [{"name": name, "sigma": sigma, "group": group} for name, sigma, group in keypoints],
            "pairs": [[names[i], names[j]] for i, j in enumerate(self.flip) if i < j],
            "limbs": [[names[i], names[j]] for i, j in self.limbs],
        }
        if self.template is not None:
            spec["template"] = dict(zip(names, self.template.tolist(), strict=True))
        if self.mappings:
            spec["mappings"] = {name: dict(table) for name, table in self.mappings.items()}
        return spec


class _Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, coerce_numbers_to_str=True)


class _Keypoint(_Part):
    name: str
    sigma: PositiveFloat
    group: Literal["face", "upper", "lower"]


class _SkeletonFile(_Part):
    name: str | None = None
    keypoints: list[_Keypoint] = Field(min_length=1)
    pairs: list[tuple[str, str]] | None = None
    limbs: list[tuple[str, str]] | None = None
    template: dict[str, tuple[float, float]] | None = None
    mappings: dict[str, dict[str, str]] | None = None


def from_dict(spec: Mapping[str, Any], source: str = "skeleton") -> Skeleton:
    """Build a skeleton from plain data, as in the YAML file; InputError names ``source`` and the first problem."""
    content = validated(_SkeletonFile, spec, source)
    names = tuple(keypoint.name for keypoint in content.keypoints)
    if len(set(names)) != len(names):
        raise InputError(f"{source}: keypoint names must be unique")
    order = {name: i for i, name in enumerate(names)}

    def indices(key: str, pairs: list[tuple[str, str]] | None) -> np.ndarray:
        try:
            return np.array([[order[a], order[b]] for a, b in pairs or []], dtype=np.int64).reshape(-1, 2)
        except KeyError as error:
            raise InputError(f"{source}: '{key}' must be pairs of keypoint names ({error})") from None

    sides = [(n, n.replace("left_", "right_", 1)) for n in names if n.startswith("left_")]
    pairs = indices("pairs", [s for s in sides if s[1] in order] if content.pairs is None else content.pairs)
    if len(np.unique(pairs)) != pairs.size:
        raise InputError(f"{source}: a keypoint is in more than one left/right pair")
    flip = np.arange(len(names))
    flip[pairs[:, 0]], flip[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    if content.template and (missing := sorted(set(names) - set(content.template))):
        raise InputError(f"{source}: 'template' needs x, y for every keypoint, and has none for {missing[0]!r}")
    mappings = content.mappings or {}
    for other, table in mappings.items():
        if unknown := sorted(set(table.values()) - set(names)):
            raise InputError(f"{source}: mapping from {other} names the unknown keypoint {unknown[0]!r}")
        if len(set(table.values())) != len(table):
            raise InputError(f"{source}: mapping from {other} names a keypoint twice")
    return Skeleton(
        name=content.name or source,
        keypoint_names=names,
        sigmas=np.array([keypoint.sigma for keypoint in content.keypoints]),
        flip=flip,
        limbs=indices("limbs", content.limbs),
        groups=np.array([keypoint.group for keypoint in content.keypoints]),
        template=np.array([content.template[name] for name in names]) if content.template else None,
        mappings=mappings,
    )


@lru_cache(maxsize=64)
def load(name_or_path: str | Path) -> Skeleton:
    """Load a skeleton by shipped name (``"coco17"``) or path of a YAML file; InputError when there is none."""
    spec, path = resources.read_yaml("skeletons", name_or_path, "skeleton")
    skeleton = from_dict(spec, source=str(path))
    return skeleton if "name" in spec else replace(skeleton, name=path.stem)


def with_keypoint_count(count: int) -> list[str]:
    """List the shipped skeletons that have ``count`` keypoints."""
    return [name for name in resources.available("skeletons") if len(load(name)) == count]
