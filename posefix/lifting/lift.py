"""Lift tracks of 2D poses, and poses of single images, into depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError, require_above_zero
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.formats.images import ImageIndex
from posefix.lifting.body import HEIGHT, limbs_of, views
from posefix.lifting.network import DEFAULT, LIFTING, LiftingNetwork
from posefix.lifting.placing import FEWEST, root_of, smoothed_distance, with_constant_limbs
from posefix.lifting.poses import Camera, Poses3D, Track3D
from posefix.motion.denoise import MAX_FPS, MIN_FPS, by_windows, normalized, on_even_grid
from posefix.motion.filters import interpolated, segments
from posefix.motion.tracks import Track
from posefix.refine.checks import check_people, people_of_arrays

WINDOW, OVERLAP = 54, 27  # frames
TOGETHER = 64  # windows in a batch
FIELD_OF_VIEW = 60.0  # degrees, along the longer side of an image, of a camera that is not known
STILL_RATE = 30.0  # frames a second of which the network is told for a single image
LEAST_SPREAD = 1e-3  # metres
TRUSTED, ROUNDS = 0.5, 5  # how far off a ray may be that is trusted by half, in spreads; steps towards the rays


def camera_of(width: float, height: float, field_of_view: float = FIELD_OF_VIEW) -> Camera:
    """A camera that takes images of this size, and ``field_of_view`` degrees along the longer side.

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
    """The cameras of images, of how many the size is guessed, and width and height of these in pixels."""

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
    """

    def __init__(self, network: LiftingNetwork, skeleton: Skeleton, height: float = HEIGHT) -> None:
        require_above_zero(height, "height")
        self.network, self.skeleton, self._given = network, network.skeleton, skeleton
        self._from = network.skeleton.indices_from(skeleton)
        self._flip = network.skeleton.flip
        self._limbs = limbs_of(network.skeleton)
        self._factor = height / HEIGHT
        if (self._from >= 0).sum() < FEWEST or (self._from[self._limbs[0::4, 0]] < 0).any():
            needed = "both shoulders among them"
            raise InputError(f"skeleton {skeleton.name}: lifting needs {FEWEST} of COCO's keypoints, {needed}")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = DEFAULT, skeleton: Skeleton | None = None, height: float = HEIGHT
    ) -> Lifter:
        """Load the network by shipped name or path; InputError when it cannot be used."""
        return cls(LIFTING.load(name_or_path), skeleton or skeletons.load("coco17"), height)

    def __call__(self, keypoints: np.ndarray, width: float, height: float) -> np.ndarray:
        """Lift the people of one photograph.

        Args:
            keypoints: (N, K, 3) x, y in pixels and score; a score of 0 means no estimate.
            width: width of the photograph, in pixels.
            height: height of the photograph, in pixels.

        Returns:
            (N, 17, 3) float32, COCO's keypoints in metres in the camera's axes: x right, y down, z away from it; NaN
            where unknown.

        Raises:
            InputError: when shapes or types are not these.
        """
        people = people_of_arrays(keypoints, None, self._given)
        check_people(people, self._given)
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
        steps = [np.diff(track.frames) / np.diff(track.times) for track in tracks]
        rates = np.concatenate([*steps, np.zeros(0)])
        rate = float(np.median(rates)) if len(rates) else STILL_RATE
        return Poses3D(self.skeleton, round(rate, 3), tuple(self._track(track, camera) for track in tracks))

    def people(self, people: People, camera: Callable[[int], Camera]) -> Poses3D:
        """Lift each person from one image alone, as a track of one frame each.

        Args:
            people: N people, whose skeleton is that of the lifter.
            camera: of an image id.
        """
        xyc = self._known(np.where(people.labelled[..., None], people.xyc, 0).astype(np.float64))[:, None]
        cameras = [camera(image_id) for image_id in people.image_ids.tolist()]
        poses = self._lift(xyc, STILL_RATE)
        keypoints, root = self._in_camera(poses, xyc, rays := _rays(xyc, cameras), self._directions(xyc, rays))
        arrays = _known_arrays(keypoints, root, poses, xyc[..., 2] <= 0)
        times = np.zeros(1)
        rows = zip(people.track_ids.tolist(), people.image_ids[:, None], *arrays, cameras, strict=True)
        return Poses3D(
            self.skeleton, STILL_RATE, tuple(Track3D(track_id, frames, times, *row) for track_id, frames, *row in rows)
        )

    def _track(self, track: Track, camera: Camera) -> Track3D:
        given = np.isfinite(track.keypoints).all(-1) & (track.keypoints[..., 2] > 0)
        xyc = self._known(np.where(given[..., None], track.keypoints, 0))
        poses = np.full((*xyc.shape[:2], 4), np.nan)
        rays = camera.rays(xyc[..., :2])
        directions = self._directions(xyc, rays)
        parts = segments(track.times, track.keypoints, given)
        for part in parts:
            directions[part] = interpolated(track.times[part], directions[part, None])[:, 0]
            if part.stop - part.start < 2:
                poses[part] = self._lift(xyc[None, part], STILL_RATE)[0]
            else:
                poses[part] = on_even_grid(track.times[part], xyc[part], self._by_windows)
        keypoints, root = self._in_camera(poses, xyc, rays, directions)
        for part in parts:
            whole = interpolated(track.times[part], root[part, None])[:, 0]
            root[part] = smoothed_distance(whole, track.times[part])
        never = np.asarray((xyc[..., 2] <= 0).all(0))
        arrays = _known_arrays(keypoints, root, poses, never)
        return Track3D(track.track_id, track.frames, track.times, *arrays, camera=camera)

    def _known(self, keypoints: np.ndarray) -> np.ndarray:
        """(..., K', 3) poses as (..., K, 3) of the network's skeleton; score 0 of what they do not have."""
        known: np.ndarray = np.where((self._from >= 0)[:, None], keypoints[..., self._from, :], 0)
        return known

    def _by_windows(self, track: np.ndarray, fps: float) -> np.ndarray:
        return by_windows(track, partial(self._lift, fps=fps), window=WINDOW, overlap=OVERLAP)

    def _lift(self, windows: np.ndarray, fps: float) -> np.ndarray:
        """(N, T, K, 3) windows to (N, T, K, 4) metres along the line of sight, and how far off they are expected to be.

        Each is lifted as it is and mirrored, and the mean of both is taken.
        """
        windows = normalized(windows)[0]
        mirrored = windows[:, :, self._flip] * np.array([-1, 1, 1], np.float32)
        rate = torch.full((len(windows),), float(np.clip(fps, MIN_FPS, MAX_FPS)))
        found = []
        for both in (windows, mirrored):
            parts = torch.split(torch.from_numpy(both), TOGETHER)
            with torch.inference_mode():
                lifted = [self.network(part, rate[: len(part)]) for part in parts]
            places = torch.cat([pose.keypoints for pose in lifted]).numpy()
            spreads = torch.cat([pose.log_spread.exp() for pose in lifted]).numpy()
            found.append(np.concatenate([places, spreads[..., None]], axis=-1))
        back = found[1][:, :, self._flip] * np.array([-1, 1, 1, 1], np.float32)
        poses: np.ndarray = self._factor * (found[0] + back) / 2
        return poses

    def _directions(self, xyc: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """(..., 3) lines of sight to the hips, or to all keypoints where one of them is not given; NaN without any.

        ``xyc`` (..., K, 3) are x, y in pixels and score, ``rays`` (..., K, 3) those through the pixels.
        """
        given = xyc[..., 2] > 0
        hips = np.isin(np.arange(given.shape[-1]), self.network.hips)
        seen = np.where(given[..., self.network.hips].all(-1, keepdims=True), hips, given).astype(np.float64)
        count = seen.sum(-1, keepdims=True)
        return np.asarray((seen[..., None] * rays).sum(-2) / np.where(count > 0, count, np.nan))

    def _in_camera(
        self, poses: np.ndarray, xyc: np.ndarray, rays: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Poses (..., T, K, 4) along lines of sight (..., T, 3) in the camera's axes: keypoints and root."""
        given = (xyc[..., 2] > 0) & np.isfinite(poses).all(-1)
        spreads = np.maximum(poses[..., 3], LEAST_SPREAD)
        weights = np.where(given, 1 / spreads**2, 0)
        keypoints = np.einsum("...ji,...kj->...ki", views(directions), poses[..., :3])
        return self._reconciled(keypoints, rays, spreads, weights)

    def _reconciled(
        self, keypoints: np.ndarray, rays: np.ndarray, spreads: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring poses near the rays along which they are seen, with limbs of one length: keypoints and root.

        In turn keypoints move towards their rays, limbs get their length again, and the person is placed anew. The
        further off a ray is, for how far off the network expects to be, the less it is trusted (as in Geman and
        McClure's robust loss), and the less the rays of a pose are trusted in the mean, the less far keypoints move:
        an estimator that errs does not bend the pose.
        """
        trust = np.ones_like(weights)
        for _ in range(2):  # the second time without what is far off
            root = root_of(keypoints, rays, trust * weights)
            points = keypoints + root[..., None, :]
            off = np.linalg.norm(rays * points[..., 2:] - points, axis=-1)
            trust = np.nan_to_num((weights > 0) / (1 + (off / (TRUSTED * spreads)) ** 2))
        agreement = trust.sum(-1, keepdims=True) / np.maximum((weights > 0).sum(-1, keepdims=True), 1)
        steps = (trust * agreement**2)[..., None]
        for _ in range(ROUNDS):
            points = keypoints + np.nan_to_num(root)[..., None, :]
            points += steps * (rays * points[..., 2:] - points)
            points = with_constant_limbs(points, self._limbs)
            keypoints = points - points[..., self.network.hips, :].mean(-2, keepdims=True)
            placed = root_of(keypoints, rays, trust * weights)
            root = np.where(np.isfinite(placed), placed, root)
        return keypoints, root


def cameras_of(people: People, index: ImageIndex | None, field_of_view: float) -> Cameras:
    """The cameras of all images of people, of the sizes that an index of the images tells.

    Images whose size is not told are as large as all others, or else as far as keypoints reach.
    """
    ids = np.unique(people.image_ids).tolist()
    sizes: dict[int, tuple[float, float]] = {}
    sizes.update((image_id, size) for image_id in ids if index and (size := index.size(image_id)))
    told = set(sizes.values())
    reach = np.ceil(people.keypoints[people.labelled].max(0, initial=1)).tolist()
    width, height = told.pop() if len(told) == 1 else reach
    guessed = [image_id for image_id in ids if image_id not in sizes]
    sizes.update(dict.fromkeys(guessed, (width, height)))
    return Cameras(
        {image_id: camera_of(*sizes[image_id], field_of_view) for image_id in ids}, len(guessed), (width, height)
    )


def _rays(xyc: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """(N, T, K, 3) rays through the pixels (N, T, K, 3) of N people, each before a camera of their own."""
    focal, centres = np.array([c.focal for c in cameras]), np.array([c.centre for c in cameras])
    return Camera(1.0, (0.0, 0.0)).rays((xyc[..., :2] - centres[:, None, None]) / focal[:, None, None, None])


def _known_arrays(
    keypoints: np.ndarray, root: np.ndarray, poses: np.ndarray, unknown: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, root and spreads of Track3D, without those that are ``unknown``; ``poses`` (..., 4) have spreads."""
    keypoints = np.where(unknown[..., None], np.nan, keypoints).astype(np.float32)
    return keypoints, root.astype(np.float32), np.where(unknown, np.nan, poses[..., 3]).astype(np.float32)
