"""The sections of a statistics file beyond the frequencies: checked when read, rounded when written."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from posefix.core.errors import InputError
from posefix.core.skeleton import GROUPS
from synth import correlation, distribution
from synth.confidence import Confidence
from synth.displacement import LARGEST_DISTANCE, STRONGEST, Displacement
from synth.errors import ErrorType
from synth.kinds import Kinds
from synth.names import DEFAULT

if TYPE_CHECKING:
    from synth.statistics import Statistics

SECTIONS = ("people", "same_on_limb", "displacement", "same_neighbour", "withheld", "confidence", "evidence")
DISPLACED = tuple(kind for kind in ErrorType if kind != ErrorType.UNLABELLED)
ERROR_NAMES = tuple(kind.name.lower() for kind in DISPLACED if kind != ErrorType.GOOD)
LARGEST_FACTOR = 1e4


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != len(distribution.LEVELS) or any(b < a for a, b in pairwise(values)):
        raise ValueError(f"needs {len(distribution.LEVELS)} quantiles, none below the one before")
    return values


def _with_default(table: dict[str, Any]) -> dict[str, Any]:
    if DEFAULT not in table:
        raise ValueError(f"needs a value for {DEFAULT!r}")
    return table


def _by_name(largest: float) -> Any:
    values = tuple[Annotated[float, Field(ge=0, le=largest)], ...]
    return Annotated[dict[str, Annotated[values, AfterValidator(_ascending)]], AfterValidator(_with_default)]


Distances = _by_name(LARGEST_DISTANCE)
Confidences = _by_name(1.0)


class _Together(_Strict):
    person: float = Field(0.0, ge=0, le=1)
    group: float = Field(0.0, ge=0, le=1)
    limb: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _nested(self) -> _Together:
        if not self.person <= self.group <= self.limb:
            raise ValueError("person, group and limb must not decrease")
        return self

    def value(self) -> correlation.Together:
        return correlation.Together(self.person, self.group, self.limb)


class _Displacement(_Strict):
    distance: Distances
    inward: Annotated[dict[str, Annotated[float, Field(ge=-STRONGEST, le=STRONGEST)]], AfterValidator(_with_default)]
    distance_together: _Together = _Together()
    direction_together: _Together = _Together()


class _Displacements(_Strict):
    good: _Displacement
    jitter: _Displacement
    inversion: _Displacement
    swap: _Displacement
    miss: _Displacement


class _Scores(_Strict):
    unlabelled: Confidences
    good: Confidences
    jitter: Confidences
    inversion: Confidences
    swap: Confidences
    miss: Confidences


class _Confidence(_Strict):
    score: _Scores
    together: _Together = _Together()
    with_distance: float = Field(0.0, ge=-1, le=1)


class _Factors(_Strict):
    face: float = Field(ge=0, le=LARGEST_FACTOR)
    upper: float = Field(ge=0, le=LARGEST_FACTOR)
    lower: float = Field(ge=0, le=LARGEST_FACTOR)


class _Kind(_Strict):
    share: float = Field(gt=0, le=1)
    jitter: _Factors
    inversion: _Factors
    swap: _Factors
    miss: _Factors


class _Details(_Strict):
    people: tuple[_Kind, ...] = ()
    same_on_limb: float = Field(0.0, ge=0, le=1)
    displacement: _Displacements | None = None
    same_neighbour: float = Field(0.0, ge=0, le=1)
    withheld: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], AfterValidator(_with_default)] | None = None
    confidence: _Confidence | None = None
    evidence: Any = None


def from_dict(spec: Mapping, source: str, names: set[str]) -> dict[str, Any]:
    """The arguments of :class:`synth.statistics.Statistics` that the sections of a file stand for.

    Args:
        spec: the content of a statistics file.
        source: what to call it in messages.
        names: of keypoints, parts and groups that may be used.

    Raises:
        InputError: naming ``source`` and the first thing that does not fit.
    """
    try:
        found = _Details.model_validate({key: spec[key] for key in SECTIONS if spec.get(key) is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: {where:.80}: {first['msg']} (found {first.get('input')!r:.60})") from None
    except RecursionError:
        raise InputError(f"{source}: nested within itself") from None
    tables = []
    if found.displacement is not None:
        tables += [t for kind in found.displacement for t in (kind[1].distance, kind[1].inward)]
    if found.confidence is not None:
        tables += [table for _, table in found.confidence.score]
    if found.withheld is not None:
        tables.append(found.withheld)
    if unknown := sorted({name for table in tables for name in table} - names):
        raise InputError(f"{source}: {unknown[0]!r} is no keypoint, part or group of any known skeleton")
    return {
        "kinds": _kinds(found.people),
        "same_on_limb": found.same_on_limb,
        "displacement": None if found.displacement is None else _displacement(found.displacement),
        "same_neighbour": found.same_neighbour,
        "withheld": found.withheld,
        "confidence": None if found.confidence is None else _confidence(found.confidence),
        "evidence": found.evidence,
    }


def to_dict(statistics: Statistics) -> dict[str, Any]:
    """The sections of a file for what the statistics hold beyond frequencies."""
    spec: dict[str, Any] = {}
    if statistics.kinds is not None:
        spec["people"] = statistics.kinds.to_list(ERROR_NAMES)
    if statistics.same_on_limb > 0:
        spec["same_on_limb"] = round(float(statistics.same_on_limb), 4)
    if statistics.displacement is not None:
        spec["displacement"] = {k.name.lower(): d.to_dict() for k, d in statistics.displacement.items()}
        spec["same_neighbour"] = round(float(statistics.same_neighbour), 4)
    if statistics.withheld is not None:
        spec["withheld"] = {name: round(float(p), 4) for name, p in statistics.withheld.items()}
    if statistics.confidence is not None:
        spec["confidence"] = statistics.confidence.to_dict()
    if statistics.evidence is not None:
        spec["evidence"] = statistics.evidence
    return spec


def _kinds(people: tuple[_Kind, ...]) -> Kinds | None:
    if not people:
        return None
    shares = np.array([kind.share for kind in people])
    factors = np.ones((len(people), len(GROUPS), 1 + len(ERROR_NAMES)))
    for c, kind in enumerate(people):
        for e, error in enumerate(ERROR_NAMES, 1):
            factors[c, :, e] = [getattr(getattr(kind, error), group) for group in GROUPS]
    return Kinds(shares / shares.sum(), factors)


def _displacement(found: _Displacements) -> dict[ErrorType, Displacement]:
    parts = {kind: getattr(found, kind.name.lower()) for kind in DISPLACED}
    return {
        kind: Displacement(p.distance, p.inward, p.distance_together.value(), p.direction_together.value())
        for kind, p in parts.items()
    }


def _confidence(found: _Confidence) -> Confidence:
    score = {kind: getattr(found.score, kind.name.lower()) for kind in ErrorType}
    return Confidence(score, found.together.value(), found.with_distance)
