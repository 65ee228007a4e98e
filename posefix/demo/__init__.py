"""A demonstration on three photographs that come with the package; ``NOTICE.md`` says whose they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import decode

FOLDER = Path(__file__).parent
ANNOTATIONS = FOLDER / "people.json"
CREDITS = "Sports2D (BSD-3-Clause), NASA (public domain)"  # whose the photographs are


def load_photos() -> tuple[People, dict[int, np.ndarray]]:
    """Load four annotated people, ``extra[i]["label"]`` says who it is, and the photographs (H, W, 3) RGB by id."""
    truth = GroundTruth.read(ANNOTATIONS)
    return truth.people, {image_id: decode(FOLDER / image.file_name) for image_id, image in truth.images.items()}
