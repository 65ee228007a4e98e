"""Denoise and refine live video, frame by frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from posefix.core import geometry
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People, require_shared, with_refined
from posefix.motion.denoise import MEMORY, certainty, denoise_frame
from posefix.motion.linking import Linker
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork
from posefix.refine.checks import people_of_arrays
from posefix.refine.refiner import Poses, Refiner
from posefix.refine.settings import RefineSettings

MIN_SCORE = 0.01  # minimum score of a proposed keypoint


class OnlineDenoiser:
    """Denoise the tracks of several people frame by frame.

    Args:
        network: the sequence denoiser.
        fps: frames per second.
        latency: delay of the output in frames; the first few improve it most.

    Raises:
        InputError: latency is not a whole number from 0 to 63, or fps is not above 0.
    """

    def __init__(self, network: MotionNetwork, fps: float, latency: int = 0) -> None:
        if not isinstance(latency, int | np.integer) or latency not in range(MEMORY):
            raise InputError(f"latency must be a whole number of frames from 0 to {MEMORY - 1}, got {latency!r:.40}")
        require_above_zero(fps, "fps")
        self.network, self.fps, self.latency = network, fps, latency
        self._tracks: dict[int, np.ndarray] = {}  # (MEMORY, K, 3 or more) each

    def __call__(self, track_ids: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in the next frame.

        Args:
            track_ids: (N,) identities.
            keypoints: (N, K, 3) x, y in pixels and score; NaN or score 0: no estimate. Other columns are kept.

        Returns:
            Keypoints (N, K, 3) float32 of ``latency`` frames ago, or of the person's first frame, with their scores;
            and their expected similarity to the truth (KS), (N, K), 0 for people without any estimate so far.

        Raises:
            InputError: shapes do not match, or two people have the same id.
        """
        keypoints, count = np.asarray(keypoints), len(self.network.skeleton)
        if keypoints.ndim != 3 or keypoints.shape[1] != count or keypoints.shape[2] < 3:
            raise InputError(f"keypoints must be (N, {count}, 3) numbers, got {keypoints.shape}")
        track_ids = np.asarray(track_ids)
        if track_ids.shape != keypoints.shape[:1] or len(np.unique(track_ids)) < len(track_ids):
            raise InputError(f"track_ids must be {len(keypoints)} different numbers, got {track_ids.tolist()}")
        valid = np.isfinite(keypoints[..., :3]).all(-1, keepdims=True) & (keypoints[..., 2:3] > 0)
        inputs = np.concatenate([np.where(valid, keypoints[..., :3], 0), keypoints[..., 3:]], axis=-1)
        current = dict(zip(track_ids.tolist(), inputs, strict=True))
        empty = np.zeros((MEMORY, *keypoints.shape[1:]))
        for track_id in self._tracks.keys() | current.keys():
            latest = current.get(track_id, empty[0])
            self._tracks[track_id] = np.concatenate([self._tracks.get(track_id, empty)[1:], latest[None]])
        self._tracks = {
            key: frames for key, frames in self._tracks.items() if key in current or (frames[..., 2] > 0).any()
        }
        if not len(track_ids):
            return keypoints.astype(np.float32), keypoints[..., 2].astype(np.float32)
        windows = np.stack([self._tracks[key] for key in track_ids.tolist()])
        has_pose: np.ndarray = np.any(windows[..., 2] > 0, axis=2)
        frame = np.maximum(MEMORY - 1 - self.latency, has_pose.argmax(1))
        denoised = denoise_frame(self.network, windows[..., :3], self.fps, frame)
        extra = windows[np.arange(len(windows)), frame, :, 2:]
        boxes = geometry.pose_boxes(denoised[..., :2], np.ones(denoised.shape[:2], bool))
        scales = self.network.skeleton.scales(geometry.areas_of(boxes))
        ks = certainty(denoised[..., 2], scales.clip(1e-6))
        ks[~has_pose.any(1)] = 0
        return np.concatenate([denoised[..., :2], extra], axis=-1).astype(np.float32), ks.astype(np.float32)


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

    Raises:
        InputError: as :class:`OnlineDenoiser`; or the network is unusable, or for another skeleton than the refiner's.
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
        defaults = RefineSettings(batch_size=8, workers=1)
        self.settings = replace(defaults if settings is None else RefineSettings.given(settings), keypoint_scores=True)
        network = network if isinstance(network, MotionNetwork) else MOTION.load(network)
        if network.skeleton != refiner.skeleton:
            raise InputError("the refiner and the sequence denoiser are for different skeletons")
        self._proposer, self._smoother = OnlineDenoiser(network, fps), OnlineDenoiser(network, fps, latency)
        self._linker, self._frame = Linker(refiner.skeleton.sigmas), -1

    def __call__(self, image: np.ndarray, keypoints: Poses, track_ids: np.ndarray | None = None) -> Poses:
        """Refine the poses of the next frame.

        Args:
            image: (H, W, 3) uint8, RGB.
            keypoints: (N, K, 3) x, y in pixels and score; NaN or a score of 0 means no estimate. With a
                latency of 0 also :class:`~posefix.People`, as for a :class:`~posefix.Refiner`.
            track_ids: (N,) track ids of the people, if a tracker gives them; None links people from frame to frame.

        Returns:
            (N, K, 3) float32, the poses of these people ``latency`` frames ago, or in their first frame if that is
            later. Scores are unchanged, 0 for NaN. People without any estimate so far are passed through.

        Raises:
            InputError: shapes or types do not match, or two people have the same track id.
        """
        if isinstance(keypoints, People):
            if self._smoother.latency:
                raise InputError("People can be refined live only with a latency of 0; give arrays of keypoints")
            require_shared(keypoints, self.refiner.skeleton, "the checkpoint refines")
            shared = keypoints.to_skeleton(self.refiner.skeleton)
            return with_refined(keypoints, shared.with_keypoints(self(image, shared.xyc, track_ids)[..., :2]))  # type: ignore[return-value]
        people: People = people_of_arrays(keypoints, None, self.refiner.skeleton)
        valid = np.isfinite(people.keypoints).all(-1) & np.isfinite(people.scores)
        people = people.with_keypoints(
            np.where(valid[..., None], people.keypoints, 0), np.where(valid, people.scores, 0)
        )
        self._frame += 1
        if track_ids is None:
            boxes = geometry.pose_boxes(people.keypoints, people.labelled)
            track_ids = self._linker.follow(self._frame, people.keypoints, people.scores, boxes)
        proposed, ks = self._proposer(track_ids, people.xyc)
        tracked: np.ndarray = np.any(ks > 0, axis=1)
        scores = np.where(people.labelled, people.scores, np.maximum(ks, MIN_SCORE))
        poses = People(people.skeleton, proposed[..., :2], scores, people.image_ids)[tracked]
        refined = self.refiner.refine(poses, dict.fromkeys(poses.image_ids.tolist(), image), self.settings)
        smoother_input = np.zeros((*people.scores.shape, 4))
        smoother_input[tracked, :, :3] = refined.xyc
        smoother_input[..., 3] = people.scores
        smoothed, _ = self._smoother(track_ids, smoother_input)
        return np.where(tracked[:, None, None], smoothed[..., [0, 1, 3]], people.xyc)
