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
- **Confidence**: quantiles of the score for each type and part, and how scores go together. Keypoints of score 0 are
  withheld: how often is measured, and nothing else of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from posefix.core.people import concatenate
from synth import distribution
from synth.confidence import Confidence
from synth.correlation import LEAST_PAIRS, Together, correlations, normal_cdf, normal_quantile, pairs_of
from synth.displacement import LARGEST_DISTANCE, Displacement, inwardness_of
from synth.errors import ErrorType
from synth.frequencies import DISPLACED, PSEUDO_COUNT, evidence, fit_kinds, fit_same_on_limb, fit_table, rules_of
from synth.names import pooled, spread
from synth.observation import Observation
from synth.places import unit
from synth.statistics import Statistics

EXTREME = 0.001  # ranks are kept this far from 0 and 1
SIMULATED_PAIRS = 20000
CORRELATIONS = np.linspace(0, 0.99, 34)


def fit_statistics(seen: Observation, description: str = "", *, kinds: bool = True) -> Statistics:
    """Statistics that a synthesis on people like these would have drawn these errors from.

    Args:
        seen: results on N people; see :meth:`synth.observation.Observation.of`. Scores count as their ranks when some
            are above 1.
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
    rules, people = rules_of(fit_table(seen), skeleton), fit_kinds(seen) if kinds else None
    displacement = _fit_displacement(seen)
    return Statistics(
        rules=rules,
        description=description,
        kinds=people,
        same_on_limb=fit_same_on_limb(seen, Statistics(rules, kinds=people)),
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
        with np.errstate(invalid="ignore", divide="ignore"):  # scores may all be the same
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
