"""rtmlib: the pair of arrays that its solutions give, ``keypoints, scores = body(image)``.

(N, K, 2) in pixels, mostly float64, and (N, K), of 17 keypoints (``Body``), 26 (``BodyWithFeet``) or 133
(``Wholebody``). A score of 0 or less says that nothing was found. Without people RTMO gives one person of zeros, and
``PoseTracker`` two empty lists. The way back has no original to look at, so that people carry theirs in ``extra``.
Source: rtmlib 0.0.16, tools/solution/*.py and tools/pose_estimation/*.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from posefix.core.people import People
from posefix.formats.memory.arrays import as_array, as_floats, people_from, with_moved

_ORIGINAL = "rtmlib"  # in ``People.extra``: a person's keypoints (K, 2) and scores (K,) as they came


def from_rtmlib(keypoints: Any, scores: Any) -> People:
    """People of what a solution of rtmlib gives: keypoints (N, K, 2) and scores (N, K).

    Raises:
        InputError: other shapes, or a number of keypoints that no known skeleton has.
    """
    xy = as_floats(keypoints, "rtmlib's keypoints")
    xy = np.zeros((0, 0, 2)) if xy.size == 0 and xy.ndim != 3 else xy
    people = people_from("rtmlib's result", xy, as_floats(scores, "rtmlib's scores"))
    if len(people):
        pairs = zip(as_array(keypoints).copy(), as_array(scores).copy(), strict=True)
        people.extra = [{_ORIGINAL: pair} for pair in pairs]
    return people


def to_rtmlib(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) and scores (N, K) as rtmlib gives them, in the types that they came in.

    Of people who come from :func:`from_rtmlib` only what changed since is new, and scores are theirs; of others all is.
    """
    if not len(people) or any(_ORIGINAL not in record for record in people.extra):
        return people.keypoints, people.scores
    keypoints, scores = (np.stack(parts) for parts in zip(*(r[_ORIGINAL] for r in people.extra), strict=True))
    if keypoints.shape != people.keypoints.shape:
        return people.keypoints, people.scores
    before = from_rtmlib(keypoints, scores)
    moved = before.labelled[..., None] & (people.keypoints != before.keypoints)
    return with_moved(keypoints, people.keypoints, moved), scores
