"""Read results that are to be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import ImageIndex


def read_results(path: Path, truth: GroundTruth, format: str = "auto") -> People:
    """Read results of any format on the images of a ground truth, in its skeleton.

    Raises:
        InputError: the file cannot be used, or none of its results is of an image that the ground truth lists.
    """
    people = formats.read_in(truth.skeleton, path, format, lambda: ImageIndex(truth.images, truth.name))
    if len(people) and unlisted(people, truth) == len(people):
        listed = [*map(str, truth.image_ids[:3]), *(["..."] if len(truth.image_ids) > 3 else [])]
        raise InputError(
            f"{path}: none of the {len(people)} results is of an image that {truth.name} lists; the first is of "
            f"image_id {people.image_ids[0]}, the annotations list {', '.join(listed) or 'no image'}"
        )
    return people


def unlisted(people: People, truth: GroundTruth) -> int:
    """Count the results of images that a ground truth does not list, which are not measured."""
    return int((~np.isin(people.image_ids, truth.image_ids)).sum())
