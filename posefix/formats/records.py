"""What a value in a record can be, how a message names it, and which value is written again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from posefix.core.people import MAX_COORDINATE

ORIGINAL_SCORE = "original_score"  # key of the score that a record had before it was refined and rescored


def is_image_id(value: Any) -> bool:
    """Whether a JSON value is an integer of 64 bits; 139.0 is one, true is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**63 and value == int(value)


def is_score(value: Any) -> bool:
    """Whether a JSON value is a number that a score can be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def original_score(record: Any) -> float:
    """The score that a record had before it was rescored; NaN if it was not."""
    score = record.get(ORIGINAL_SCORE) if isinstance(record, Mapping) else None
    return float(score) if score is not None and is_score(score) else np.nan


def with_original_score(record: Mapping[str, Any], score: float) -> dict[str, Any]:
    """A record with the score that it had before it was rescored, unless it says it or that is NaN."""
    if not np.isfinite(score) or is_score(record.get(ORIGINAL_SCORE)):
        return dict(record)
    return {**record, ORIGINAL_SCORE: float(str(np.float32(score)))}  # the shortest decimals that mean this float32


def track_id_of(value: Any) -> int:
    """The track id that a value of a record means, a number from 0 on or a list of one; -1 if it is none."""
    value = only(value)
    return max(int(value), -1) if is_image_id(value) else -1


def only(value: Any) -> Any:
    """What a list of one, or a list of such a list, holds; any other value as it is."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def describe(value: Any) -> str:
    """A JSON value as a sentence can name it, cut short if it is long."""
    if isinstance(value, (list, Mapping)):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kind, text = "string" if isinstance(value, str) else "number", repr(value)
    return f"the {kind} {text if len(text) <= 40 else text[:36] + '...'}"


def require_object(record: Any, *keys: str) -> None:
    """Raise ValueError, with the rest of a sentence, about a record that is no object or lacks a key."""
    if not isinstance(record, Mapping):
        raise ValueError(f"is {describe(record)}, expected an object{' with ' + keys[0] if keys else ''}")
    if missing := [key for key in keys if key not in record]:
        raise ValueError(f"has no {missing[0]}")


def is_usable_box(xywh: np.ndarray) -> np.ndarray:
    """(...) bool: boxes (..., 4) in which all numbers can be pixels, and sizes are 0 or more; 0 where none is known."""
    usable: np.ndarray = (np.abs(xywh) <= MAX_COORDINATE).all(-1) & (xywh[..., 2:] >= 0).all(-1)
    return usable


def is_estimate(triples: np.ndarray, origin_is_nothing: bool = True, zero_is_nothing: bool = True) -> np.ndarray:
    """(K,) bool: which of (K, 3) x, y and score say where a keypoint is; mostly (0, 0) and a score of 0 do not."""
    found: np.ndarray = np.isfinite(triples).all(1)
    found &= (triples[:, 2] != 0) | (not zero_is_nothing)
    found &= (triples[:, :2] != 0).any(1) | (not origin_is_nothing)
    return found


def numbers(values: Any, what: str) -> np.ndarray:
    """A nested list of JSON numbers as float64; None becomes NaN.

    Raises:
        ValueError: with the rest of a sentence, when something in it is no number or the lists are uneven.
    """
    wrong = values
    try:
        found = np.array(values)
        if found.dtype.kind not in "iuf" and found.size:
            flat = np.array(values, object)
            for value in flat.ravel():
                if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                    wrong = value
                    raise TypeError
            found = np.array([np.nan if v is None else float(v) for v in flat.ravel()]).reshape(flat.shape)
        return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"has {describe(wrong)} as {what}, expected numbers") from None


def keep_equal(raw: Any, new: np.ndarray, decimals: Any, keep: np.ndarray | None = None) -> Any:
    """New numbers as nested lists (one number if ``new`` has no dimensions), the original ones where they say the same.

    Args:
        raw: the numbers as they came; if of another shape than ``new``, or no numbers, they are not used.
        new: an array.
        decimals: new numbers are rounded to so many, broadcast to ``new``; a difference of less than half of the last
            one is none.
        keep: bool, broadcast to ``new``: where the original is to stay, whatever ``new`` says.
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
