"""Check the records of COCO's keypoint format, and say in one sentence what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from posefix.core.people import FARTHEST
from posefix.core.skeleton import Skeleton, with_keypoint_count

LARGEST = FARTHEST  # of a score or the side of a box, too
ORIGINAL_SCORE = "original_score"  # key of the score that a record had before it was refined and rescored


def problem(record: Any, skeleton: Skeleton) -> str | None:
    """What makes a record unusable, as the rest of a sentence that starts with the record; None for a usable one."""
    if not isinstance(record, Mapping):
        return f"is {describe(record)}, expected an object with image_id and keypoints"
    for key in ("image_id", "keypoints"):
        if key not in record:
            return f"has no {key}"
    if not is_image_id(record["image_id"]):
        return f"has the image_id {describe(record['image_id'])}, expected an integer"
    return _keypoints_problem(record["keypoints"], skeleton) or _score_problem(record.get("score"))


def is_image_id(value: Any) -> bool:
    """Whether a JSON value is an integer of 64 bits; 139.0 is one, true is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**63 and value == int(value)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def is_score(value: Any) -> bool:
    """Whether a JSON value is a number that a score can be."""
    return is_number(value) and abs(value) <= LARGEST


def original_scores(records: Sequence[Any]) -> np.ndarray:
    """(N,) float32 scores that records had before they were rescored; NaN where they were not."""
    found = (record.get(ORIGINAL_SCORE) if isinstance(record, Mapping) else None for record in records)
    return np.array([score if is_score(score) else np.nan for score in found], np.float32)


def with_original_score(record: dict[str, Any], score: float) -> dict[str, Any]:
    """A record with the score that it had before it was rescored, unless it says it or that is NaN."""
    if not np.isfinite(score) or is_score(record.get(ORIGINAL_SCORE)):
        return record
    return {**record, ORIGINAL_SCORE: float(str(np.float32(score)))}  # the shortest decimals that mean this float32


def is_box(value: Any) -> bool:
    """Whether a JSON value is a list of four numbers that pixels can have."""
    return isinstance(value, list) and len(value) == 4 and all(is_number(v) and abs(v) <= LARGEST for v in value)


def describe(value: Any) -> str:
    """A value as a sentence can name it, cut short if it is long."""
    if isinstance(value, (list, tuple, Mapping)):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, (str, int, float)):
        return f"a {type(value).__name__}"
    kind = "the string " if isinstance(value, str) else "the number "
    try:
        text = repr(value)
    except ValueError:  # an integer too long to be printed
        text = "of thousands of digits"
    return kind + (text if len(text) <= 40 else text[:36] + "...")


def _keypoints_problem(keypoints: Any, skeleton: Skeleton) -> str | None:
    if not isinstance(keypoints, list):
        return f"has {describe(keypoints)} as keypoints, expected a list of numbers"
    k, count = len(skeleton), len(keypoints) // 3
    if len(keypoints) != 3 * k:
        expected = f"expected {3 * k}: x, y and score for each of the {k} keypoints of {skeleton.name}"
        if len(keypoints) % 3:
            return f"has {len(keypoints)} numbers in keypoints, {expected}"
        others = [name for name in with_keypoint_count(count) if name != skeleton.name]
        known = f" (skeletons with {count} keypoints: {', '.join(others)})" if others else ""
        return f"has {count} keypoints ({len(keypoints)} numbers), {expected}{known}"
    if set(map(type, keypoints)) <= {int, float} and max(map(abs, keypoints)) <= LARGEST and isfinite(sum(keypoints)):
        return None  # the usual case, without a loop over the numbers
    for position, value in enumerate(keypoints):
        if not is_score(value):
            name = f"{'xy'[position % 3]} of" if position % 3 < 2 else "score of"
            return (
                f"has {describe(value)} as the {name} {skeleton.keypoint_names[position // 3]}, "
                f"expected a number within +-{LARGEST:,.0f}"
            )
    return None


def _score_problem(score: Any) -> str | None:
    if score is None or is_score(score):
        return None
    return f"has the score {describe(score)}, expected a number within +-{LARGEST:,.0f}"
