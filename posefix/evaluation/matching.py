"""Which result speaks of which person."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People
from posefix.evaluation.oks import oks

MATCH_OKS = 0.1  # Ronchi and Perona, ICCV 2017


def match_people(truth: People, found: People, threshold: float = MATCH_OKS) -> np.ndarray:
    """Match results to annotated people as COCO's evaluation does: best scores first, each to the nearest left.

    Args:
        truth: N annotated people.
        found: results on the same images.
        threshold: OKS below which nothing is matched.

    Returns:
        (N,) int64: for each annotated person the row in ``found``, -1 where nobody was found.
    """
    matched = np.full(len(truth), -1, np.int64)
    annotated = np.flatnonzero(truth.labelled.any(1))
    if not len(annotated):
        return matched
    by_image = annotated[np.argsort(truth.image_ids[annotated], kind="stable")]
    ranked = np.argsort(-found.person_scores, kind="stable")
    ranked = ranked[np.argsort(found.image_ids[ranked], kind="stable")]
    ids, starts = np.unique(truth.image_ids[by_image], return_index=True)
    for image_id, people in zip(ids, np.split(by_image, starts[1:]), strict=True):
        first, last = np.searchsorted(found.image_ids[ranked], [image_id, image_id + 1])
        results = ranked[first:last]
        similarity = oks(
            found.keypoints[results][:, None],
            truth.keypoints[people][None],
            truth.labelled[people][None],
            truth.areas[people][None],
            truth.skeleton.sigmas,
        )
        free = np.ones(len(people), bool)
        for result, row in zip(results, similarity, strict=True):
            best = int(np.argmax(np.where(free, row, -1)))
            if free[best] and row[best] >= threshold:
                matched[people[best]], free[best] = result, False
    return matched
