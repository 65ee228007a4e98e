"""Refine the people of a video: time proposes, the image decides, and what is left of the noise is smoothed.

What the sequence denoiser makes of a track is an input pose like any estimator's: the refiner looks at the image again
with it, and the denoiser smooths what the refiner found, by how sure it is of each keypoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People, with_refined
from posefix.media.video import VideoFrames
from posefix.motion.denoise import TrackDenoiser
from posefix.motion.network import DEFAULT, MOTION, MotionNetwork
from posefix.motion.smoothing import Smoothed, smooth_people
from posefix.refine.batches import LEAST_SCORE, Refinement
from posefix.refine.checks import check_types
from posefix.refine.refiner import Refiner
from posefix.refine.rescoring import was_rescored
from posefix.refine.settings import RefineSettings


@dataclass(frozen=True, eq=False)
class VideoTime:
    """The sequence denoiser on the clock of a video.

    Attributes:
        network: the denoiser.
        times: (F,) seconds of the frames.
        fill: people, and keypoints, that are missing in at most so many successive frames are filled in.
    """

    network: MotionNetwork
    times: np.ndarray
    fill: int = 0

    @classmethod
    def of(cls, video: VideoFrames, network: str | Path = DEFAULT, fill: int = 0) -> VideoTime:
        """The clock of a video; InputError for an unusable network, or if the video's times go back."""
        return cls(MOTION.load(network), video.times, fill)

    def propose(self, people: People) -> Smoothed:
        """Link people and say where they ought to be, before a look at the images.

        Who was refined before stays where they are; people in frames that were filled are new.

        Raises:
            InputError: two people in a frame have the same track id.
        """
        proposed = smooth_people(people, TrackDenoiser(self.network, people.skeleton), times=self.times, fill=self.fill)
        kept = was_rescored(proposed.people)[:, None, None]
        keypoints = np.where(kept, proposed.before(people).keypoints, proposed.people.keypoints)
        return replace(proposed, people=proposed.people.with_keypoints(keypoints))

    def settle(self, refined: People, keypoint_scores: np.ndarray) -> People:
        """Smooth refined people, with ``keypoint_scores`` (N, K) as confidences; NaN of who was not refined."""
        looked = np.isfinite(keypoint_scores).all(1)
        confidences = np.where(looked[:, None], np.maximum(keypoint_scores, LEAST_SCORE), refined.scores)
        tracks = refined.with_keypoints(refined.keypoints, confidences)
        smoothed = smooth_people(tracks, TrackDenoiser(self.network, refined.skeleton), times=self.times)
        return refined.with_keypoints(np.where(looked[:, None, None], smoothed.people.keypoints, refined.keypoints))


def refine_video(
    refiner: Refiner,
    people: People,
    video: VideoFrames,
    settings: RefineSettings | None = None,
    network: str | Path = DEFAULT,
    fill: int = 0,
) -> People:
    """Refine the people of a video, using the frames before and after each frame.

    Args:
        refiner: refines the images.
        people: of any skeleton that shares keypoints with the refiner's; image ids are frame numbers from 0. People
            without a track id are linked from frame to frame.
        video: the frames.
        settings: options of refining; None takes the defaults.
        network: the sequence denoiser, by name or path.
        fill: fill in people and keypoints that are missing in at most this many consecutive frames.

    Returns:
        The same people with track ids and refined keypoints, and new people in filled frames.

    Raises:
        InputError: as :meth:`posefix.Refiner.refine`; or two people in a frame have the same track id.
    """
    check_types(people, {})
    if not isinstance(video, VideoFrames):
        raise InputError(f"video must be posefix.VideoFrames(path), found {type(video).__name__}")
    settings = settings or RefineSettings()
    time = VideoTime.of(video, network, fill)
    given = time.propose(people).people
    known = given.to_skeleton(refiner.skeleton)
    refinement = Refinement.of(known)
    for batch in refiner.refine_batches(known, video, settings):
        refinement.add(batch)
    settled = time.settle(refinement.apply(known, settings), refinement.keypoint_scores)
    return with_refined(given, settled, missing=people.source is None or people.source.format.completed)
