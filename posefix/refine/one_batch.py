"""Refine one batch: map poses into the frame, run the network, decide, map back to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.neighbours import OtherPeople
from posefix.core.people import UNKNOWN_CONFIDENCE, People
from posefix.engines import Engine
from posefix.models.interface import InputPose
from posefix.refine.batches import RefinedBatch
from posefix.refine.decisions import Forward, best_views, decide
from posefix.refine.settings import RefineSettings
from posefix.refine.views import Views


@dataclass(frozen=True, eq=False)
class BatchRefiner:
    """Refines batches of people."""

    people: People  # all people, with the network's skeleton
    others: OtherPeople  # finds their neighbours
    engine: Engine
    settings: RefineSettings
    margin: float  # expected KS gain above which a keypoint moves

    def __call__(self, views: Views, crops: list[np.ndarray | str]) -> RefinedBatch:
        """Refine the people of V views.

        Args:
            views: of the people in the batch.
            crops: (H, W, 3) uint8 RGB crop of each view, or the message that says why there is none.

        Raises:
            InputError: when the batch does not fit into GPU memory.
        """
        problems = {int(row): crop for row, crop in zip(views.rows, crops, strict=True) if isinstance(crop, str)}
        usable = [crop for crop in crops if not isinstance(crop, str)]
        views = views.take(np.array([not isinstance(crop, str) for crop in crops]))
        if not usable:
            k = self.people.scores.shape[1]
            return RefinedBatch(views.rows, np.zeros((0, k, 2)), np.zeros(0), np.zeros((0, k)), list(problems.items()))
        try:
            keypoints, expected, scores = self._refine_views(views, np.stack(usable))
        except torch.cuda.OutOfMemoryError:
            raise InputError("out of memory on the GPU: give a smaller --batch_size, or --device cpu") from None
        best = best_views(views.rows, expected)
        return RefinedBatch(views.rows[best], keypoints[best], expected[best], scores[best], list(problems.items()))

    @torch.inference_mode()
    def _refine_views(self, views: Views, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return keypoints (V, K, 2) in the original image, expected OKS (V,) and keypoint scores (V, K)."""
        pose = input_pose(self.people, views, self.others, self.engine.device, self.settings.assumed_ap(self.people))
        evidence = self.engine.encode(crops, self.settings.flip_test)
        proposal = decide(Forward(self.engine, evidence, self.margin), pose, self.settings.passes)
        moved = (proposal.keypoints != pose.keypoints).any(-1, keepdim=True).cpu().numpy()
        refined = proposal.keypoints.cpu().numpy().astype(np.float64)
        original = geometry.transform(refined, geometry.invert(views.maps))
        keypoints = np.where(moved, original, self.people.keypoints[views.rows])  # unmoved ones stay bit-identical
        return keypoints, proposal.expected.cpu().numpy(), proposal.keypoint_scores.cpu().numpy()


def input_pose(
    people: People, views: Views, others: OtherPeople, device: torch.device, estimator_ap: float
) -> InputPose:
    """Build the network's input for V views, in pixels of each view's frame, as tensors on ``device``."""
    rows, maps = views.rows, views.maps
    keypoints = people.keypoints[rows]
    scales = people.skeleton.scales(geometry.areas_of(views.boxes))
    scores = people.scores[rows] * views.posed[:, None]
    if people.source is not None and "scores" not in people.source.format.holds:
        unknown = ((scores == 0) | (scores == 1)).all(1, keepdims=True)  # the network takes 1 for certain
        scores = np.where(unknown, UNKNOWN_CONFIDENCE * scores, scores)
    other_keypoints, other_scores = others.nearest(rows, keypoints, scores > 0, scales, views.boxes)
    boxes = geometry.independent_boxes(people.boxes[rows], keypoints, people.labelled[rows])
    boxes = np.where((boxes == views.boxes).all(1)[:, None], boxes, 0.0)  # not in the view of the pose
    arrays = (
        geometry.transform(keypoints, maps),
        scores,
        scales * geometry.map_scale(maps)[:, None],
        geometry.transform(other_keypoints, maps),
        other_scores,
        geometry.transform_boxes(boxes, maps),
        np.full(len(rows), estimator_ap / 100),
    )
    return InputPose(*(torch.from_numpy(array.astype(np.float32)).to(device) for array in arrays))
