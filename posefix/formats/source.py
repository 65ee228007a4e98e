"""What is remembered of the file that people come from, and how refined people are put among all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from posefix.core.people import People, with_refined
from posefix.core.skeleton import Skeleton
from posefix.formats.coco import ImageRecord
from posefix.formats.parsed_file import Format, ParsedFile

CHANGED = ("keypoints", "scores", "person_scores", "original_scores")  # by refinement


@dataclass(frozen=True)
class Source:
    """Where people come from, and what else of the file has to be written again; ``People.source``.

    Attributes:
        format: the format; ``holds`` is what this very file has a place for.
        parsed: the content of the file; None if only its images matter.
        images: image id to name and size, as far as they are known, in the order of the file's images.
        absent: ids of images that are not there; the coordinates of their people mean nothing elsewhere.
        synthetic_ids: the image ids are mere places, since names do not end in numbers of their own.
        video: name of the video, without extension, that the images are frames of.
    """

    format: Format
    parsed: ParsedFile | None
    images: Mapping[int, ImageRecord]
    absent: frozenset[int] = frozenset()
    synthetic_ids: bool = False
    video: str | None = None

    @property
    def keys(self) -> dict[int, int | str]:
        """Image id to what the file calls the image, in its order."""
        return dict(zip(self.images, self.parsed.images, strict=True)) if self.parsed is not None else {}

    @property
    def problems(self) -> list[str]:
        """One sentence for each person that could not be used."""
        return [] if self.parsed is None else self.parsed.problems


def refinable(people: People, skeleton: Skeleton) -> np.ndarray:
    """(R,) int64 people who were read from a file and can be refined in a skeleton.

    They have an estimate of a keypoint in it, or their format means people without one too; and their image is there.
    """
    absent = np.isin(people.image_ids, list(people.source.absent))
    return np.flatnonzero(~absent & (people.source.format.completed | people.to_skeleton(skeleton).labelled.any(1)))


def takes_new(people: People, image_ids: np.ndarray) -> np.ndarray:
    """(M,) bool: whether the file that people come from has a place for new ones in the images (M,)."""
    source = people.source
    if source is None or source.format.takes_new == "anywhere":
        return np.ones(len(image_ids), bool)
    listed = np.isin(image_ids, list(source.keys))
    return listed if source.format.takes_new == "in its images" else np.zeros(len(image_ids), bool)


def with_refined_rows(people: People, rows: np.ndarray, refined: People) -> People:
    """All people of a file, of whom those at ``rows`` (R,) were refined in another skeleton.

    Keypoints without an estimate stay as they are, unless the format has them completed.
    """
    new = with_refined(people[rows], refined, missing=people.source.format.completed)
    columns = {name: getattr(people, name).copy() for name in CHANGED}
    for name, values in columns.items():
        values[rows] = getattr(new, name)
    return replace(people, **columns)


def as_held(people: People, before: People) -> People:
    """People as the file of their format will have them.

    Args:
        people: with new keypoints and scores.
        before: the same people as they were read.
    """
    holds = people.source.format.holds
    scores = people.scores if "scores" in holds else before.scores
    if "person_scores" in holds:
        return replace(people, scores=scores)
    return replace(people, scores=scores, person_scores=scores.mean(1))
