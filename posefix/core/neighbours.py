"""Find the neighbours of each person in the image."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People

COUNT = 3  # neighbours per person
CANDIDATES = 16  # people with the nearest centres, from whom the nearest by keypoints are chosen
SAME_PERSON = 0.5  # mean keypoint similarity above which two poses are duplicates of one person


class OtherPeople:
    """Finds the other people in each person's image among all people of a file."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._order = np.argsort(people.image_ids, kind="stable")
        self._ids = people.image_ids[self._order]

    def rows_in_image(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows (B, M) int64 of all people in the images of the people at ``rows`` (B,), padded with -1.

        They include the person and are in the order of the file.
        """
        ids = self._people.image_ids[rows]
        first, end = (np.searchsorted(self._ids, ids, side)[:, None] for side in ("left", "right"))
        positions = first + np.arange((end - first).max(initial=0))
        return np.where(positions < end, self._order[np.minimum(positions, end - 1)], -1)

    def nearest(
        self, rows: np.ndarray, keypoints: np.ndarray, valid: np.ndarray, scales: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the ``COUNT`` nearest other people in each person's image.

        The distance is that of the nearest pair of same keypoints, in OKS scales; for a person without a pose, that of
        the other pose's centroid from the centre of the box. Duplicates of the person's own pose are left out.

        Args:
            rows: (B,) int64 people whose neighbours to find.
            keypoints: (B, K, 2) their poses in image pixels.
            valid: (B, K) bool mask of their keypoints.
            scales: (B, K) their OKS scales s k in image pixels.
            boxes: (B, 4) xywh, their boxes.

        Returns:
            keypoints (B, COUNT, K, 2) float32 and scores (B, COUNT, K) float32; all 0 where there are fewer.
        """
        people, others = self._people, self.rows_in_image(rows)
        posed = np.any(valid, axis=1)[:, None]
        centres = np.where(posed, _centroids(keypoints, valid), boxes[:, :2] + boxes[:, 2:] / 2)
        other_valid = people.scores[others] > 0
        centre_distance = np.linalg.norm(centres[:, None] - _centroids(people.keypoints[others], other_valid), axis=-1)
        centre_distance[(others < 0) | ~other_valid.any(-1)] = np.inf
        nearest = np.argsort(centre_distance, axis=1, kind="stable")[:, :CANDIDATES]
        others = np.take_along_axis(others, nearest, axis=1)
        centre_distance = np.take_along_axis(centre_distance, nearest, axis=1)
        shared = valid[:, None] & (people.scores[others] > 0) & np.isfinite(centre_distance)[..., None]
        squared = ((keypoints[:, None] - people.keypoints[others]) ** 2).sum(-1) / scales[:, None] ** 2
        similarity = np.where(shared, np.exp(-squared / 2), 0).sum(-1) / np.maximum(shared.sum(-1), 1)
        distance = np.where(posed, np.where(shared, squared, np.inf).min(-1), centre_distance)
        distance[(others == rows[:, None]) | (similarity > SAME_PERSON)] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :COUNT]
        others = np.take_along_axis(others, order, axis=1)
        exists = np.isfinite(np.take_along_axis(distance, order, axis=1))
        other_keypoints = np.zeros((len(rows), COUNT, *people.keypoints.shape[1:]), np.float32)
        other_scores = np.zeros(other_keypoints.shape[:-1], np.float32)
        other_keypoints[:, : others.shape[1]] = np.where(exists[..., None, None], people.keypoints[others], 0)
        other_scores[:, : others.shape[1]] = np.where(exists[..., None], people.scores[others], 0)
        return other_keypoints, other_scores


def _centroids(keypoints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the mean (..., 2) of each person's valid keypoints; (0, 0) without any."""
    weight = valid[..., None]
    centroids: np.ndarray = (keypoints * weight).sum(-2) / np.maximum(weight.sum(-2), 1)
    return centroids
