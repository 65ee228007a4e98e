"""Who else is near each person, by their poses."""

from __future__ import annotations

import numpy as np

from posefix.people import People

COUNT = 3  # of others that a refiner is told of
CANDIDATES = 16  # the nearest by the middle of their poses, among whom the nearest by keypoints are looked for
SAME_PERSON = 0.5  # mean keypoint similarity from which on two poses are taken for one person's


class OtherPeople:
    """Finds the others near each person among everybody of a file."""

    def __init__(self, people: People) -> None:
        self._people, self._given = people, people.labelled
        somebody = np.flatnonzero(self._given.any(1))
        self._rows = somebody[np.argsort(people.image_ids[somebody], kind="stable")]
        self._ids = people.image_ids[self._rows]

    def nearest(self, rows: np.ndarray, scales: np.ndarray, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
        """The other people in the image who are nearest to each person: by their nearest keypoint of the same kind.

        Poses so alike that they are one person's (bottom-up estimators find somebody twice) are no others.

        Args:
            rows: (B,) int64, whose neighbours are asked for.
            scales: (B, K) their OKS scales s k in pixels of the original image.
            count: how many others.

        Returns:
            keypoints (B, count, K, 2) float32 and scores (B, count, K) float32; all 0 where there are fewer.
        """
        k = self._people.keypoints.shape[1]
        keypoints = np.zeros((len(rows), count, k, 2), np.float32)
        scores = np.zeros((len(rows), count, k), np.float32)
        ids = self._people.image_ids[rows]
        for image_id in np.unique(ids):
            asked = np.flatnonzero(ids == image_id)
            here = self._rows[slice(*np.searchsorted(self._ids, [image_id, image_id + 1]))]
            if len(here) > 1:
                keypoints[asked], scores[asked] = self._nearest_of(rows[asked], scales[asked], here, count)
        return keypoints, scores

    def _nearest_of(
        self, rows: np.ndarray, scales: np.ndarray, here: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same for people ``rows`` of one image, in which there are people ``here``."""
        keypoints, given = self._people.keypoints, self._given
        apart = np.linalg.norm(self._middles(rows)[:, None] - self._middles(here)[None], axis=-1)
        apart[rows[:, None] == here] = np.inf
        near = here[np.argsort(apart, axis=1, kind="stable")[:, :CANDIDATES]]
        both = given[rows][:, None] & given[near] & (near != rows[:, None])[..., None]
        squared = ((keypoints[rows][:, None] - keypoints[near]) ** 2).sum(-1) / scales[:, None] ** 2
        similarity = np.where(both, np.exp(-squared / 2), 0).sum(-1) / np.maximum(both.sum(-1), 1)
        distance = np.where(both, squared, np.inf).min(-1)
        distance[similarity > SAME_PERSON] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :count]
        real = np.isfinite(np.take_along_axis(distance, order, axis=1))[..., None]
        chosen = np.take_along_axis(near, order, axis=1)
        padding = [(0, 0), (0, count - chosen.shape[1]), (0, 0)]
        points = np.pad(np.where(real[..., None], keypoints[chosen], 0), [*padding, (0, 0)])
        return points, np.pad(np.where(real, self._people.scores[chosen], 0), padding)

    def _middles(self, rows: np.ndarray) -> np.ndarray:
        """(R, 2) mean of the keypoints that are given."""
        weight = self._given[rows][..., None]
        return (self._people.keypoints[rows] * weight).sum(1) / np.maximum(weight.sum(1), 1)
