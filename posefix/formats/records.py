"""Check, describe and rewrite the values in records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from posefix.core.people import MAX_COORDINATE

ORIGINAL_SCORE = "original_score"  # key of the score before refinement and rescoring


def is_image_id(value: Any) -> bool:
    """Whether a JSON value is a 64-bit integer; 139.0 is one, true is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**63 and value == int(value)


def is_score(value: Any) -> bool:
    """Whether a JSON value is a number that can be a score."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def original_score(record: Any) -> float:
    """Return the score of a record before rescoring; NaN if it was not rescored."""
    score = record.get(ORIGINAL_SCORE) if isinstance(record, Mapping) else None
    return float(score) if score is not None and is_score(score) else np.nan


def with_original_score(record: Mapping[str, Any], score: float) -> dict[str, Any]:
    """Return a record with its score before rescoring, unless it has it already or that is NaN."""
    if not np.isfinite(score) or is_score(record.get(ORIGINAL_SCORE)):
        return dict(record)
    return {**record, ORIGINAL_SCORE: float(str(np.float32(score)))}  # shortest decimals of this float32


def track_id_of(value: Any) -> int:
    """Return the track id of a value, a number from 0 or a list with one; -1 if it is not."""
    value = only(value)
    return max(int(value), -1) if is_image_id(value) else -1


def only(value: Any) -> Any:
    """Return the element of a list, or nested lists, of length 1; any other value unchanged."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def describe(value: Any) -> str:
    """Describe a JSON value for a message, truncated if it is long."""
    if isinstance(value, (list, Mapping)):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kind, text = "string" if isinstance(value, str) else "number", repr(value)
    return f"the {kind} {text if len(text) <= 40 else text[:36] + '...'}"


def require_object(record: Any, *keys: str) -> None:
    """Raise ValueError, with the end of a sentence, if a record is not an object or lacks a key."""
    if not isinstance(record, Mapping):
        raise ValueError(f"is {describe(record)}, expected an object{' with ' + keys[0] if keys else ''}")
    if missing := [key for key in keys if key not in record]:
        raise ValueError(f"has no {missing[0]}")


def is_usable_box(xywh: np.ndarray) -> np.ndarray:
    """Return (...) bool: boxes (..., 4) with pixel coordinates and sizes of 0 or more; size 0 means unknown."""
    usable: np.ndarray = (np.abs(xywh) <= MAX_COORDINATE).all(-1) & (xywh[..., 2:] >= 0).all(-1)
    return usable


def is_estimate(triples: np.ndarray, origin_is_nothing: bool = True, zero_is_nothing: bool = True) -> np.ndarray:
    """Return (K,) bool: which of (K, 3) x, y and score are estimates; by default, (0, 0) and score 0 are not."""
    valid: np.ndarray = np.isfinite(triples).all(1)
    valid &= (triples[:, 2] != 0) | (not zero_is_nothing)
    valid &= (triples[:, :2] != 0).any(1) | (not origin_is_nothing)
    return valid


def numbers(values: Any, what: str) -> np.ndarray:
    """Convert a nested list of JSON numbers to float64; None becomes NaN.

    Raises:
        ValueError: with the end of a sentence, if a value is not a number or the lists are ragged.
    """
    culprit = values
    try:
        array = np.array(values)
        if array.dtype.kind not in "iuf" and array.size:
            flat = np.array(values, object)
            for value in flat.ravel():
                if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                    culprit = value
                    raise TypeError
            array = np.array([np.nan if v is None else float(v) for v in flat.ravel()]).reshape(flat.shape)
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"has {describe(culprit)} as {what}, expected numbers") from None


def keep_equal(raw: Any, new: np.ndarray, decimals: Any, keep: np.ndarray | None = None) -> Any:
    """Return new numbers as nested lists (a number if ``new`` is 0-d), with the original ones where they are equal.

    Args:
        raw: the original numbers; ignored if not numbers or of another shape than ``new``.
        new: an array.
        decimals: to round new numbers to, broadcast to ``new``; differences below half of the last one count as equal.
        keep: bool, broadcast to ``new``: where the original is kept in any case.
    """
    scale = 10.0 ** np.asarray(decimals)
    rounded = np.round(np.asarray(new, np.float64) * scale) / scale + 0.0
    try:
        old = numbers(raw, "")
    except ValueError:
        return rounded.tolist()
    if old.shape != rounded.shape:
        return rounded.tolist()
    with np.errstate(invalid="ignore"):
        same = np.abs(new - old) <= 0.5 / scale + 2e-7 * np.abs(old)
    if keep is not None:
        same |= keep
    return np.where(same, np.array(raw, object), rounded.astype(object)).tolist()
