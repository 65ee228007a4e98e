"""A demonstration on three photographs that come with the package; ``NOTICE.md`` says whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from posefix.core.files import read_json
from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import decode

FOLDER = Path(__file__).parent
ANNOTATIONS = FOLDER / "people.json"


class Photos(NamedTuple):
    """Photographs of people whose keypoints are known.

    Attributes:
        people: N people as annotated: scores are COCO's visibilities, ``extra[i]["label"]`` says who it is.
        images: image id to (H, W, 3) uint8 RGB.
        credits: whose the photographs are, under which licences.
    """

    people: People
    images: dict[int, np.ndarray]
    credits: str


def load_photos() -> Photos:
    """Load the photographs, in which four people sit, walk and jump."""
    content = read_json(ANNOTATIONS)
    licenses = {entry["id"]: entry["name"] for entry in content["licenses"]}
    images = {image["id"]: decode(FOLDER / image["file_name"]) for image in content["images"]}
    credits = dict.fromkeys(f"{image['credit']} ({licenses[image['license']]})" for image in content["images"])
    return Photos(GroundTruth.of_dataset(content, name=str(ANNOTATIONS)).people, images, ", ".join(credits))
