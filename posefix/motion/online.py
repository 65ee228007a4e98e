"""Denoise and refine live video: each frame as it comes, from the frames before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People
from posefix.motion.denoise import MEMORY, certainty, denoise_frame
from posefix.motion.linking import Linker
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork
from posefix.refine.checks import people_of_arrays
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

LEAST_SURE = 0.01  # score of a proposed keypoint


class OnlineDenoiser:
    """Denoise the tracks of several people frame by frame.

    Args:
        network: the sequence denoiser.
        fps: frames a second.
        latency: by how many frames the answer comes later; the first of them matter most.

    Raises:
        InputError: the latency is no whole number, below 0, or as long as what is looked back on, or there are no
            frames in a second.
    """

    def __init__(self, network: MotionNetwork, fps: float, latency: int = 0) -> None:
        if latency not in range(MEMORY):
            raise InputError(f"latency must be 0 to {MEMORY - 1} frames, got {latency}")
        require_above_zero(fps, "fps")
        self.network, self.fps, self.latency = network, fps, latency
        self._tracks: dict[int, np.ndarray] = {}  # (MEMORY, K, 3 or more) each

    def __call__(self, track_ids: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in the next frame.

        Args:
            track_ids: (N,) who they are.
            keypoints: (N, K, 3) x, y in pixels and score; NaN or score 0 where there is no estimate. More columns are
                handed along with the scores.

        Returns:
            (N, K, 3) float32 keypoints of the frame that is ``latency`` frames back, or of the first one that there
            is of a person, with the scores of then; and (N, K) how sure each is (KS), 0 of who has had no
            estimate so far.

        Raises:
            InputError: keypoints have another shape, there is not one id for each of the people, or two have the same.
        """
        count = len(self.network.skeleton)
        if keypoints.ndim != 3 or keypoints.shape[1] != count or keypoints.shape[2] < 3:
            raise InputError(f"keypoints must be (N, {count}, 3) numbers, got {keypoints.shape}")
        track_ids = np.asarray(track_ids)
        if track_ids.shape != keypoints.shape[:1] or len(np.unique(track_ids)) < len(track_ids):
            raise InputError(f"track_ids must be {len(keypoints)} different numbers, got {track_ids.tolist()}")
        known = np.isfinite(keypoints[..., :3]).all(-1, keepdims=True) & (keypoints[..., 2:3] > 0)
        taken = np.concatenate([np.where(known, keypoints[..., :3], 0), keypoints[..., 3:]], axis=-1)
        found = dict(zip(track_ids.tolist(), taken, strict=True))
        nothing = np.zeros((MEMORY, *keypoints.shape[1:]))
        for track_id in self._tracks.keys() | found.keys():
            latest = found.get(track_id, nothing[0])
            self._tracks[track_id] = np.concatenate([self._tracks.get(track_id, nothing)[1:], latest[None]])
        self._tracks = {
            name: frames for name, frames in self._tracks.items() if name in found or (frames[..., 2] > 0).any()
        }
        if not len(track_ids):
            return keypoints.astype(np.float32), keypoints[..., 2].astype(np.float32)
        windows = np.stack([self._tracks[name] for name in track_ids.tolist()])
        given: np.ndarray = np.any(windows[..., 2] > 0, axis=2)
        when = np.maximum(MEMORY - 1 - self.latency, given.argmax(1))
        new = denoise_frame(self.network, windows[..., :3], self.fps, when)
        rest = windows[np.arange(len(windows)), when, :, 2:]
        boxes = geometry.pose_boxes(new[..., :2], np.ones(new.shape[:2], bool))
        scales = self.network.skeleton.scales(geometry.areas_of(boxes))
        sure = certainty(new[..., 2], scales.clip(1e-6))
        sure[~given.any(1)] = 0
        return np.concatenate([new[..., :2], rest], axis=-1).astype(np.float32), sure.astype(np.float32)


class OnlineRefiner:
    """Refine live video from past frames only: predict each pose from its track, refine it on the image, then smooth.

    Example::

        online = OnlineRefiner(Refiner.from_pretrained(), fps=30)
        for frame, keypoints in camera:
            better = online(frame, keypoints)

    Args:
        refiner: refines the images.
        fps: frames per second.
        network: the sequence denoiser, or its name or path.
        settings: settings of the refiner; None takes the defaults.
        latency: number of frames by which the result is delayed, so that smoothing can use these later frames, too.
    """

    def __init__(
        self,
        refiner: Refiner,
        fps: float,
        network: MotionNetwork | str | Path = DEFAULT,
        settings: RefineSettings | None = None,
        latency: int = 0,
    ) -> None:
        self.refiner = refiner
        self.settings = replace(settings or RefineSettings(batch_size=8, workers=1), keypoint_scores=True)
        network = network if isinstance(network, MotionNetwork) else MOTION.load(network)
        if network.skeleton != refiner.skeleton:
            raise InputError("the refiner and the sequence denoiser are for different skeletons")
        self._proposals, self._smoothed = OnlineDenoiser(network, fps), OnlineDenoiser(network, fps, latency)
        self._linker, self._frame = Linker(refiner.skeleton.sigmas), -1

    def __call__(self, image: np.ndarray, keypoints: np.ndarray, track_ids: np.ndarray | None = None) -> np.ndarray:
        """Refine the poses of the next frame.

        Args:
            image: (H, W, 3) uint8, RGB.
            keypoints: (N, K, 3) x, y in pixels and score; NaN or a score of 0 means no estimate.
            track_ids: (N,) track ids of the people, if a tracker gives them; None links people from frame to frame.

        Returns:
            (N, K, 3) float32, the poses of these people ``latency`` frames ago, or in their first frame if that is
            later. Scores are unchanged, 0 for NaN. People without any estimate so far are passed through.

        Raises:
            InputError: when shapes or types are not these, or two people have the same track id.
        """
        people = people_of_arrays(keypoints, None, self.refiner.skeleton)
        known = np.isfinite(people.keypoints).all(-1) & np.isfinite(people.scores)
        people = people.with_keypoints(
            np.where(known[..., None], people.keypoints, 0), np.where(known, people.scores, 0)
        )
        self._frame += 1
        if track_ids is None:
            boxes = geometry.pose_boxes(people.keypoints, people.labelled)
            track_ids = self._linker.follow(self._frame, people.keypoints, people.scores, boxes)
        proposed, sure = self._proposals(track_ids, people.xyc)
        seen: np.ndarray = np.any(sure > 0, axis=1)
        scores = np.where(people.labelled, people.scores, np.maximum(sure, LEAST_SURE))
        poses = People(people.skeleton, proposed[..., :2], scores, people.image_ids)[seen]
        refined = self.refiner.refine(poses, dict.fromkeys(poses.image_ids.tolist(), image), self.settings)
        places = np.zeros((*people.scores.shape, 4))
        places[seen, :, :3] = refined.xyc
        places[..., 3] = people.scores
        new, _ = self._smoothed(track_ids, places)
        return np.where(seen[:, None, None], new[..., [0, 1, 3]], people.xyc)
