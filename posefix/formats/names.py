"""Names of keypoints in whatever way they are spelled: leftEye, LEFT_EYE, "left eye" and eye_left are one."""

from __future__ import annotations

import re
from functools import lru_cache

from posefix.core.skeleton import Skeleton

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAP = re.compile(r"[^0-9a-zA-Z]+")
_LONGEST = 100  # characters of a name that can be one


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name in lower case, with underscores between its words and the side in front: ``left_eye``."""
    words = [word for word in _GAP.sub("_", _HUMP.sub("_", name[:_LONGEST])).lower().split("_") if word]
    if len(words) > 1 and words[-1] in ("left", "right"):
        words = [words[-1], *words[:-1]]
    return "_".join(words)


def places(skeleton: Skeleton) -> dict[str, int]:
    """Place of each keypoint by its plain name."""
    return {plain(name): place for place, name in enumerate(skeleton.keypoint_names)}
