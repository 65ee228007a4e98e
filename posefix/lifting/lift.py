"""Lift tracks of 2D poses, and poses of single images, into depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError, require
from posefix.core.people import People
from posefix.core.skeleton import Skeleton
from posefix.lifting.body import HEIGHT, LIMB_PARTS, limb_lengths, limbs_of, views
from posefix.lifting.checkpoint import DEFAULT, LIFTING
from posefix.lifting.network import LiftingNetwork
from posefix.lifting.poses import Camera, Poses3D, Track3D
from posefix.motion.denoise import FASTEST, SLOWEST, by_windows, normalized, on_even_grid
from posefix.motion.filters import segments
from posefix.motion.tracks import Track

WINDOW, OVERLAP = 54, 27  # frames
TOGETHER = 64  # windows in a batch
FIELD_OF_VIEW = 60.0  # degrees, along the longer side of an image, of a camera that is not known
FEWEST = 4  # keypoints that say what a person does, and how far away
STILL_RATE = 30.0  # frames a second of which the network is told for a single image
LEAST_SPREAD = 1e-3  # metres
TRUSTED, ROUNDS = 0.5, 3  # how far off a ray may be that is trusted by half, in spreads; steps towards the rays
SMOOTHED = 0.15  # seconds, standard deviation of the Gaussian over which the distance is averaged


def camera_of(width: float, height: float, field_of_view: float = FIELD_OF_VIEW) -> Camera:
    """A camera that takes images of this size, and ``field_of_view`` degrees along the longer side."""
    focal = max(width, height) / 2 / np.tan(np.deg2rad(field_of_view) / 2)
    return Camera(float(focal), (width / 2, height / 2))


class Lifter:
    """A trained network that lifts 2D poses of any skeleton with keypoints that it knows.

    What it gives is of a person ``height`` metres tall, since an image does not say how large somebody is.

    Args:
        network: the lifting network.
        skeleton: of the 2D poses.
        height: of the people, in metres.
    """

    def __init__(self, network: LiftingNetwork, skeleton: Skeleton, height: float = HEIGHT) -> None:
        self.network, self.skeleton = network, network.skeleton
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

    def tracks(self, tracks: Sequence[Track], camera: Camera) -> Poses3D:
        """Lift tracks of a video.

        Frames that a track misses are filled. Arms and legs keep their length over a track. Keypoints that a track
        never has are not known, the middle of the hips is. The rate of the poses is that of frame numbers over times.

        Args:
            tracks: with keypoints in pixels, and the skeleton of the lifter.
            camera: through which all frames are seen.
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
        xyc = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
        xyc[~people.labelled] = 0
        tracks = self._known(xyc.astype(np.float64))
        poses = self._lift(tracks[:, None], STILL_RATE)[:, 0]
        found = []
        for i, image_id in enumerate(people.image_ids.tolist()):
            pose, given = poses[i, None], tracks[i, None]
            keypoints, root = self._in_camera(pose, given, self._directions(given, camera(image_id)), camera(image_id))
            frames, track_id = np.array([image_id], np.int64), int(people.track_ids[i])
            unknown = given[..., 2] <= 0
            found.append(_track3d(track_id, frames, np.zeros(1), keypoints, root, pose, unknown, camera(image_id)))
        return Poses3D(self.skeleton, STILL_RATE, tuple(found))

    def _track(self, track: Track, camera: Camera) -> Track3D:
        given = np.isfinite(track.keypoints).all(-1) & (track.keypoints[..., 2] > 0)
        xyc = self._known(np.where(given[..., None], track.keypoints, 0))
        poses = np.full((*xyc.shape[:2], 4), np.nan)
        directions = self._directions(xyc, camera)
        parts = segments(track.times, track.keypoints, given)
        for part in parts:
            directions[part] = between(track.times[part], directions[part])
            if part.stop - part.start < 2:
                poses[part] = self._lift(xyc[None, part], STILL_RATE)[0]
            else:
                poses[part] = on_even_grid(track.times[part], xyc[part], self._by_windows)
        keypoints, root = self._in_camera(poses, xyc, directions, camera)
        for part in parts:
            root[part] = smoothed_distance(between(track.times[part], root[part]), track.times[part])
        unknown = np.broadcast_to(~(xyc[..., 2] > 0).any(0), xyc.shape[:2])
        return _track3d(track.track_id, track.frames, track.times, keypoints, root, poses, unknown, camera)

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
        rate = torch.full((len(windows),), float(np.clip(fps, SLOWEST, FASTEST)))
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

    def _directions(self, xyc: np.ndarray, camera: Camera) -> np.ndarray:
        """(T, 3) lines of sight to the hips, or to all keypoints where one of them is not given; NaN without any.

        ``xyc`` (T, K, 3) are x, y in pixels and score.
        """
        given = xyc[..., 2] > 0
        hips = np.isin(np.arange(given.shape[1]), self.network.hips)
        placed = np.asarray(given[:, self.network.hips].all(1))
        seen: np.ndarray = np.where(placed[:, None], hips, given)
        seen = seen[..., None].astype(np.float64)
        count = seen.sum(1)
        middle = (seen * camera.rays(xyc[..., :2])).sum(1) / np.where(count > 0, count, np.nan)
        return np.asarray(middle)

    def _in_camera(
        self, poses: np.ndarray, xyc: np.ndarray, directions: np.ndarray, camera: Camera
    ) -> tuple[np.ndarray, np.ndarray]:
        """Poses (T, K, 4) along lines of sight (T, 3) in the camera's axes: keypoints and root as of Track3D."""
        given = (xyc[..., 2] > 0) & np.isfinite(poses).all(-1)
        spreads = np.maximum(poses[..., 3], LEAST_SPREAD)
        weights = np.where(given, 1 / spreads**2, 0)
        keypoints = np.einsum("tji,tkj->tki", views(directions), poses[..., :3])
        return self._reconciled(keypoints, camera.rays(xyc[..., :2]), spreads, weights)

    def _reconciled(
        self, keypoints: np.ndarray, rays: np.ndarray, spreads: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring poses near the rays along which they are seen, with limbs of one length: keypoints and root.

        In turn keypoints move towards their rays, limbs get their length again, and the person is placed anew. The
        further off a ray is, for how far off the network expects to be, the less it is trusted (as in Geman and
        McClure's robust loss): an estimator that errs does not bend the pose.
        """
        trust = np.ones_like(weights)
        for _ in range(2):  # the second time without what is far off
            root = root_of(keypoints, rays, trust * weights)
            points = keypoints + root[:, None]
            off = np.linalg.norm(rays * points[..., 2:] - points, axis=-1)
            trust = np.nan_to_num((weights > 0) / (1 + (off / (TRUSTED * spreads)) ** 2))
        for _ in range(ROUNDS):
            points = keypoints + np.nan_to_num(root)[:, None]
            points += trust[..., None] * (rays * points[..., 2:] - points)
            points = with_constant_limbs(points, self._limbs)
            keypoints = points - points[:, self.network.hips].mean(1, keepdims=True)
            placed = root_of(keypoints, rays, trust * weights)
            root = np.where(np.isfinite(placed), placed, root)
        return keypoints, root


def _track3d(
    track_id: int,
    frames: np.ndarray,
    times: np.ndarray,
    keypoints: np.ndarray,
    root: np.ndarray,
    poses: np.ndarray,
    unknown: np.ndarray,
    camera: Camera,
) -> Track3D:
    """A track without what is ``unknown`` (T, K) bool; ``poses`` (T, K, 4) have the spreads."""
    keypoints = np.where(unknown[..., None], np.nan, keypoints).astype(np.float32)
    spreads = np.where(unknown, np.nan, poses[..., 3]).astype(np.float32)
    return Track3D(track_id, frames, times, keypoints, root.astype(np.float32), spreads, camera)


def between(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(T, D) values at times (T,) with rows that are NaN on straight lines between those before and after."""
    known = np.isfinite(values).all(1)
    if known.all() or not known.any():
        return values
    return np.stack([np.interp(times, times[known], column[known]) for column in values.T], axis=1)


def root_of(keypoints: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(T, 3) where poses are whose keypoints (T, K, 3) are seen along rays (T, K, 3) of depth 1: by least squares.

    ``weights`` (T, K) are 0 where a keypoint is not seen. NaN with fewer than four, or if they are behind the camera.
    """
    u, v, w = rays[..., 0], rays[..., 1], weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    points = np.where(w[..., None] > 0, keypoints, 0)
    right, down = u * points[..., 2] - points[..., 0], v * points[..., 2] - points[..., 1]
    s, su, sv, s2 = ((w * value).sum(1) for value in (np.ones_like(u), u, v, u**2 + v**2))
    zero = np.zeros_like(s)
    matrix = np.stack([s, zero, -su, zero, s, -sv, -su, -sv, s2], axis=-1).reshape(-1, 3, 3)
    target = np.stack([(w * right).sum(1), (w * down).sum(1), -(w * (u * right + v * down)).sum(1)], axis=-1)
    solvable = (np.count_nonzero(w, axis=1) >= FEWEST) & (np.linalg.det(matrix) > 1e-12)
    matrix[~solvable] = np.eye(3)
    root = np.linalg.solve(matrix, target[..., None])[..., 0]
    root[~solvable | (root[:, 2] <= 0)] = np.nan
    return np.asarray(root)


def smoothed_distance(root: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(T, 3) roots at the distances that a Gaussian over time gives; their lines of sight stay as they are.

    How far away somebody is rests on their apparent size, which is noisy; where they are in the image is not.
    ``times`` (T,) are seconds, at about even distances.
    """
    known = np.isfinite(root).all(1)
    if len(root) < 2 or not known.any():
        return root
    smooth = require("scipy.ndimage", "video", "lifting").gaussian_filter1d
    frames = SMOOTHED / float(np.median(np.diff(times)))
    distance = np.where(known, np.linalg.norm(np.where(known[:, None], root, 1), axis=1), 1)
    total, weight = (
        smooth(values, frames, mode="constant") for values in (known * np.log(distance), known.astype(float))
    )
    factor = np.exp(total / np.maximum(weight, 1e-12)) / distance
    return np.asarray(root * np.where(known, factor, 1)[:, None])


def with_constant_limbs(keypoints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(T, K, 3) poses whose upper arms, forearms, thighs and shanks have the median length of the track.

    Left and right are of one length. Joints move along their limb, with what hangs on them.

    Args:
        keypoints: (T, K, 3), NaN where nothing is known.
        limbs: as :func:`posefix.lifting.body.limbs_of` gives them.
    """
    found = keypoints.copy()
    lengths = limb_lengths(keypoints, limbs).reshape(len(keypoints), len(LIMB_PARTS), 2)
    for part, ends in zip(range(len(LIMB_PARTS)), limbs.reshape(-1, 2, 2), strict=True):
        known = lengths[:, part][np.isfinite(lengths[:, part])]
        if not len(known):
            continue
        for start, end in ends:
            limb = keypoints[:, end] - keypoints[:, start]
            length = np.linalg.norm(limb, axis=-1, keepdims=True)
            found[:, end] = found[:, start] + limb * (np.median(known) / np.maximum(length, 1e-6))
    return np.asarray(found)
