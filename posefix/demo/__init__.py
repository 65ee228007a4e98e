"""Demonstrate refinement on three photographs of the package; see ``NOTICE.md`` for their sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import decode

FOLDER = Path(__file__).parent
ANNOTATIONS = FOLDER / "people.json"
CREDITS = "Sports2D (BSD-3-Clause), NASA (public domain)"  # of the photographs


def load_photos() -> tuple[People, dict[int, np.ndarray]]:
    """Load four annotated people, named in ``extra[i]["label"]``, and the photographs (H, W, 3) RGB by id."""
    truth = GroundTruth.read(ANNOTATIONS)
    return truth.people, {image_id: decode(FOLDER / image.file_name) for image_id, image in truth.images.items()}
