"""Training people with their images, and real estimators' poses of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from posefix.core import geometry
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.evaluation.matching import match_people
from posefix.media.images import ImageFolder


class FolderStore:
    """COCO annotations and a folder of images.

    Attributes:
        people: all people with annotated keypoints, without other fields of the annotations.
        image_ids: (I,) int64, all images of the set, sorted.
        images: the images by id.
        observed: what :func:`observed_poses` gives for ``observed``, results files; None without any.

    Raises:
        InputError: for annotations or results that cannot be read, or missing images.
    """

    def __init__(self, annotations: Path, images: Path, skeleton: Skeleton, observed: Sequence[Path] = ()) -> None:
        truth = GroundTruth.read(annotations, skeleton)
        self.people = replace(truth.people, extra=())
        self.image_ids = truth.image_ids
        self.images = ImageFolder(images, truth.images)
        self.images.require(np.unique(self.people.image_ids))
        self.observed = observed_poses(truth, observed) if observed else None


def observed_poses(truth: GroundTruth, results: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read estimators' poses of people, matched by identical boxes, or else by OKS.

    Args:
        truth: ground truth of N people.
        results: R results files of any format on the same images.

    Returns:
        keypoints (R, N, K, 2) float32 and scores (R, N, K) float32; scores are 0 without a match.
    """
    people = truth.people
    keypoints = np.zeros((len(results), *people.keypoints.shape), np.float32)
    scores = np.zeros((len(results), *people.scores.shape), np.float32)
    for r, path in enumerate(results):
        estimates = read_results(path, truth)
        by_box = match_boxes(people, estimates)
        matched = np.where(by_box >= 0, by_box, match_people(people, estimates))
        rows = np.flatnonzero(matched >= 0)
        keypoints[r, rows] = estimates.keypoints[matched[rows]]
        scores[r, rows] = estimates.scores[matched[rows]]
    return keypoints, scores


def match_boxes(people: People, results: People) -> np.ndarray:
    """Match people to results with the same box, to the pixel: (N,) int64 row of ``results``, -1 without a match."""

    def keys(of: People) -> list[tuple[int, ...]]:
        return list(zip(of.image_ids.tolist(), *(np.round(of.boxes, 0).astype(np.int64).T.tolist()), strict=True))

    rows = {key: row for row, key in enumerate(keys(results))}
    matched = np.array([rows.get(key, -1) for key in keys(people)], np.int64)
    return np.where(geometry.known_boxes(people.boxes), matched, -1)
