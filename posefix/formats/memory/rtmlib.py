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
from posefix.formats.memory.arrays import Converter, as_array, people_from, with_moved

_ORIGINAL = "rtmlib"  # in ``People.extra``: a person's keypoints (K, 2) and scores (K,) as they came


def _read(pair: tuple[Any, Any]) -> People:
    keypoints, scores = map(as_array, pair)
    if keypoints.shape == (0,):
        keypoints = np.zeros((0, 0, 2))
    people = people_from(keypoints, scores)
    if len(people):
        people.extra = [{_ORIGINAL: one} for one in zip(keypoints.copy(), scores.copy(), strict=True)]
    return people


_CONVERTER = Converter(
    "rtmlib's keypoints and scores",
    _read,
    lambda pair, keypoints, moved: (with_moved(pair[0], keypoints, moved), pair[1]),
)


def from_rtmlib(keypoints: Any, scores: Any) -> People:
    """People of what a solution of rtmlib gives: keypoints (N, K, 2) and scores (N, K); InputError for other shapes."""
    return _CONVERTER.people((keypoints, scores))


def to_rtmlib(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) and scores (N, K) as rtmlib gives them, in the types that they came in.

    Of people who come from :func:`from_rtmlib` only what changed since is new, and scores are theirs; of others all is.
    """
    if not len(people) or any(_ORIGINAL not in record for record in people.extra):
        return people.keypoints, people.scores
    keypoints, scores = (np.stack(parts) for parts in zip(*(r[_ORIGINAL] for r in people.extra), strict=True))
    if keypoints.shape != people.keypoints.shape:
        return people.keypoints, people.scores
    return _CONVERTER.put_back(people, (keypoints, scores))
