"""How often errors happen: the table of frequencies, kinds of people, and what was counted, for :mod:`synth.fit`."""

from __future__ import annotations

from typing import Any

import numpy as np

from posefix.core.skeleton import GROUPS, Skeleton
from synth.correlation import groups_of, pairs_of
from synth.errors import ErrorType
from synth.kinds import Kinds
from synth.names import pooled
from synth.observation import OVERLAPS, VISIBLE, Observation
from synth.places import ORDER
from synth.statistics import ERRORS, Rule, Statistics

DISPLACED = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
PSEUDO_COUNT = 20.0  # keypoints that a wider cell of the table counts as
FACTOR_PSEUDO_COUNT = 3.0  # expected errors that a factor of 1 counts as
LEAST_PROBABILITY = 1e-4
LEAST_KIND = 0.005  # share of the people; rarer kinds are left out
ITERATIONS = 300
CONVERGED = 1e-6  # change of the log-likelihood per keypoint
INTERVAL_Z = 1.959964  # two-sided 95 %

# Kinds of people that the search starts from: factors for jitter, inversion, swap and miss, of face, upper, lower.
_START = {
    "right": [(0.4, 0.2, 0.2, 0.1)] * 3,
    "usual": [(1.0, 1.0, 1.0, 1.0)] * 3,
    "imprecise": [(2.5, 1.0, 1.0, 1.5)] * 3,
    "inverted": [(1.0, 6.0, 1.0, 1.0)] * 3,
    "somebody else": [(1.0, 1.0, 20.0, 2.0)] * 3,
    "legs lost": [(1.0, 0.5, 1.0, 0.5), (1.0, 1.0, 1.0, 1.0), (1.0, 2.0, 5.0, 6.0)],
    "arms lost": [(1.5, 0.5, 1.0, 2.0), (1.0, 2.0, 5.0, 6.0), (1.0, 1.0, 1.0, 1.0)],
    "lost": [(1.0, 1.0, 1.0, 12.0)] * 3,
}


def fit_table(seen: Observation) -> np.ndarray:
    """Probabilities (9, parts, 5) of each condition, for everybody alike."""
    return _fit_table(seen, [_START["usual"]])[0]


def fit_kinds(seen: Observation) -> Kinds:
    """The kinds of people, the most frequent first."""
    return _fit_table(seen, list(_START.values()))[1]


def evidence(seen: Observation) -> dict[str, Any]:
    """What was counted: keypoints of each condition and part, percent of each type and a 95 % interval.

    The interval is Wilson's, for as many independent keypoints as these are worth: errors of one image go together, so
    a share varies more than its binomial; by how much is measured over all conditions (the design effect).
    """
    parts = np.array(seen.truth.skeleton.parts())
    names = list(dict.fromkeys(parts.tolist()))
    effects = {kind: _design_effect(seen, kind) for kind in DISPLACED}
    rows = []
    for cell, when in _conditions():
        here = seen.cells() == cell
        if not here.any():
            continue
        counted = {}
        for part in names:
            types = seen.types[here][:, parts == part]
            n = int((types >= 0).sum())
            if n:
                shares = {k.name.lower(): _interval((types == k).sum() / n, n / effects[k]) for k in DISPLACED}
                counted[part] = {"keypoints": n} | shares
        rows.append({"when": when, "people": int(here.sum()), "percent": counted})
    return {
        "people": len(seen.types),
        "keypoints": int((seen.types >= 0).sum()),
        "design_effect": {kind.name.lower(): round(effect, 2) for kind, effect in effects.items()},
        "frequencies": rows,
    }


def _design_effect(seen: Observation, kind: ErrorType) -> float:
    """How many times the variance of a type's share is that of independent keypoints: median over parts, at least 1."""
    _, image = np.unique(seen.truth.image_ids, return_inverse=True)
    parts, effects = np.array(seen.truth.skeleton.parts()), []
    for part in dict.fromkeys(parts.tolist()):
        types = seen.types[:, parts == part]
        known, n = types >= 0, int((types >= 0).sum())
        p = (types == kind).sum() / max(n, 1)
        if 0 < p < 1:
            off = np.bincount(image, (((types == kind) - p) * known).sum(1))
            effects.append((off**2).sum() / (n * p * (1 - p)))
    return float(max(np.median(effects), 1)) if effects else 1.0


def _fit_table(seen: Observation, start: list) -> tuple[np.ndarray, Kinds]:
    """Probabilities (9, parts, 5) of each condition, over all kinds of people, and those kinds.

    The search starts from kinds with factors ``start``, for each of which face, upper and lower body have four.
    """
    skeleton = seen.truth.skeleton
    names = list(dict.fromkeys(skeleton.parts()))
    part = np.array([names.index(p) for p in skeleton.parts()])
    person, keypoint = np.nonzero(seen.types >= 0)
    types, possible = seen.types[person, keypoint].astype(int), seen.possible[person, keypoint].astype(np.float64)
    groups = groups_of(skeleton)[keypoint]
    cell = seen.cells()[person] * len(names) + part[keypoint]
    cells = len(VISIBLE) * len(OVERLAPS) * len(names)
    part_groups = groups_of(skeleton)[[int((part == i).argmax()) for i in range(len(names))]]
    wider = _wider_cells(len(names), part_groups)

    factors = np.ones((len(start), len(GROUPS), len(DISPLACED)))
    factors[:, :, 1:] = np.array(start)
    shares = np.full(len(start), 1 / len(start))
    table = np.tile(np.bincount(types, minlength=5) / len(types), (cells, 1))
    n, rows = len(seen.types), np.arange(len(types))
    before = -np.inf
    for _ in range(ITERATIONS):
        weights = table[cell] * factors[:, groups] * possible
        total = weights.sum(-1)
        log_likelihood = np.log(np.maximum(weights[:, rows, types] / total, 1e-300))
        by_person = np.stack([np.bincount(person, row, n) for row in log_likelihood], 1) + np.log(shares)
        top = by_person.max(1, keepdims=True)
        responsible = np.exp(by_person - top)
        evidence_of = responsible.sum(1, keepdims=True)
        responsible /= evidence_of
        now = float((top + np.log(evidence_of)).sum()) / len(types)
        if now - before < CONVERGED:
            break
        before = now
        known = np.unique(person)
        shares = np.maximum(responsible[known].mean(0), 1e-6)
        shares /= shares.sum()
        of_keypoint = responsible[person].T[:, :, None]
        expected = (of_keypoint * factors[:, groups] * possible / total[..., None]).sum(0)
        table = _scaled(table, types, cell, expected, wider)

        weights = table[cell] * possible / (table[cell] * factors[:, groups] * possible).sum(-1)[..., None]
        for c in range(len(shares)):
            drawn = np.zeros((len(GROUPS), len(DISPLACED)))
            np.add.at(drawn, (groups, types), responsible[person, c])
            wanted = np.zeros_like(drawn)
            np.add.at(wanted, groups, responsible[person, c][:, None] * weights[c])
            factors[c] = (drawn + FACTOR_PSEUDO_COUNT) / (wanted + FACTOR_PSEUDO_COUNT)
            factors[c] /= factors[c][:, :1]
    kept = shares >= min(LEAST_KIND, shares.max())
    shares, factors = shares[kept] / shares[kept].sum(), factors[kept]
    split = factors[:, np.tile(part_groups, len(VISIBLE) * len(OVERLAPS))] * table
    split /= split.sum(-1, keepdims=True)
    marginal = (shares[:, None, None] * split).sum(0)
    mean = (shares[:, None, None] * factors).sum(0)
    order = np.argsort(-shares)
    people = Kinds(shares[order], (factors / mean)[order])
    return marginal.reshape(-1, len(names), len(DISPLACED)), people


def _wider_cells(parts: int, part_groups: np.ndarray) -> list[np.ndarray]:
    """For each cell of the table the index of its body group, of its part, of its part and visibility, and its own."""
    visible, overlaps, part = (a.ravel() for a in np.mgrid[: len(VISIBLE), : len(OVERLAPS), :parts])
    return [part_groups[part], part, visible * parts + part, (visible * len(OVERLAPS) + overlaps) * parts + part]


def _scaled(
    table: np.ndarray, types: np.ndarray, cell: np.ndarray, expected: np.ndarray, wider: list[np.ndarray]
) -> np.ndarray:
    """One round of iterative scaling of the table (cells, 5), from the widest cells to the narrowest."""
    drawn, wanted = np.zeros_like(table), np.zeros_like(table)
    np.add.at(drawn, (cell, types), 1)
    np.add.at(wanted, cell, expected)
    found = None
    for index in wider:
        sums = [np.zeros((index.max() + 1, table.shape[1])) for _ in range(2)]
        np.add.at(sums[0], index, drawn)
        np.add.at(sums[1], index, wanted)
        of_cell = sums[0][index], sums[1][index]
        if found is None:
            found = (of_cell[0] + LEAST_PROBABILITY) / np.maximum(of_cell[1], 1)
        else:
            found = (of_cell[0] + PSEUDO_COUNT * found) / (of_cell[1] + PSEUDO_COUNT)
    return found / found.sum(1, keepdims=True)


def rules_of(table: np.ndarray, skeleton: Skeleton) -> dict[ErrorType, tuple[Rule, ...]]:
    """The rules of a table (9, parts, 5): one for each condition and error, by part."""
    parts = np.array(skeleton.parts())
    names = list(dict.fromkeys(skeleton.parts()))
    rules: dict[ErrorType, list[Rule]] = {error: [] for error in ERRORS}
    for cell, when in _conditions():
        for error in ERRORS:

            def mean(keypoints: np.ndarray, _: float | None, column: np.ndarray = table[cell, :, error]) -> float:
                chosen = [names.index(part) for part in dict.fromkeys(parts[keypoints].tolist())]
                return float(np.floor(column[chosen].mean() * 1e4) / 1e4)

            ranges = {name: tuple(limits) for name, limits in when.items()}
            rules[error].append(Rule(pooled(skeleton, mean), **ranges))
    return {error: tuple(found) for error, found in rules.items()}


def _conditions() -> list[tuple[int, dict[str, list]]]:
    """Every condition of the table: its number and its ``when``."""
    return [
        (i * len(OVERLAPS) + j, {"visible": list(visible), "overlaps": list(overlaps)})
        for i, visible in enumerate(VISIBLE)
        for j, overlaps in enumerate(OVERLAPS)
    ]


def fit_same_on_limb(seen: Observation, statistics: Statistics) -> float:
    """How often keypoints of a limb share their chance, from how often they have the same error.

    With chances apart, two keypoints of a kind of people have the same error as often as the product of their
    probabilities says; with a shared chance, as often as their intervals of it overlap.
    """
    skeleton, n = seen.truth.skeleton, len(seen.types)
    count = 1 if statistics.kinds is None else len(statistics.kinds.shares)
    shares = np.ones(1) if statistics.kinds is None else statistics.kinds.shares
    first, second = pairs_of(skeleton)["limb"].T
    both = (seen.types[:, first] >= 0) & (seen.types[:, second] >= 0)
    same = (seen.types[:, first] == seen.types[:, second]) & (seen.types[:, first] > ErrorType.GOOD)
    wrong = ORDER != ErrorType.GOOD
    apart = together = 0.0
    for c in range(count):
        if statistics.kinds is None:
            table = statistics.probabilities(seen.visible, seen.overlaps, skeleton)
        else:
            table = statistics.probabilities_by_kind(seen.visible, seen.overlaps, skeleton, np.full(n, c))
        table = table * seen.possible
        table = (table / table.sum(-1, keepdims=True))[..., ORDER]
        ends = table.cumsum(-1)
        upper, lower = (np.minimum(e[:, first], e[:, second]) for e in (ends, table - ends))
        overlap, product = np.maximum(upper + lower, 0), table[:, first] * table[:, second]
        apart += shares[c] * product[..., wrong].sum(-1)[both].sum()
        together += shares[c] * overlap[..., wrong].sum(-1)[both].sum()
    found = same[both].sum()
    return float(np.sqrt(np.clip((found - apart) / (together - apart), 0, 1))) if together - apart >= 1 else 0.0


def _interval(share: float, n: float) -> list[float]:
    """Percent, and the ends of Wilson's 95 % interval for n independent keypoints."""
    z2 = INTERVAL_Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = INTERVAL_Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return [round(100 * float(v), 1) for v in (share, max(middle - half, 0), min(middle + half, 1))]
