"""Lift tracks of 2D poses, and poses in single images, to 3D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People, require_pixels
from posefix.core.skeleton import Skeleton
from posefix.formats.images import ImageIndex
from posefix.lifting.body import HEIGHT, limbs_of, views
from posefix.lifting.network import DEFAULT, LIFTING, LiftingNetwork
from posefix.lifting.placing import MIN_KEYPOINTS, root_of, smoothed_distance, with_constant_limbs
from posefix.lifting.poses import Camera, Poses3D, Track3D
from posefix.motion.denoise import by_windows, in_batches, normalized, on_even_grid
from posefix.motion.filters import interpolated, segments
from posefix.motion.tracks import Track, frame_rate
from posefix.refine.checks import people_of_arrays

WINDOW, OVERLAP = 54, 27  # frames
BATCH_SIZE = 64  # windows per forward pass
FIELD_OF_VIEW = 60.0  # degrees, along the longer side of an image, for unknown cameras
STILL_RATE = 30.0  # frames per second, as the network's input for single images
MIN_SPREAD = 1e-3  # metres
HALF_TRUST, FIT_STEPS = 0.5, 5  # distance from a ray with trust 0.5, in spreads; steps towards the rays


def camera_of(width: float, height: float, field_of_view: float = FIELD_OF_VIEW) -> Camera:
    """Return a camera with images of this size and ``field_of_view`` degrees along the longer side.

    Raises:
        InputError: the size is not above 0, or the angle not between 0 and 180 degrees.
    """
    for size in (width, height):
        require_above_zero(size, "the size of images")
    if not 0 < field_of_view < 180:
        raise InputError(f"field_of_view must be between 0 and 180 degrees, got {field_of_view}")
    focal = max(width, height) / 2 / np.tan(np.deg2rad(field_of_view) / 2)
    return Camera(float(focal), (width / 2, height / 2))


class Cameras(NamedTuple):
    """The cameras of images; for how many the size was guessed; and that size (width, height) in pixels."""

    of_image: dict[int, Camera]
    guessed: int
    size: tuple[float, float]


class Lifter:
    """Lift 2D poses to 3D with a trained network, for any skeleton that has enough of COCO's keypoints.

    3D poses are those of a person ``height`` metres tall, since an image does not show body height.

    Args:
        network: the lifting network.
        skeleton: skeleton of the 2D poses.
        height: body height of the people, in metres.

    Raises:
        InputError: the skeleton has too few of COCO's keypoints, or the height is not above 0.
    """

    def __init__(self, network: LiftingNetwork, skeleton: Skeleton, height: float = HEIGHT) -> None:
        require_above_zero(height, "height")
        self.network, self.skeleton, self._input_skeleton = network, network.skeleton, skeleton
        self._source = network.skeleton.indices_from(skeleton)
        self._flip = network.skeleton.flip
        self._limbs = limbs_of(network.skeleton)
        self._factor = height / HEIGHT
        if (self._source >= 0).sum() < MIN_KEYPOINTS or (self._source[self._limbs[0::4, 0]] < 0).any():
            needed = "both shoulders among them"
            raise InputError(f"skeleton {skeleton.name}: lifting needs {MIN_KEYPOINTS} of COCO's keypoints, {needed}")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = DEFAULT, skeleton: Skeleton | None = None, height: float = HEIGHT
    ) -> Lifter:
        """Load the network by shipped name or path; InputError when it cannot be used."""
        return cls(LIFTING.load(name_or_path), skeleton or skeletons.load("coco17"), height)

    def __call__(self, keypoints: np.ndarray | People, width: float, height: float) -> np.ndarray:
        """Lift the people of one photograph.

        Args:
            keypoints: (N, K, 3) x, y in pixels and score; a score of 0 means no estimate. Or the people, N in all.
            width: width of the photograph, in pixels.
            height: height of the photograph, in pixels.

        Returns:
            (N, 17, 3) float32, COCO's keypoints in metres in the camera's axes: x right, y down, z away from it; NaN
            where unknown.

        Raises:
            InputError: when shapes or types are not these, or as :meth:`people`.
        """
        skeleton = self._input_skeleton
        people = keypoints if isinstance(keypoints, People) else people_of_arrays(keypoints, None, skeleton)
        camera = camera_of(width, height)
        positions = [track.positions[0] for track in self.people(people, lambda image_id: camera).tracks]
        return np.array(positions, np.float32).reshape(len(people), len(self.skeleton), 3)

    def tracks(self, tracks: Sequence[Track], camera: Camera) -> Poses3D:
        """Lift tracks of a video.

        Gaps in a track are filled. Arms and legs keep their length over a track. Keypoints that a track never has stay
        unknown, except the middle of the hips. The frame rate of the poses follows from frame numbers and times.

        Args:
            tracks: tracks with keypoints in pixels, of the lifter's skeleton.
            camera: the camera of all frames.
        """
        rate = frame_rate(tracks) or STILL_RATE
        return Poses3D(self.skeleton, round(rate, 3), tuple(self._track(track, camera) for track in tracks))

    def people(self, people: People, camera: Callable[[int], Camera]) -> Poses3D:
        """Lift each person from one image alone, as a track of one frame each.

        Args:
            people: N people, whose skeleton is that of the lifter.
            camera: of an image id.

        Raises:
            InputError: the skeleton is another one, or coordinates are not finite, or not in pixels.
        """
        if people.skeleton.keypoint_names != self._input_skeleton.keypoint_names:
            raise InputError(
                f"this lifter is for {self._input_skeleton.name} poses, not {people.skeleton.name}: make one with "
                "Lifter.from_pretrained(skeleton=people.skeleton)"
            )
        require_pixels(people)
        xyc = self._network_pose(np.where(people.labelled[..., None], people.xyc, 0).astype(np.float64))[:, None]
        cameras = [camera(image_id) for image_id in people.image_ids.tolist()]
        poses = self._lift(xyc, STILL_RATE)
        rays = np.array([c.rays(pose[..., :2]) for c, pose in zip(cameras, xyc, strict=True)]).reshape(xyc.shape)
        keypoints, root = self._in_camera(poses, xyc, rays, self._directions(xyc, rays))
        arrays = _known_arrays(keypoints, root, poses, xyc[..., 2] <= 0)
        times = np.zeros(1)
        rows = zip(people.track_ids.tolist(), people.image_ids[:, None], *arrays, cameras, strict=True)
        return Poses3D(
            self.skeleton, STILL_RATE, tuple(Track3D(track_id, frames, times, *row) for track_id, frames, *row in rows)
        )

    def _track(self, track: Track, camera: Camera) -> Track3D:
        valid = np.isfinite(track.keypoints).all(-1) & (track.keypoints[..., 2] > 0)
        xyc = self._network_pose(np.where(valid[..., None], track.keypoints, 0))
        poses = np.full((*xyc.shape[:2], 4), np.nan)
        rays = camera.rays(xyc[..., :2])
        directions = self._directions(xyc, rays)
        spans = segments(track.times, track.keypoints, valid)

        def lift(xyc: np.ndarray, fps: float) -> np.ndarray:
            return by_windows(xyc, partial(self._lift, fps=fps), WINDOW, OVERLAP)

        for span in spans:
            directions[span] = interpolated(track.times[span], directions[span, None])[:, 0]
            if span.stop - span.start < 2:
                poses[span] = self._lift(xyc[None, span], STILL_RATE)[0]
            else:
                poses[span] = on_even_grid(track.times[span], xyc[span], lift)
        keypoints, root = self._in_camera(poses, xyc, rays, directions)
        for span in spans:
            dense = interpolated(track.times[span], root[span, None])[:, 0]
            root[span] = smoothed_distance(dense, track.times[span])
        absent = np.asarray((xyc[..., 2] <= 0).all(0))
        arrays = _known_arrays(keypoints, root, poses, absent)
        return Track3D(track.track_id, track.frames, track.times, *arrays, camera=camera)

    def _network_pose(self, keypoints: np.ndarray) -> np.ndarray:
        """Convert poses (..., K', 3) to the network's skeleton (..., K, 3); missing keypoints get score 0."""
        converted: np.ndarray = np.where((self._source >= 0)[:, None], keypoints[..., self._source, :], 0)
        return converted

    def _lift(self, windows: np.ndarray, fps: float) -> np.ndarray:
        """Lift windows (N, T, K, 3) to (N, T, K, 4): metres along the line of sight, and expected errors.

        Results are the mean of the windows and of their mirror images.
        """
        windows = normalized(windows)[0]
        mirrored = windows[:, :, self._flip] * np.array([-1, 1, 1], np.float32)
        lifted, lifted_mirrored = (in_batches(self.network, x, fps, BATCH_SIZE) for x in (windows, mirrored))
        unmirrored = lifted_mirrored[:, :, self._flip] * np.array([-1, 1, 1, 1], np.float32)
        poses: np.ndarray = self._factor * (lifted + unmirrored) / 2
        return poses

    def _directions(self, xyc: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Return lines of sight (..., 3) to the hips, or to all keypoints if a hip is missing; NaN without any.

        ``xyc`` (..., K, 3) are x, y in pixels and score, ``rays`` (..., K, 3) go through the pixels.
        """
        valid = xyc[..., 2] > 0
        hips = np.isin(np.arange(valid.shape[-1]), self.network.hips)
        weights = np.where(valid[..., self.network.hips].all(-1, keepdims=True), hips, valid).astype(np.float64)
        count = weights.sum(-1, keepdims=True)
        return np.asarray((weights[..., None] * rays).sum(-2) / np.where(count > 0, count, np.nan))

    def _in_camera(
        self, poses: np.ndarray, xyc: np.ndarray, rays: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Place poses (..., T, K, 4) along lines of sight (..., T, 3) in camera coordinates: keypoints and root."""
        valid = (xyc[..., 2] > 0) & np.isfinite(poses).all(-1)
        spreads = np.maximum(poses[..., 3], MIN_SPREAD)
        weights = np.where(valid, 1 / spreads**2, 0)
        keypoints = np.einsum("...ji,...kj->...ki", views(directions), poses[..., :3])
        return self._fit_to_rays(keypoints, rays, spreads, weights)

    def _fit_to_rays(
        self, keypoints: np.ndarray, rays: np.ndarray, spreads: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit poses to their rays with limbs of constant length: keypoints and root.

        Iterates: move keypoints towards their rays, restore limb lengths, solve for the position. A ray's trust falls
        with its distance relative to the network's expected error (Geman-McClure weights), and keypoints move less in
        poses whose rays are trusted less on average, so that errors of the 2D estimator do not bend the pose.
        """
        trust = np.ones_like(weights)
        for _ in range(2):  # the second time with trust from the first
            root = root_of(keypoints, rays, trust * weights)
            points = keypoints + root[..., None, :]
            distance = np.linalg.norm(rays * points[..., 2:] - points, axis=-1)
            trust = np.nan_to_num((weights > 0) / (1 + (distance / (HALF_TRUST * spreads)) ** 2))
        agreement = trust.sum(-1, keepdims=True) / np.maximum((weights > 0).sum(-1, keepdims=True), 1)
        steps = (trust * agreement**2)[..., None]
        for _ in range(FIT_STEPS):
            points = keypoints + np.nan_to_num(root)[..., None, :]
            points += steps * (rays * points[..., 2:] - points)
            points = with_constant_limbs(points, self._limbs)
            keypoints = points - points[..., self.network.hips, :].mean(-2, keepdims=True)
            new_root = root_of(keypoints, rays, trust * weights)
            root = np.where(np.isfinite(new_root), new_root, root)
        return keypoints, root


def cameras_of(people: People, index: ImageIndex | None, field_of_view: float) -> Cameras:
    """Return the cameras of all images of people, with the image sizes of an index.

    Images of unknown size are taken to be as large as all others or, if these differ, as far as keypoints extend.
    """
    ids = np.unique(people.image_ids).tolist()
    sizes: dict[int, tuple[float, float]] = {}
    sizes.update((image_id, size) for image_id in ids if index and (size := index.size(image_id)))
    known_sizes = set(sizes.values())
    reach = np.ceil(people.keypoints[people.labelled].max(0, initial=1)).tolist()
    width, height = known_sizes.pop() if len(known_sizes) == 1 else reach
    guessed = [image_id for image_id in ids if image_id not in sizes]
    sizes.update(dict.fromkeys(guessed, (width, height)))
    return Cameras(
        {image_id: camera_of(*sizes[image_id], field_of_view) for image_id in ids}, len(guessed), (width, height)
    )


def _known_arrays(
    keypoints: np.ndarray, root: np.ndarray, poses: np.ndarray, unknown: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keypoints, root and spreads of Track3D, NaN where ``unknown``; ``poses`` (..., 4) have the spreads."""
    keypoints = np.where(unknown[..., None], np.nan, keypoints).astype(np.float32)
    return keypoints, root.astype(np.float32), np.where(unknown, np.nan, poses[..., 3]).astype(np.float32)
