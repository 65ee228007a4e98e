"""Measure an estimator's errors: statistics for the synthesis, from its results on people whose true pose is known.

What is measured, and how it is smoothed where there is little to go by:

- **How often** each error happens to each part of the body, for nine conditions (annotated keypoints x overlapping
  people), among the errors that can happen to it. Cells of the table are drawn towards the same part in all crowds,
  those towards the part in all conditions, and those towards the body group, each as if the wider one were
  ``PSEUDO_COUNT`` keypoints.
- **Kinds of people**: a latent-class model in which the chance of an error type is the table's times the kind's
  factor, scaled to 1. Fitted by expectation-maximisation whose M-step is one round of iterative scaling (Darroch and
  Ratcliff, "Generalized iterative scaling for log-linear models", 1972), as is the table.
- **Where** the keypoints of each type lie: quantiles of the distance, inwardness of the direction, and how both go
  together within a person (:mod:`synth.displacement`). Parts are drawn towards their group in the same way.
- **Confidence**: quantiles of the score for each type and part, and how scores go together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from posefix.people import concatenate
from posefix.skeleton import GROUPS, Skeleton
from synth import distribution
from synth.confidence import Confidence
from synth.correlation import LEAST_PAIRS, Together, correlations, groups_of, normal_cdf, normal_quantile, pairs_of
from synth.displacement import LARGEST_DISTANCE, Displacement, inwardness_of
from synth.errors import ErrorType
from synth.kinds import Kinds
from synth.names import pooled, spread
from synth.observation import OVERLAPS, VISIBLE, Observation
from synth.sampler import ORDER, unit
from synth.statistics import ERRORS, Rule, Statistics

DISPLACED = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
PSEUDO_COUNT = 20.0  # keypoints that a wider cell of the table counts as
FACTOR_PSEUDO_COUNT = 3.0  # expected errors that a factor of 1 counts as
LEAST_PROBABILITY = 1e-4
LEAST_KIND = 0.005  # share of the people; rarer kinds are left out
ITERATIONS = 300
CONVERGED = 1e-6  # change of the log-likelihood per keypoint
EXTREME = 0.001  # ranks are kept this far from 0 and 1
SIMULATED_PAIRS = 20000
CORRELATIONS = np.linspace(0, 0.99, 34)
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


def fit_statistics(seen: Observation, description: str = "", *, kinds: bool = True) -> Statistics:
    """Statistics that a synthesis on people like these would have drawn these errors from.

    Args:
        seen: results on N people; see :meth:`synth.observation.Observation.of`. Scores count as
            their ranks when some are above 1.
        description: where they come from.
        kinds: look for kinds of people; else all are taken to be alike.

    Raises:
        ValueError: when no keypoint is annotated.
    """
    if not (seen.types >= 0).any():
        raise ValueError("no keypoint is annotated: there is nothing to fit")
    if seen.scores is not None and seen.scores.max() > 1:
        seen = replace(seen, scores=_ranks(seen.scores))
    skeleton = seen.truth.skeleton
    table, _ = _fit_table(seen, [_START["usual"]])
    displacement = _fit_displacement(seen)
    rules, people = _rules(table, skeleton), _fit_table(seen, list(_START.values()))[1] if kinds else None
    return Statistics(
        rules=rules,
        description=description,
        kinds=people,
        same_on_limb=_fit_same_on_limb(seen, Statistics(rules, kinds=people)),
        displacement=displacement,
        same_neighbour=_fit_same_neighbour(seen),
        withheld=None if seen.given.all() else _fit_withheld(seen),
        confidence=None if seen.scores is None else _fit_confidence(seen, displacement),
        evidence=evidence(seen),
    )


def pool(observations: Sequence[Observation]) -> Observation:
    """Several estimators' results as one; scores become ranks within their estimator's, since scales differ."""
    ranked = [replace(seen, scores=_ranks(seen.scores)) if seen.scores is not None else seen for seen in observations]
    together = {"truth": concatenate([seen.truth for seen in ranked])}
    for name in (
        "types",
        "possible",
        "distance",
        "direction",
        "inward",
        "neighbour",
        "coincidence",
        "visible",
        "overlaps",
        "given",
    ):
        together[name] = np.concatenate([getattr(seen, name) for seen in ranked])
    if all(seen.scores is not None for seen in ranked):
        together["scores"] = np.concatenate([seen.scores for seen in ranked])
    return Observation(**together)


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


def _rules(table: np.ndarray, skeleton: Skeleton) -> dict[ErrorType, tuple[Rule, ...]]:
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


def _fit_same_on_limb(seen: Observation, statistics: Statistics) -> float:
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


def _fit_displacement(seen: Observation) -> dict[ErrorType, Displacement]:
    skeleton = seen.truth.skeleton
    cosine = seen.cosine()
    found = {}
    for kind in DISPLACED:
        here = seen.types == kind

        def distances(keypoints: np.ndarray, wider: tuple | None, here: np.ndarray = here) -> tuple[float, ...]:
            values = np.minimum(seen.distance[:, keypoints][here[:, keypoints]], LARGEST_DISTANCE)
            return distribution.measured(values, wider)

        def inwardness(keypoints: np.ndarray, wider: float | None, here: np.ndarray = here) -> float:
            values = cosine[:, keypoints][here[:, keypoints]]
            values = values[np.isfinite(values)]
            towards = 0.0 if wider is None else wider
            return float((values.sum() + PSEUDO_COUNT * towards) / (len(values) + PSEUDO_COUNT))

        distance = pooled(skeleton, distances)
        means = pooled(skeleton, inwardness)
        inward = {name: float(inwardness_of(np.array(mean))) for name, mean in means.items()}
        plain = Displacement(distance, inward)
        ranks = _normal_ranks(seen.distance, plain.quantiles(skeleton)[None], here)
        found[kind] = Displacement(
            distance,
            inward,
            Together.nested(*correlations(ranks, here, skeleton)),
            _direction_together(seen, here, plain.inwardness(skeleton)),
        )
    return found


def _direction_together(seen: Observation, here: np.ndarray, inwardness: np.ndarray) -> Together:
    """How directions go together, found by simulation: the correlation that gives pairs their mean cosine."""
    rng = np.random.default_rng(0)
    has = here & (seen.direction != 0).any(-1)
    levels = []
    for pairs in pairs_of(seen.truth.skeleton).values():
        person, pair = np.nonzero(has[:, pairs[:, 0]] & has[:, pairs[:, 1]])
        if len(person) < LEAST_PAIRS:
            levels.append(np.nan)
            continue
        first, second = pairs[pair].T
        observed = float((seen.direction[person, first] * seen.direction[person, second]).sum(-1).mean())
        drawn = np.resize(np.arange(len(person)), SIMULATED_PAIRS) if len(person) < SIMULATED_PAIRS else slice(None)
        person, first, second = person[drawn], first[drawn], second[drawn]
        means = [inwardness[k][:, None] * seen.inward[person, k] for k in (first, second)]
        shared, *own = rng.standard_normal((3, len(person), 2))
        cosines = []
        for r in CORRELATIONS:
            ways = [unit(m + np.sqrt(r) * shared + np.sqrt(1 - r) * o) for m, o in zip(means, own, strict=True)]
            cosines.append(float((ways[0] * ways[1]).sum(-1).mean()))
        levels.append(float(np.interp(observed, np.maximum.accumulate(cosines), CORRELATIONS)))
    return Together.nested(*levels)


def _fit_same_neighbour(seen: Observation) -> float:
    """How often a Swap goes to the person's chosen neighbour, from how often two Swaps of a person share theirs."""
    same = np.zeros(3)  # as it is, and as it would be of Swaps drawn apart and together
    for person in np.flatnonzero((seen.types == ErrorType.SWAP).sum(1) >= 2):
        counts = np.bincount(seen.neighbour[person][seen.types[person] == ErrorType.SWAP])
        pairs = counts.sum() * (counts.sum() - 1) / 2
        same += [(counts * (counts - 1) / 2).sum(), *(pairs * seen.coincidence[person])]
    found, apart, together = same
    return float(np.sqrt(np.clip((found - apart) / (together - apart), 0, 1))) if together - apart >= 1 else 0.0


def _fit_withheld(seen: Observation) -> dict[str, float]:
    def share(keypoints: np.ndarray, wider: float | None) -> float:
        missing = ~seen.given[:, keypoints]
        towards = PSEUDO_COUNT * (0.0 if wider is None else wider)
        return float((missing.sum() + towards) / (missing.size + (0 if wider is None else PSEUDO_COUNT)))

    return pooled(seen.truth.skeleton, share)


def _fit_confidence(seen: Observation, displacement: Mapping[ErrorType, Displacement]) -> Confidence:
    skeleton = seen.truth.skeleton
    score = {}
    ranks = np.zeros(seen.types.shape, np.float32)
    far = np.zeros(seen.types.shape, np.float32)
    for kind in ErrorType:
        here = (seen.types == kind) & seen.given

        def scores(keypoints: np.ndarray, wider: tuple | None, here: np.ndarray = here) -> tuple[float, ...]:
            return distribution.measured(seen.scores[:, keypoints][here[:, keypoints]], wider)

        score[kind] = pooled(skeleton, scores)
        quantiles = np.array(spread(score[kind], skeleton))[None]
        ranks = np.where(here, _normal_ranks(seen.scores, quantiles, here), ranks)
        if kind != ErrorType.UNLABELLED:
            known = _normal_ranks(seen.distance, displacement[kind].quantiles(skeleton)[None], here)
            far = np.where(here, known, far)
    annotated = seen.types >= 0
    spreads = np.sqrt((ranks[annotated] ** 2).mean() * (far[annotated] ** 2).mean())
    with_distance = float(np.clip((ranks * far)[annotated].mean() / max(spreads, 1e-9), -0.99, 0.99))
    scored = _latent(correlations(ranks, seen.given, skeleton), seen, score)
    displaced = correlations(far, annotated, skeleton)
    r2 = with_distance**2
    beyond = [(s - r2 * np.nan_to_num(d)) / (1 - r2) for s, d in zip(scored, displaced, strict=True)]
    return Confidence(score, Together.nested(*beyond), with_distance)


def _latent(
    observed: tuple[float, float, float], seen: Observation, score: Mapping[ErrorType, Mapping[str, tuple]]
) -> tuple[float, ...]:
    """The correlations of normals that show as ``observed`` once many of them have become the same score.

    Found by simulation: pairs of normals are made scores and ranks again, as those of the estimator were.
    """
    skeleton, rng = seen.truth.skeleton, np.random.default_rng(0)
    tables = np.array([spread(score[kind], skeleton) for kind in ErrorType], np.float64)
    person, keypoint = np.nonzero(seen.given)
    drawn = rng.integers(0, len(person), (2, SIMULATED_PAIRS))
    quantiles = [tables[seen.types[person[d], keypoint[d]] - int(ErrorType.UNLABELLED), keypoint[d]] for d in drawn]
    shared, *own = rng.standard_normal((3, SIMULATED_PAIRS)).astype(np.float32)
    shown = []
    for r in CORRELATIONS:
        ranks = []
        for q, o in zip(quantiles, own, strict=True):
            values = distribution.at(q, normal_cdf(np.sqrt(r) * shared + np.sqrt(1 - r) * o))
            ranks.append(normal_quantile(np.clip(distribution.share_of(q, values), EXTREME, 1 - EXTREME)))
        shown.append(float(np.corrcoef(*ranks)[0, 1]))
    shown = np.maximum.accumulate(np.nan_to_num(shown))
    return tuple(float(np.interp(value, shown, CORRELATIONS)) if np.isfinite(value) else value for value in observed)


def _normal_ranks(values: np.ndarray, quantiles: np.ndarray, here: np.ndarray) -> np.ndarray:
    """(N, K) float32 standard-normal rank of values (N, K) in distributions (1, K, L); 0 where not ``here`` (N, K)."""
    ranks = np.zeros(values.shape, np.float32)
    person, keypoint = np.nonzero(here)
    shares = distribution.share_of(quantiles[0, keypoint], values[person, keypoint])
    ranks[person, keypoint] = normal_quantile(np.clip(shares, EXTREME, 1 - EXTREME))
    return ranks


def _ranks(scores: np.ndarray) -> np.ndarray:
    """(N, K) float32 in [0, 1]: which share of the scores of given keypoints is at most as high; 0 stays 0."""
    known = np.sort(scores[scores > 0])
    ranks = np.searchsorted(known, scores, "right") / max(len(known), 1)
    return np.where(scores > 0, ranks, 0).astype(np.float32)


def _interval(share: float, n: float) -> list[float]:
    """Percent, and the ends of Wilson's 95 % interval for n independent keypoints."""
    z2 = INTERVAL_Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = INTERVAL_Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return [round(100 * float(v), 1) for v in (share, max(middle - half, 0), min(middle + half, 1))]
