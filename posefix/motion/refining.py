"""Refine the people of a video: propose poses over time, refine them by the images, smooth the result.

The refiner takes the denoised track as input. The denoiser then smooths the result, weighted by its confidences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People, with_refined
from posefix.media.images import ImageFolder
from posefix.media.video import DEFAULT_FPS, VideoFrames
from posefix.motion.denoise import TrackDenoiser
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork
from posefix.motion.smoothing import Smoothed, smooth_people
from posefix.refine.batches import MIN_SCORE, Refinement
from posefix.refine.checks import check_types
from posefix.refine.refiner import Refiner
from posefix.refine.rescoring import was_rescored
from posefix.refine.settings import RefineSettings


@dataclass(frozen=True, eq=False)
class VideoTime:
    """The sequence denoiser with the frame times of a video.

    Attributes:
        network: the denoiser.
        fps: frames per second, used without ``times``.
        times: (F,) seconds of the frames, or None.
        fill: longest gap of people and keypoints to fill, in frames.
        images: the images, if the frames are images: people are not filled in where there is none.
    """

    network: MotionNetwork
    fps: float = DEFAULT_FPS
    times: np.ndarray | None = None
    fill: int = 0
    images: ImageFolder | None = None

    @classmethod
    def of(
        cls, frames: VideoFrames | ImageFolder, fps: float | None = None, network: str | Path = DEFAULT, fill: int = 0
    ) -> VideoTime:
        """Load the network for a video, or for images whose ids are frame numbers, ``fps`` of them per second.

        A video's time stamps count unless ``fps`` is given.

        Raises:
            InputError: the network is unusable, the video's times go back, or images have no ``fps``.
        """
        images = None if isinstance(frames, VideoFrames) else frames
        if fps is not None:
            require_above_zero(fps, "fps")
            return cls(MOTION.load(network), fps, fill=fill, images=images)
        if not isinstance(frames, VideoFrames):
            raise InputError("images need fps, the number of frames per second")
        return cls(MOTION.load(network), times=frames.times, fill=fill)

    def propose(self, people: People) -> Smoothed:
        """Link people and denoise their tracks, before a look at the images.

        Already refined people stay where they are; people in filled frames are new.

        Raises:
            InputError: two people in a frame have the same track id.
        """
        proposed = self._smoothed(people, self.fill)
        refined_before = was_rescored(proposed.people)[:, None, None]
        keypoints = np.where(refined_before, proposed.before(people).keypoints, proposed.people.keypoints)
        return replace(proposed, people=proposed.people.with_keypoints(keypoints))

    def settle(self, refined: People, keypoint_scores: np.ndarray) -> People:
        """Smooth refined people, weighted by ``keypoint_scores`` (N, K), NaN for people who were not refined."""
        scored = np.isfinite(keypoint_scores).all(1)
        confidences = np.where(scored[:, None], np.maximum(keypoint_scores, MIN_SCORE), refined.scores)
        tracks = refined.with_keypoints(refined.keypoints, confidences)
        smoothed = self._smoothed(tracks)
        return refined.with_keypoints(np.where(scored[:, None, None], smoothed.people.keypoints, refined.keypoints))

    def _smoothed(self, people: People, fill: int = 0) -> Smoothed:
        denoiser = TrackDenoiser(self.network, people.skeleton)
        return smooth_people(people, denoiser, self.fps, self.times, fill, self.images)


def refine_video(
    refiner: Refiner,
    people: People,
    video: VideoFrames | ImageFolder,
    settings: RefineSettings | None = None,
    network: str | Path = DEFAULT,
    fill: int = 0,
    fps: float | None = None,
) -> People:
    """Refine the people of a video, using the frames before and after each frame.

    Args:
        refiner: refines the images.
        people: of any skeleton that shares keypoints with the refiner's; image ids are frame numbers, in a video from
            0. People without a track id are linked from frame to frame.
        video: the frames.
        settings: options of refining; None takes the defaults.
        network: the sequence denoiser, by name or path.
        fill: fill in people and keypoints that are missing in at most this many consecutive frames.
        fps: frames per second, for an :class:`ImageFolder`, or in place of a video's time stamps, as for slow motion.

    Returns:
        The same people with track ids and refined keypoints, and new people in filled frames.

    Raises:
        InputError: as :meth:`posefix.Refiner.refine`; or two people in a frame have the same track id.
    """
    check_types(people, {})
    if not isinstance(video, (VideoFrames, ImageFolder)):
        problem = "video must be posefix.VideoFrames(path), or posefix.ImageFolder(folder) with fps"
        raise InputError(f"{problem}, found {type(video).__name__}")
    settings = RefineSettings.given(settings)
    video_time = VideoTime.of(video, fps, network, fill)
    proposed = video_time.propose(people).people
    inputs = proposed.to_skeleton(refiner.skeleton)
    refinement = Refinement.of(inputs, refiner.refine_batches(inputs, video, settings))
    settled = video_time.settle(refinement.apply(inputs, settings), refinement.keypoint_scores)
    return with_refined(proposed, settled, missing=people.source is None or people.source.format.completed)
