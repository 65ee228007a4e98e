"""Find the other people of each person's image, and those of them who are near."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People

COUNT = 3  # of others that a refiner is told of
CANDIDATES = 16  # the nearest by the middle of their poses, among whom the nearest by keypoints are found
SAME_PERSON = 0.5  # mean keypoint similarity from which on two poses are taken for one person's


class OtherPeople:
    """Finds the people of each person's image among all people of a file."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._order = np.argsort(people.image_ids, kind="stable")
        self._ids = people.image_ids[self._order]

    def together(self, rows: np.ndarray) -> np.ndarray:
        """(B, M) int64 rows of everybody in the images of the people at ``rows`` (B,), padded with -1.

        Each person's row holds their own as well, and is in the order of the file.
        """
        ids = self._people.image_ids[rows]
        first, end = (np.searchsorted(self._ids, ids, side)[:, None] for side in ("left", "right"))
        place = first + np.arange((end - first).max(initial=0))
        return np.where(place < end, self._order[np.minimum(place, end - 1)], -1)

    def nearest(
        self, rows: np.ndarray, keypoints: np.ndarray, given: np.ndarray, scales: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the ``COUNT`` other people in the image who are nearest to each person.

        Nearest is who has the nearest keypoint of the same kind; for a person without a pose, whose pose is nearest to
        the middle of the box. Poses so alike that they are of one person, found twice, are left out.

        Args:
            rows: (B,) int64, whose neighbours to find; a person is not their own neighbour.
            keypoints: (B, K, 2) their poses in original pixels.
            given: (B, K) bool, which keypoints these have.
            scales: (B, K) their OKS scales s k in pixels of the original image.
            boxes: (B, 4) xywh, theirs.

        Returns:
            keypoints (B, COUNT, K, 2) float32 and scores (B, COUNT, K) float32; all 0 where there are fewer.
        """
        people, near = self._people, self.together(rows)
        posed = np.any(given, axis=1)[:, None]
        middles = np.where(posed, _middles(keypoints, given), boxes[:, :2] + boxes[:, 2:] / 2)
        there = people.scores[near] > 0
        apart = np.linalg.norm(middles[:, None] - _middles(people.keypoints[near], there), axis=-1)
        apart[(near < 0) | ~there.any(-1)] = np.inf
        first = np.argsort(apart, axis=1, kind="stable")[:, :CANDIDATES]
        near, apart = np.take_along_axis(near, first, axis=1), np.take_along_axis(apart, first, axis=1)
        both = given[:, None] & (people.scores[near] > 0) & np.isfinite(apart)[..., None]
        squared = ((keypoints[:, None] - people.keypoints[near]) ** 2).sum(-1) / scales[:, None] ** 2
        similarity = np.where(both, np.exp(-squared / 2), 0).sum(-1) / np.maximum(both.sum(-1), 1)
        distance = np.where(posed, np.where(both, squared, np.inf).min(-1), apart)
        distance[(near == rows[:, None]) | (similarity > SAME_PERSON)] = np.inf
        chosen = np.argsort(distance, axis=1, kind="stable")[:, :COUNT]
        near, real = np.take_along_axis(near, chosen, axis=1), np.isfinite(np.take_along_axis(distance, chosen, axis=1))
        found = np.zeros((len(rows), COUNT, *people.keypoints.shape[1:]), np.float32)
        scores = np.zeros(found.shape[:-1], np.float32)
        found[:, : near.shape[1]] = np.where(real[..., None, None], people.keypoints[near], 0)
        scores[:, : near.shape[1]] = np.where(real[..., None], people.scores[near], 0)
        return found, scores


def _middles(keypoints: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(..., 2) mean of each person's keypoints that are given; (0, 0) where none is."""
    weight = given[..., None]
    middles: np.ndarray = (keypoints * weight).sum(-2) / np.maximum(weight.sum(-2), 1)
    return middles
