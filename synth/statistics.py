"""How often each error happens to which keypoint under which conditions, and what it looks like; YAML in and out.

A statistics file holds, for each kind of error, rules of which the first that fits a person is used::

    jitter:
      - when: {visible: [0, 10], overlaps: [1, null]}   # both ends included; null: no limit; absent: any
        probability: {left_knee: 0.2, knee: 0.15, lower: 0.1, default: 0.05}
      - probability: {default: 0.1}                     # without `when` a rule fits everybody

A probability is looked up by the keypoint's name, then its name without the side, then its group (face, upper, lower),
then ``default``. Where no rule fits it is 0. What the errors leave is the probability of a good keypoint.

Files that :mod:`synth.fit` measured say more, every part of it optional: ``people`` (kinds of people, some wholly good
and some wholly inverted; :mod:`synth.kinds`), ``same_on_limb`` (how often the keypoints of a limb share their fate),
``displacement`` (how far and which way, for each error type; :mod:`synth.displacement`), ``same_neighbour`` (how often
a person's Swaps go to one neighbour), ``withheld`` (how often a keypoint is not given at all), ``confidence``
(:mod:`synth.confidence`) and, for the reader alone, ``evidence`` (what was counted).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posefix.core import resources
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.skeleton import Skeleton
from synth import details
from synth.confidence import Confidence
from synth.displacement import Displacement
from synth.errors import ErrorType
from synth.kinds import Kinds
from synth.names import DEFAULT, spread

ERRORS = (ErrorType.JITTER, ErrorType.INVERSION, ErrorType.SWAP, ErrorType.MISS)
CONDITIONS = ("visible", "overlaps")
MIXED = 1e-3  # how near the mixture of the kinds of people must come to the table

Range = tuple[int, "int | None"]


@dataclass(frozen=True, eq=False)
class Rule:
    """Probabilities of one error for people of some condition.

    Attributes:
        probability: for names of keypoints, sideless parts, groups or ``default``, in [0, 1].
        visible: least and most annotated keypoints of a person (None: no limit) for the rule to fit.
        overlaps: least and most people whose boxes overlap with the person's.
    """

    probability: Mapping[str, float]
    visible: Range = (0, None)
    overlaps: Range = (0, None)

    def fits(self, visible: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
        """(N,) bool for people with ``visible`` (N,) keypoints and ``overlaps`` (N,)."""
        fits = np.ones(len(visible), bool)
        for counts, (low, high) in ((visible, self.visible), (overlaps, self.overlaps)):
            fits &= counts >= low
            if high is not None:
                fits &= counts <= high
        return fits

    def row(self, skeleton: Skeleton) -> np.ndarray:
        """(K,) float64 probabilities of a skeleton's keypoints, NaN for those that the rule says nothing about."""
        return np.array([np.nan if p is None else p for p in spread(self.probability, skeleton)])


@dataclass(frozen=True, eq=False)
class Statistics:
    """Frequencies of errors by keypoint and condition, for any skeleton that its names cover.

    Attributes:
        rules: for each error of ``ERRORS`` its rules, first fitting first.
        description: where the numbers come from.
        source: what to call them in messages.
        kinds: how people differ; None when all are alike.
        same_on_limb: the probability that a keypoint's error is drawn with the same chance as that of its limb.
        displacement: for each error type from GOOD on where such a keypoint lies; None for the published rings.
        same_neighbour: the probability that a Swap goes to the neighbour who was chosen for the person.
        withheld: by name of keypoint, part or group, how often there is no keypoint at all; None for never.
        confidence: how scores go with errors; None when there are none.
        evidence: what was counted, as it stands in the file.
    """

    rules: Mapping[ErrorType, tuple[Rule, ...]]
    description: str = ""
    source: str = "statistics"
    kinds: Kinds | None = None
    same_on_limb: float = 0.0
    displacement: Mapping[ErrorType, Displacement] | None = None
    same_neighbour: float = 0.0
    withheld: Mapping[str, float] | None = None
    confidence: Confidence | None = None
    evidence: Any = None

    def probabilities(self, visible: np.ndarray, overlaps: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        """Probability of each error type for each keypoint of N people.

        Args:
            visible: (N,) annotated keypoints of each person.
            overlaps: (N,) people whose boxes overlap with theirs.
            skeleton: whose K keypoints.

        Returns:
            (N, K, 5) float64, in the order of :class:`ErrorType` from GOOD on; each sums to 1.

        Raises:
            InputError: when a rule says nothing about one of the keypoints, or errors sum to more than 1.
        """
        visible, overlaps = np.asarray(visible), np.asarray(overlaps)
        return _table(self, _checked_rows(self, skeleton), visible, overlaps, len(skeleton))

    def probabilities_by_kind(
        self, visible: np.ndarray, overlaps: np.ndarray, skeleton: Skeleton, kinds: np.ndarray
    ) -> np.ndarray:
        """Like :meth:`probabilities` for people of known kinds (N,); their mixture over the shares is the same."""
        points, split = _split_grid(self, skeleton)
        row, column = (np.searchsorted(p, v, "right") - 1 for p, v in zip(points, (visible, overlaps), strict=True))
        return split[kinds, row, column]

    def to_dict(self) -> dict:
        """Plain-data form, as in the YAML file; :func:`from_dict` is its inverse."""
        spec: dict = {"description": self.description} if self.description else {}
        for error in ERRORS:
            spec[error.name.lower()] = [_rule_to_dict(rule) for rule in self.rules[error]]
        return spec | details.to_dict(self)

    def save(self, path: str | Path) -> None:
        """Write the YAML form to a file; :func:`load` is its inverse.

        Raises:
            InputError: when it cannot be written.
        """
        write_atomically(path, yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=110))

    @classmethod
    def from_dict(cls, spec: Mapping, source: str = "statistics", skeleton: Skeleton | None = None) -> Statistics:
        """Build statistics from their YAML form.

        Args:
            spec: the content of a statistics file.
            source: what to call it in messages.
            skeleton: one whose names may be used beside those of the shipped skeletons.

        Raises:
            InputError: naming ``source`` and the first thing that does not fit.
        """
        kinds = [error.name.lower() for error in ERRORS]
        if unknown := [str(key) for key in spec if key not in (*kinds, "description", *details.SECTIONS)]:
            known_keys = ", ".join((*kinds, *details.SECTIONS))
            raise InputError(f"{source}: {unknown[0]!r} is no error; use {known_keys} or description")
        shipped = [skeletons.load(name) for name in resources.available("skeletons")]
        known = shipped if skeleton is None else [*shipped, skeleton]
        names = {n for s in known for n in (*s.keypoint_names, *s.parts())} | {*skeletons.GROUPS, DEFAULT}
        rules = {}
        for error, kind in zip(ERRORS, kinds, strict=True):
            entries = spec.get(kind) or []
            if not isinstance(entries, list):
                raise InputError(f"{source}: {kind!r} must be a list of rules, each with 'when' and 'probability'")
            rules[error] = tuple(
                _rule_from_dict(entry, f"{source}: rule {i} of {kind}", names) for i, entry in enumerate(entries, 1)
            )
        statistics = cls(rules, str(spec.get("description") or ""), source, **details.from_dict(spec, source, names))
        for candidate in known:
            if all(np.isfinite(rule.row(candidate)).all() for error in ERRORS for rule in rules[error]):
                _checked_rows(statistics, candidate)
        return statistics

    @classmethod
    def load(cls, name_or_path: str | Path, skeleton: Skeleton | None = None) -> Statistics:
        """Load statistics by shipped name (``"posefix"``) or from a YAML file; see :meth:`from_dict`.

        Raises:
            InputError: when there is no such file or it does not hold statistics.
        """
        path = resources.find("statistics", name_or_path)
        if path is None:
            known = ", ".join(resources.available("statistics"))
            raise InputError(f"no statistics {str(name_or_path)!r}: give a YAML file or one of {known}")
        try:
            spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise InputError(f"{path}: not a readable YAML file ({type(error).__name__})") from None
        if not isinstance(spec, Mapping):
            raise InputError(f"{path}: a statistics file holds a mapping with jitter, inversion, swap, miss")
        return cls.from_dict(spec, str(path), skeleton)


def _table(
    statistics: Statistics,
    rows: Mapping[ErrorType, list[np.ndarray]],
    visible: np.ndarray,
    overlaps: np.ndarray,
    k: int,
) -> np.ndarray:
    """(N, K, 5) probabilities from the (K,) rows of every rule."""
    table = np.zeros((len(visible), k, 1 + len(ERRORS)))
    for error in ERRORS:
        for rule, row in zip(reversed(statistics.rules[error]), reversed(rows[error]), strict=True):
            table[rule.fits(visible, overlaps), :, error] = row
    table[..., ErrorType.GOOD] = np.maximum(1 - table[..., 1:].sum(-1), 0)
    return table


@lru_cache(maxsize=64)
def _checked_rows(statistics: Statistics, skeleton: Skeleton) -> dict[ErrorType, list[np.ndarray]]:
    """(K,) probabilities of every rule, once it is certain that they cover the skeleton and never sum to over 1."""
    rows = {error: [rule.row(skeleton) for rule in statistics.rules[error]] for error in ERRORS}
    for error in ERRORS:
        for i, row in enumerate(rows[error], 1):
            if np.isnan(row).any():
                name = skeleton.keypoint_names[int(np.isnan(row).argmax())]
                raise InputError(
                    f"{statistics.source}: rule {i} of {error.name.lower()} says nothing about {name!r} of skeleton "
                    f"{skeleton.name}; add its name, its group or 'default'"
                )
    visible, overlaps = _conditions(statistics, skeleton)
    grid = np.array([(v, o) for v in visible for o in overlaps])
    table = _table(statistics, rows, grid[:, 0], grid[:, 1], len(skeleton))
    total = table[..., 1:].sum(-1)
    if (total > 1 + 1e-9).any():
        cell, keypoint = np.unravel_index(int(total.argmax()), total.shape)
        raise InputError(
            f"{statistics.source}: the errors of {skeleton.keypoint_names[keypoint]!r} sum to {total.max():.4g}, "
            f"over 1, with {grid[cell, 0]} visible keypoints and {grid[cell, 1]} overlaps"
        )
    return rows


@lru_cache(maxsize=64)
def _split_grid(statistics: Statistics, skeleton: Skeleton) -> tuple[tuple[list[int], list[int]], np.ndarray]:
    """The least counts of every condition, and probabilities (C, V, O, K, 5) of each kind of people in it."""
    visible, overlaps = _conditions(statistics, skeleton)
    grid = np.array([(v, o) for v in visible for o in overlaps])
    table = statistics.probabilities(grid[:, 0], grid[:, 1], skeleton)
    table = table.reshape(len(visible), len(overlaps), *table.shape[1:])
    split = statistics.kinds.split(table, skeleton)
    mixture = np.tensordot(statistics.kinds.shares, split, 1)
    if not np.abs(mixture - table).max() < MIXED:
        raise InputError(f"{statistics.source}: no probabilities have both this table and these factors of people")
    return (visible, overlaps), split.astype(np.float32)


def _conditions(statistics: Statistics, skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """Counts of visible keypoints and overlaps at which some rule begins or ends to fit."""
    rules = [rule for error in ERRORS for rule in statistics.rules[error]]
    visible = [v for v in _turning_points(r.visible for r in rules) if v <= len(skeleton)]
    return visible, _turning_points(r.overlaps for r in rules)


def _turning_points(ranges: Iterable[Range]) -> list[int]:
    """One count from each interval between the ends of ranges, so that every combination of rules is met."""
    points = {0}
    for low, high in ranges:
        points |= {low} if high is None else {low, high + 1}
    return sorted(points)


def _rule_to_dict(rule: Rule) -> dict:
    when = {c: list(getattr(rule, c)) for c in CONDITIONS if getattr(rule, c) != (0, None)}
    spec: dict = {"when": when} if when else {}
    return spec | {"probability": {name: float(p) for name, p in rule.probability.items()}}


def _rule_from_dict(spec: object, where: str, names: set[str]) -> Rule:
    if not isinstance(spec, Mapping) or not {"probability"} <= set(spec) <= {"when", "probability"}:
        raise InputError(f"{where}: a rule holds 'probability' and, if it is not for everybody, 'when'")
    when = spec.get("when") or {}
    if not isinstance(when, Mapping) or not set(when) <= set(CONDITIONS):
        raise InputError(f"{where}: 'when' holds {' and '.join(CONDITIONS)}, found {when!r}")
    table = spec["probability"]
    if not isinstance(table, Mapping) or not table:
        raise InputError(f"{where}: 'probability' must give a number for names of keypoints, parts or groups")
    for name, p in table.items():
        if name not in names:
            raise InputError(f"{where}: {name!r} is no keypoint, part or group of any known skeleton")
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise InputError(f"{where}: the probability of {name} must be a number in [0, 1], found {p!r}")
    ranges = {condition: _range(value, f"{where}: {condition}") for condition, value in when.items()}
    return Rule({str(name): float(p) for name, p in table.items()}, **ranges)


def _range(value: object, where: str) -> Range:
    """A checked [low, high] with high null for no limit."""

    def is_count(number: object) -> bool:
        return isinstance(number, int) and not isinstance(number, bool) and number >= 0

    if isinstance(value, (list, tuple)) and len(value) == 2 and is_count(value[0]):
        low, high = value
        if high is None or (is_count(high) and high >= low):
            return low, high
    raise InputError(f"{where} must be [least, most] in whole numbers, most null for no limit, found {value!r}")
