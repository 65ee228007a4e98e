"""From the original image to the network's frame, and back."""

from __future__ import annotations

import numpy as np
import torch

from posefix.core import geometry
from posefix.core.neighbours import OtherPeople
from posefix.core.people import People
from posefix.models.interface import InputPose
from posefix.refine.views import Views


def input_pose(people: People, views: Views, others: OtherPeople, device: torch.device) -> InputPose:
    """What is known of the people of V views, in pixels of each view's frame.

    Args:
        people: everybody.
        views: V views of some of them.
        others: finds their neighbours.
        device: of the tensors.
    """
    rows, maps = views.rows, views.maps
    keypoints = people.keypoints[rows]
    lengths = np.sqrt(geometry.BOX_AREA_TO_AREA * views.boxes[:, 2] * views.boxes[:, 3])
    scales = lengths[:, None] * 2 * people.skeleton.sigmas
    scores = people.scores[rows] * views.posed[:, None]
    their_keypoints, their_scores = others.nearest(rows, keypoints, scores > 0, scales, views.boxes)
    arrays = (
        geometry.transform(keypoints, maps),
        scores,
        scales * geometry.map_scale(maps)[:, None],
        geometry.transform(their_keypoints, maps),
        their_scores,
    )
    return InputPose(*(torch.from_numpy(array.astype(np.float32)).to(device) for array in arrays))


def original_keypoints(keypoints: np.ndarray, moved: np.ndarray, people: People, views: Views) -> np.ndarray:
    """(V, K, 2) keypoints in the original image, of keypoints in the frames; those not ``moved`` exactly as they were.

    Args:
        keypoints: (V, K, 2) pixels of each view's frame.
        moved: (V, K) bool.
        people: everybody.
        views: V views of some of them.
    """
    original = geometry.transform(keypoints.astype(np.float64), geometry.invert(views.maps))
    return np.where(moved[..., None], original, people.keypoints[views.rows])
