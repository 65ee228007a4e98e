"""How far drawn errors are from an estimator's real ones, one number for each thing that can be compared."""

from __future__ import annotations

import numpy as np

from synth.correlation import pairs_of
from synth.errors import ErrorType
from synth.observation import Observation

DISPLACED = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
LEAST = 10  # keypoints of a part, for its distributions to be compared
QUANTILES = np.linspace(0.005, 0.995, 100)
DIRECTIONS = np.linspace(0, np.pi, 7)


def divergences(real: Observation, drawn: Observation) -> dict[str, float]:
    """Compare the errors of two sets of people of one skeleton; 0 where they are the same.

    Returns:
        - ``types``: Jensen-Shannon divergence, in bits, of the five types, mean over parts by their keypoints; and for
          each error ``NAME frequency``: the difference of its frequency, in points, mean over parts.
        - ``wrong keypoints of a person``: earth mover's distance, in points, between the distributions over people of
          the share of keypoints that are inverted, swapped or missed.
        - ``same error on a limb``: the difference, in points, of how often the other keypoint of a limb has the same
          error, mean over errors.
        - for each type ``NAME distance``: earth mover's distance in sqrt(2 s^2 k^2); ``NAME direction``: divergence, in
          bits, of the angle to inward; both mean over parts; ``NAME on a limb``: the difference of the mean cosine
          between directions on a limb.
        - ``scores``: earth mover's distance between the scores of a type, in points of rank among the real ones, mean
          over types and parts; where both have scores.

        NaN where there is too little of either.
    """
    found = {"types": _types(real, drawn)}
    for kind in DISPLACED[1:]:
        found[f"{_name(kind)} frequency"] = _frequency(real, drawn, kind)
    found["wrong keypoints of a person"] = 100 * _earth_mover(_wrong(real), _wrong(drawn))
    alike = [abs(_same_on_limb(real, kind) - _same_on_limb(drawn, kind)) for kind in DISPLACED[1:]]
    found["same error on a limb"] = 100 * float(np.mean(alike))
    real_cosine, drawn_cosine = real.cosine(), drawn.cosine()
    for kind in DISPLACED:
        name = _name(kind)
        found[f"{name} distance"] = _over_parts(real, drawn, kind, real.distance, drawn.distance, _earth_mover)
        found[f"{name} direction"] = _over_parts(real, drawn, kind, real_cosine, drawn_cosine, _turned)
        found[f"{name} on a limb"] = abs(_alike_on_limb(real, kind) - _alike_on_limb(drawn, kind))
    if real.scores is not None and drawn.scores is not None:
        scale = np.sort(real.scores, axis=None)
        ranks = [np.searchsorted(scale, seen.scores) / scale.size for seen in (real, drawn)]
        by_kind = [_over_parts(real, drawn, kind, *ranks, _earth_mover) for kind in ErrorType]
        found["scores"] = 100 * float(np.nanmean(by_kind))
    return found


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits between two histograms of counts."""
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0).sum() for x in (p, q)]
    return float(max(sum(parts) / 2, 0))


def _name(kind: ErrorType) -> str:
    return kind.name.lower()


def _parts(seen: Observation) -> list[np.ndarray]:
    parts = np.array(seen.truth.skeleton.parts())
    return [parts == part for part in dict.fromkeys(parts.tolist())]


def _counts(seen: Observation, columns: np.ndarray) -> np.ndarray:
    types = seen.types[:, columns]
    return np.bincount(types[types >= 0], minlength=len(DISPLACED)).astype(float)


def _types(real: Observation, drawn: Observation) -> float:
    pairs = [(_counts(real, columns), _counts(drawn, columns)) for columns in _parts(real)]
    pairs = [(a, b) for a, b in pairs if a.sum() and b.sum()]
    if not pairs:
        return np.nan
    return float(np.average([jensen_shannon(a, b) for a, b in pairs], weights=[a.sum() for a, _ in pairs]))


def _frequency(real: Observation, drawn: Observation, kind: ErrorType) -> float:
    pairs = [(_counts(real, columns), _counts(drawn, columns)) for columns in _parts(real)]
    pairs = [(a, b) for a, b in pairs if a.sum() and b.sum()]
    if not pairs:
        return np.nan
    gaps = [abs(a[kind] / a.sum() - b[kind] / b.sum()) for a, b in pairs]
    return 100 * float(np.average(gaps, weights=[a.sum() for a, _ in pairs]))


def _wrong(seen: Observation) -> np.ndarray:
    annotated = (seen.types >= 0).sum(1)
    wrong = (seen.types >= ErrorType.INVERSION).sum(1)
    return (wrong / np.maximum(annotated, 1))[annotated > 0]


def _same_on_limb(seen: Observation, kind: ErrorType) -> float:
    """How often a keypoint has the error, given that another on its limb has it (both annotated)."""
    first, second = pairs_of(seen.truth.skeleton)["limb"].T
    both = (seen.types[:, first] >= 0) & (seen.types[:, second] >= 0)
    a, b = seen.types[:, first] == kind, seen.types[:, second] == kind
    return float(2 * (a & b & both).sum() / max(((a & both).sum() + (b & both).sum()), 1))


def _alike_on_limb(seen: Observation, kind: ErrorType) -> float:
    first, second = pairs_of(seen.truth.skeleton)["limb"].T
    has = (seen.types == kind) & (seen.direction != 0).any(-1)
    both = has[:, first] & has[:, second]
    cosines = (seen.direction[:, first] * seen.direction[:, second]).sum(-1)[both]
    return float(cosines.mean()) if len(cosines) >= LEAST else np.nan


def _over_parts(real, drawn, kind, real_values, drawn_values, distance) -> float:
    """Mean of ``distance`` over the parts of the body, by the real keypoints of the type on each."""
    gaps, weights = [], []
    for columns in _parts(real):
        a = real_values[:, columns][real.types[:, columns] == kind]
        b = drawn_values[:, columns][drawn.types[:, columns] == kind]
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if min(len(a), len(b)) >= LEAST:
            gaps.append(distance(a, b))
            weights.append(len(a))
    return float(np.average(gaps, weights=weights)) if gaps else np.nan


def _earth_mover(first: np.ndarray, second: np.ndarray) -> float:
    if not len(first) or not len(second):
        return np.nan
    return float(np.abs(np.quantile(first, QUANTILES) - np.quantile(second, QUANTILES)).mean())


def _turned(first: np.ndarray, second: np.ndarray) -> float:
    histograms = [np.histogram(np.arccos(np.clip(c, -1, 1)), DIRECTIONS)[0] for c in (first, second)]
    return jensen_shannon(*histograms)
