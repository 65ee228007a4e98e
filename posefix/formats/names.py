"""Normalise names of keypoints: leftEye, LEFT_EYE, "left eye" and eye_left are the same."""

from __future__ import annotations

import re
from functools import lru_cache

from posefix.core.skeleton import Skeleton

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAP = re.compile(r"[^0-9a-zA-Z]+")
_MAX_LENGTH = 100  # characters of a name that are looked at


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """Return a name in lower case, with underscores between words and the side in front: ``left_eye``."""
    words = [word for word in _GAP.sub("_", _HUMP.sub("_", name[:_MAX_LENGTH])).lower().split("_") if word]
    if len(words) > 1 and words[-1] in ("left", "right"):
        words = [words[-1], *words[:-1]]
    return "_".join(words)


def places(skeleton: Skeleton) -> dict[str, int]:
    """Return the index of each keypoint by its plain name."""
    return {plain(name): index for index, name in enumerate(skeleton.keypoint_names)}
