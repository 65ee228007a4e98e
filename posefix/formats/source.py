"""Remember the file that people come from, and put refined people back among all its people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from posefix.core.people import People, with_refined
from posefix.core.skeleton import Skeleton
from posefix.formats.coco import ImageRecord
from posefix.formats.parsed_file import Format, ParsedFile

CHANGED = ("keypoints", "scores", "person_scores", "original_scores")  # columns that refinement changes


@dataclass(frozen=True)
class Source:
    """Where people come from, and what is needed to write the file again; ``People.source``.

    Attributes:
        format: the format; ``holds`` is limited to what this file has.
        parsed: content of the file; None if only its images matter.
        images: image id to name and size, as far as known, in the order of the file's images.
        absent: ids of images that do not exist; coordinates of their people are meaningless elsewhere.
        synthetic_ids: whether image ids are positions, since names do not end in distinct numbers.
        video: name of the video, without extension, whose frames the images are.
    """

    format: Format
    parsed: ParsedFile | None
    images: Mapping[int, ImageRecord]
    absent: frozenset[int] = frozenset()
    synthetic_ids: bool = False
    video: str | None = None

    @property
    def keys(self) -> dict[int, int | str]:
        """Image id to the file's key of the image, in its order."""
        return dict(zip(self.images, self.parsed.images, strict=True)) if self.parsed is not None else {}

    @property
    def problems(self) -> list[str]:
        """One sentence for each unusable person."""
        return [] if self.parsed is None else self.parsed.problems


def refinable(people: People, skeleton: Skeleton) -> np.ndarray:
    """Return (R,) int64 rows of people of a file who can be refined in a skeleton.

    They have an estimate of a keypoint in it, or their format has missing ones completed; and their image exists.
    """
    estimated = people.source.format.completed | people.to_skeleton(skeleton).labelled.any(1)
    return np.flatnonzero(estimated & ~absent(people))


def absent(people: People) -> np.ndarray:
    """Return (N,) bool: people of images that do not exist, whose image ids and coordinates may be meaningless."""
    return np.isin(people.image_ids, list(people.source.absent) if people.source else [])


def takes_new(people: People, image_ids: np.ndarray) -> np.ndarray:
    """Return (M,) bool: whether the people's file has a place for new people in the images (M,)."""
    source = people.source
    if source is None or source.format.takes_new == "anywhere":
        return np.ones(len(image_ids), bool)
    listed = np.isin(image_ids, list(source.keys))
    return listed if source.format.takes_new == "in its images" else np.zeros(len(image_ids), bool)


def with_refined_rows(people: People, rows: np.ndarray, refined: People) -> People:
    """Return all people of a file, with those at ``rows`` (R,) refined, in another skeleton.

    Keypoints without an estimate are unchanged, unless the format has them completed.
    """
    new = with_refined(people[rows], refined, missing=people.source.format.completed)
    columns = {name: getattr(people, name).copy() for name in CHANGED}
    for name, values in columns.items():
        values[rows] = getattr(new, name)
    return replace(people, **columns)


def as_held(people: People, before: People) -> People:
    """Return people as a file of their format will store them.

    Args:
        people: with new keypoints and scores.
        before: the same people as they were read.
    """
    holds = people.source.format.holds
    scores = people.scores if "scores" in holds else before.scores
    if "person_scores" in holds:
        return replace(people, scores=scores)
    return replace(people, scores=scores, person_scores=scores.mean(1))
