"""Find the other people near each person, by their poses."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People

COUNT = 3  # of others that a refiner is told of
CANDIDATES = 16  # the nearest by the middle of their poses, among whom the nearest by keypoints are found
SAME_PERSON = 0.5  # mean keypoint similarity from which on two poses are taken for one person's


class OtherPeople:
    """Finds the people near each person among all people of a file."""

    def __init__(self, people: People) -> None:
        self._people, self._given = people, people.labelled
        posed = np.flatnonzero(self._given.any(1))
        self._rows = posed[np.argsort(people.image_ids[posed], kind="stable")]
        self._ids = people.image_ids[self._rows]

    def nearest(
        self,
        rows: np.ndarray,
        keypoints: np.ndarray,
        given: np.ndarray,
        scales: np.ndarray,
        boxes: np.ndarray,
        count: int = COUNT,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the other people in the image who are nearest to each person.

        Nearest is who has the nearest keypoint of the same kind; for a person without a pose, whose pose is nearest to
        the middle of the box. Poses so alike that they are of one person, found twice, are left out.

        Args:
            rows: (B,) int64, whose neighbours to find; a person is not their own neighbour.
            keypoints: (B, K, 2) their poses in original pixels.
            given: (B, K) bool, which keypoints these have.
            scales: (B, K) their OKS scales s k in pixels of the original image.
            boxes: (B, 4) xywh, theirs.
            count: how many others.

        Returns:
            keypoints (B, count, K, 2) float32 and scores (B, count, K) float32; all 0 where there are fewer.
        """
        k = self._people.keypoints.shape[1]
        found, scores = np.zeros((len(rows), count, k, 2), np.float32), np.zeros((len(rows), count, k), np.float32)
        ids = self._people.image_ids[rows]
        for image_id in np.unique(ids):
            asked = np.flatnonzero(ids == image_id)
            here = self._rows[slice(*np.searchsorted(self._ids, [image_id, image_id + 1]))]
            near, real = self._nearest_of(
                rows[asked], keypoints[asked], given[asked], scales[asked], boxes[asked], here, count
            )
            places = asked[:, None], np.arange(near.shape[1])[None]
            found[places] = np.where(real[..., None, None], self._people.keypoints[near], 0)
            scores[places] = np.where(real[..., None], self._people.scores[near], 0)
        return found, scores

    def _nearest_of(
        self,
        rows: np.ndarray,
        keypoints: np.ndarray,
        given: np.ndarray,
        scales: np.ndarray,
        boxes: np.ndarray,
        here: np.ndarray,
        count: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (B, at most count) of the others among ``here``, all of one image, and which of them are real."""
        people = self._people
        posed = np.any(given, axis=1)
        middles = np.where(posed[:, None], _middles(keypoints, given), boxes[:, :2] + boxes[:, 2:] / 2)
        apart = np.linalg.norm(middles[:, None] - _middles(people.keypoints[here], self._given[here])[None], axis=-1)
        near = here[np.argsort(apart, axis=1, kind="stable")[:, :CANDIDATES]]
        both = given[:, None] & self._given[near]
        squared = ((keypoints[:, None] - people.keypoints[near]) ** 2).sum(-1) / scales[:, None] ** 2
        similarity = np.where(both, np.exp(-squared / 2), 0).sum(-1) / np.maximum(both.sum(-1), 1)
        distance = np.where(both, squared, np.inf).min(-1)
        distance = np.where(posed[:, None], distance, np.sort(apart, axis=1)[:, :CANDIDATES])
        distance[(near == rows[:, None]) | (similarity > SAME_PERSON)] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(near, order, axis=1), np.isfinite(np.take_along_axis(distance, order, axis=1))


def _middles(keypoints: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N, 2) mean of each person's keypoints that are given; (0, 0) where none is."""
    weight = given[..., None]
    return (keypoints * weight).sum(1) / np.maximum(weight.sum(1), 1)
