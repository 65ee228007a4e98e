"""Values by the names of keypoints: the table of a statistics file and the array of a skeleton."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from posefix.core.skeleton import GROUPS, Skeleton

DEFAULT = "default"
T = TypeVar("T")


def names_of(skeleton: Skeleton) -> list[tuple[str, ...]]:
    """For each keypoint the names that a value is looked up by: its own, its part, its group, ``default``."""
    columns = (skeleton.keypoint_names, skeleton.parts(), skeleton.groups)
    return [(str(name), str(part), str(group), DEFAULT) for name, part, group in zip(*columns, strict=True)]


def spread(table: Mapping[str, T], skeleton: Skeleton) -> list[T | None]:
    """The value of each keypoint, None where no name of it is in the table."""
    return [next((table[name] for name in names if name in table), None) for names in names_of(skeleton)]


def pooled(skeleton: Skeleton, estimate: Callable[[np.ndarray, T | None], T]) -> dict[str, T]:
    """Estimate a value for every part of a skeleton, its groups and ``default``, from the widest to the narrowest.

    Args:
        skeleton: whose keypoints.
        estimate: from a (K,) bool mask of keypoints and the value of the wider name (None for ``default``), to fall
            back on where there is little to go by.
    """
    everything = np.ones(len(skeleton), bool)
    found = {DEFAULT: estimate(everything, None)}
    for group in GROUPS:
        if skeleton.group(group).any():
            found[group] = estimate(skeleton.group(group), found[DEFAULT])
    parts = np.array(skeleton.parts())
    for part in dict.fromkeys(skeleton.parts()):
        group = str(skeleton.groups[parts == part][0])
        found[part] = estimate(parts == part, found[group])
    return found
