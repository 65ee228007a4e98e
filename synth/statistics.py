"""Error statistics: probabilities of each error by keypoint and condition, in YAML files.

For each kind of error a file has rules, of which the first that applies to a person is used::

    jitter:
      - when: {visible: [0, 10], overlaps: [1, null]}   # inclusive; null: no limit; absent: any
        probability: {left_knee: 0.2, knee: 0.15, lower: 0.1, default: 0.05}
      - probability: {default: 0.1}                     # without `when` a rule applies to everybody
    distance: {jitter: 0.45, miss: 0.6}                 # optional; default 0.5 each

A probability is looked up by the keypoint's name, then its name without the side, then its group (face, upper, lower),
then ``default``. It is 0 if no rule applies. The remaining probability is that of a Good keypoint. ``distance`` is the
mean position of Jitters and Misses between the inner (0) and the outer (1) radius of their rings.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import AfterValidator, Field, PrivateAttr, StrictFloat, StrictInt

from posefix.core import resources
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.resources import StrictModel, validated
from posefix.core.skeleton import Skeleton
from synth.errors import ErrorType

ERRORS = (ErrorType.JITTER, ErrorType.INVERSION, ErrorType.SWAP, ErrorType.MISS)
DEFAULT = "default"

Count = Annotated[StrictInt, Field(ge=0, le=200)]


def _check_order(limits: tuple[int, int | None]) -> tuple[int, int | None]:
    if limits[1] is not None and limits[1] < limits[0]:
        raise ValueError("give [least, most], most null for no limit")
    return limits


Range = Annotated[tuple[Count, Count | None], AfterValidator(_check_order)]
Fraction = Annotated[StrictFloat, Field(gt=0, lt=1)]


class Condition(StrictModel):
    """Inclusive ranges of annotated keypoints of a person, and of people whose boxes overlap theirs."""

    visible: Range = (0, None)
    overlaps: Range = (0, None)


class Rule(StrictModel):
    """Probabilities of one error under a condition, by names of keypoints, parts, groups or ``default``."""

    when: Condition = Condition()
    probability: dict[str, Annotated[StrictFloat, Field(ge=0, le=1)]] = Field(min_length=1)


class Distance(StrictModel):
    """Mean position of keypoints between the inner (0) and the outer (1) radius of their ring; 0.5 as published."""

    jitter: Fraction = 0.5
    miss: Fraction = 0.5


class Statistics(StrictModel):
    """Frequencies of errors by keypoint and condition, for any skeleton that the names cover."""

    description: str = ""
    jitter: tuple[Rule, ...] = ()
    inversion: tuple[Rule, ...] = ()
    swap: tuple[Rule, ...] = ()
    miss: tuple[Rule, ...] = ()
    distance: Distance = Distance()
    _source: str = PrivateAttr("statistics")

    __hash__ = object.__hash__  # for the cache of :func:`_table`

    def probabilities(self, visible: np.ndarray, overlaps: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        """Look up the probability of each error type for each keypoint of N people.

        Args:
            visible: (N,) number of annotated keypoints of each person.
            overlaps: (N,) number of people whose boxes overlap theirs.
            skeleton: of the K keypoints.

        Returns:
            (N, K, 5) float64, in the order of :class:`ErrorType` from GOOD on; each sums to 1.

        Raises:
            InputError: when a rule has an unknown name, or lacks one of the keypoints, or when errors sum to more
                than 1.
        """
        table = _table(self, skeleton)
        values: np.ndarray = table[np.minimum(visible, table.shape[0] - 1), np.minimum(overlaps, table.shape[1] - 1)]
        return values

    def powers(self) -> np.ndarray:
        """Return the powers p (5,) float32, from GOOD on, with which ``uniform ** p`` has the mean of ``distance``."""
        mean = np.full(1 + len(ERRORS), 0.5)
        mean[[ErrorType.JITTER, ErrorType.MISS]] = self.distance.jitter, self.distance.miss
        return (1 / mean - 1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data, as in the YAML file; the inverse of :func:`from_dict`."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def save(self, path: str | Path) -> None:
        """Write a YAML file, or raise InputError; the inverse of :func:`load`."""
        write_atomically(path, yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=110))

    @classmethod
    def from_dict(cls, spec: dict[str, Any], source: str = "statistics") -> Statistics:
        """Build statistics from plain data, as in the YAML file; InputError names ``source`` and the problem."""
        statistics = validated(cls, spec, source)
        statistics._source = source
        return statistics

    @classmethod
    def load(cls, name_or_path: str | Path) -> Statistics:
        """Load statistics by shipped name (``"posefix"``) or path of a YAML file; InputError when there are none."""
        spec, path = resources.read_yaml("statistics", name_or_path, "statistics")
        return cls.from_dict(spec, str(path))


@lru_cache(maxsize=16)
def _table(statistics: Statistics, skeleton: Skeleton) -> np.ndarray:
    """Tabulate probabilities (K + 1, V, K, 5) by annotated keypoints and overlaps (the last also for more overlaps)."""
    rules = [(error, i, rule) for error in ERRORS for i, rule in enumerate(getattr(statistics, error.name.lower()), 1)]
    bounds = [bound or 0 for _, _, rule in rules for bound in rule.when.overlaps]
    table = np.zeros((len(skeleton) + 1, 2 + max(bounds, default=0), len(skeleton), 1 + len(ERRORS)))
    names = list(zip(skeleton.keypoint_names, skeleton.parts(), skeleton.groups, strict=True))
    shipped = [skeletons.load(name) for name in resources.available("skeletons")]
    known = {n for s in (skeleton, *shipped) for n in (*s.keypoint_names, *s.parts())} | {*skeletons.GROUPS, DEFAULT}
    for error, i, rule in reversed(rules):
        rule_name = f"{statistics._source}: rule {i} of {error.name.lower()}"
        if unknown := sorted(set(rule.probability) - known):
            raise InputError(f"{rule_name}: {unknown[0]!r} is not a keypoint, part or group of any known skeleton")
        keys = [next((name for name in (*aliases, DEFAULT) if name in rule.probability), None) for aliases in names]
        if None in keys:
            raise InputError(
                f"{rule_name} says nothing about {skeleton.keypoint_names[keys.index(None)]!r} of skeleton "
                f"{skeleton.name}; add its name, its group or 'default'"
            )
        visible, overlaps = (
            slice(low, None if high is None else high + 1) for low, high in (rule.when.visible, rule.when.overlaps)
        )
        table[visible, overlaps, :, error] = [rule.probability[name] for name in keys if name]
    total = table.sum(-1)
    if (total > 1 + 1e-9).any():
        v, o, keypoint = np.unravel_index(int(total.argmax()), total.shape)
        raise InputError(
            f"{statistics._source}: the errors of {skeleton.keypoint_names[keypoint]!r} sum to {total.max():.4g}, "
            f"over 1, with {v} visible keypoints and {o} overlaps"
        )
    table[..., ErrorType.GOOD] = np.maximum(1 - table[..., 1:].sum(-1), 0)
    return table
