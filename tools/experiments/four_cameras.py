"""Make a 3D reference from the demo of Pose2Sim: one man, four calibrated cameras, 100 frames at 60 Hz.

    pip download pose2sim==0.10.49 --no-deps && unzip -q pose2sim-*.whl -d pose2sim
    python -m tools.experiments.four_cameras pose2sim/Pose2Sim/Demo_SinglePerson --weights weights --out four

MoveNet, whose ONNX files are in ``--weights``, estimates the man's pose in each view; its results are refined frame by
frame and over time. ``--out`` gets all results, ``ESTIMATOR_WAY_camN.json`` and for all views ``ESTIMATOR_WAY.json``,
and the reference in the axes of each camera, made of Thunder's poses refined over time: from all views
(``reference.json``) and from all but the camera's own (``others.json``). Track N is seen by camera N. Prints errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import click
import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from posefix import Refiner, formats
from posefix.cli.options import PATH, friendly
from posefix.core import geometry
from posefix.core.people import People, concatenate
from posefix.core.skeleton import load
from posefix.lifting.body import hips_of, limb_lengths
from posefix.lifting.measures import bones, length_variation, mpjpe, p_mpjpe
from posefix.lifting.poses import Camera, Poses3D, Track3D, write_poses3d
from posefix.media.video import VideoFrames
from posefix.motion.filters import interpolated
from posefix.motion.measures import low_passed
from posefix.motion.refining import refine_video
from tools.experiments.run_movenet import MoveNet

COCO = load("coco17")
BODY = COCO.groups != "face"  # his face is blurred, and two cameras see the back of his head
HIPS = hips_of(COCO)
ESTIMATORS = {"lightning": "movenet-lightning.onnx", "thunder": "movenet-thunder.onnx"}
WAYS = ("raw", "frames", "refined")
REFERENCE = "thunder_refined"
MARGIN = 0.2  # margin around the previous pose, as a share of its extent, to search for the next
MIN_CONFIDENCE = 0.2  # least confidence of the keypoints of that pose
OUTLIER = 20.0  # px, limit of reprojection errors
MAX_OUTLIERS = 1  # outlier views that a known keypoint can have
USUAL_ERROR = 6.0  # px, typical reprojection error
EFFECTIVE_POINTS = 100  # effective number of points, since errors of frames are correlated
USUAL_ANGLE = np.radians(0.25)  # typical rotation error of a camera; a weaker prior lets all cameras drift with the man
ROUNDS = 5  # of rotating the cameras
# Pixels of the corners of the board that he balances on, 0.6 by 2 m, in each view; NaN if hidden.
CORNERS = np.array(
    [
        [(np.nan, np.nan), (117.4, 981), (826, 1440), (575.4, 1523)],
        [(715, 999), (np.nan, np.nan), (np.nan, np.nan), (316.6, 1344)],
        [(829, 1494), (993, 1330), (133.7, 1136.3), (312, 1043.6)],
        [(386, 1617), (712, 1587), (629, 1009), (843, 947)],
    ]
)


@dataclass(frozen=True, eq=False)
class View:
    """A calibrated camera: ``matrix`` (3, 3), ``distortion`` (4,) as in OpenCV, and world to camera, in metres."""

    matrix: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    @property
    def pinhole(self) -> Camera:
        """The camera without its distortion."""
        return Camera(float(np.diag(self.matrix)[:2].mean()), (float(self.matrix[0, 2]), float(self.matrix[1, 2])))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Transform (..., 3) metres from world to camera coordinates."""
        return points @ self.rotation.T + self.translation


def read_views(path: Path) -> list[View]:
    """Read the cameras of a Qualisys calibration file (.qca.txt), which has pixels in 64ths and axes that look back."""
    views = []
    for camera in ElementTree.parse(path).getroot().iter("camera"):
        inner, outer = ({k: float(v) for k, v in camera.find(tag).attrib.items()} for tag in ("intrinsic", "transform"))
        matrix = np.eye(3)
        matrix[[0, 1], [0, 1]] = inner["focalLengthU"] / 64, inner["focalLengthV"] / 64
        matrix[:2, 2] = inner["centerPointU"] / 64, inner["centerPointV"] / 64
        distortion = np.array([inner[f"{name}Distortion{i}"] for name in ("radial", "tangental") for i in (1, 2)])
        axes = np.diag([1.0, -1.0, -1.0]) @ np.array([[outer[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
        views.append(View(matrix, distortion, axes, -axes @ np.array([outer[axis] for axis in "xyz"]) / 1000))
    return views


def follow(network: MoveNet, video: VideoFrames, number: int) -> People:
    """Find the one person of a video in each frame, around the previous pose."""
    box, detected = np.array([0.0, 0.0, *video.size]), []
    for index, frame in video:
        for _ in range(1 if index else 4):  # zoom from the whole first image to the person
            pose = network(frame, box)
            (box,) = geometry.pose_boxes(pose[None, :, :2], pose[None, :, 2] > MIN_CONFIDENCE, MARGIN)
        detected.append(pose)
    poses, frames = np.array(detected), np.arange(len(detected))
    scores, ids = poses[..., 2], np.full(len(detected), number)
    return People(COCO, poses[..., :2], scores, frames, person_scores=scores.mean(1), track_ids=ids)


def find(videos: Sequence[VideoFrames], weights: Path, out: Path) -> dict[str, list[People]]:
    """Return the man's poses in each view, by ``ESTIMATOR_WAY``; read from ``out`` if already there."""
    refiner, results = Refiner.from_pretrained(), {}
    for name in (f"{estimator}_{way}" for estimator in ESTIMATORS for way in WAYS):
        estimator, way = name.split("_")
        results[name] = []
        for number, video in enumerate(videos, 1):
            path = out / f"{name}_cam{number}.json"
            if not path.exists():
                if way == "raw":
                    people = follow(MoveNet(weights / ESTIMATORS[estimator]), video, number)
                else:
                    raw = results[f"{estimator}_raw"][number - 1]
                    people = refine_video(refiner, raw, video) if way == "refined" else refiner.refine(raw, video)
                formats.write(people, path, "coco")
            results[name].append(formats.read(path))
        merged = concatenate([replace(people, source=None) for people in results[name]])
        formats.write(merged, out / f"{name}.json", "coco")
    return results


def triangulate(views: Sequence[View], pixels: np.ndarray, confidences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangulate N points from the views that agree.

    Tries all sets of two or more views and takes the point with the least squared reprojection error over all views,
    weighted by confidence, with errors limited to ``OUTLIER`` (MSAC: Torr and Zisserman, 2000, over all sets).

    Args:
        views: V cameras.
        pixels: (V, N, 2).
        confidences: (V, N).

    Returns:
        (N, 3) float64 metres in the world, and (V, N) reprojection errors, px.
    """
    rays, count = undistorted(views, pixels), len(views)
    best = np.full(rays.shape[1], np.inf)
    points, errors = np.zeros((rays.shape[1], 3)), np.zeros(rays.shape[:2])
    for chosen in (subset for size in range(2, count + 1) for subset in combinations(range(count), size)):
        candidates = closest(views, rays, np.where(np.isin(np.arange(count), chosen)[:, None], confidences, 0))
        residuals = np.linalg.norm(reprojection(views, candidates, rays), axis=-1)
        cost = (confidences * np.minimum(residuals, OUTLIER) ** 2).sum(0)
        better = cost < best
        best = np.minimum(cost, best)
        points, errors = np.where(better[:, None], candidates, points), np.where(better, residuals, errors)
    return points, errors


def undistorted(views: Sequence[View], pixels: np.ndarray) -> np.ndarray:
    """Map pixels (V, N, 2) to the plane at depth 1, without distortion."""
    flat = [np.ascontiguousarray(points, np.float64).reshape(-1, 1, 2) for points in pixels]
    planes = [cv2.undistortPoints(f, view.matrix, view.distortion) for view, f in zip(views, flat, strict=True)]
    return np.stack(planes)[:, :, 0]


def reprojection(views: Sequence[View], points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return the reprojection errors (V, N, 2) px of points (N, 3) seen along rays (V, N, 2)."""
    local = np.stack([view.to_camera(points) for view in views])
    return np.array([view.pinhole.focal for view in views])[:, None, None] * (local[..., :2] / local[..., 2:] - rays)


def closest(views: Sequence[View], rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Triangulate rays (V, N, 2) by the direct linear transform, weighted by (V, N): (N, 3)."""
    maps = np.stack([np.column_stack([view.rotation, view.translation]) for view in views])
    depth = np.ones_like(weights)
    for _ in range(2):  # the second time, errors are those in the image
        rows = rays[..., None] * maps[:, None, 2:] - maps[:, None, :2]  # (V, N, 2, 4)
        rows = np.moveaxis(rows * (np.sqrt(weights) / depth)[..., None, None], 0, 1).reshape(weights.shape[1], -1, 4)
        point = np.linalg.eigh(np.swapaxes(rows, 1, 2) @ rows)[1][..., 0]
        point = point[:, :3] / point[:, 3:]
        depth = np.stack([view.to_camera(point)[:, 2] for view in views])
    return point


def turned(views: Sequence[View], pixels: np.ndarray, confidences: np.ndarray) -> list[View]:
    """Rotate the cameras so that the poses fit best; arguments as for :func:`triangulate`.

    The calibration of the videos is inaccurate. Finds three small angles per camera by iteratively reweighted least
    squares (Cauchy weights); positions of the cameras, and so the scale, are kept.
    """
    rays = undistorted(views, pixels)

    def turn(angles: np.ndarray) -> list[View]:
        rotations = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix()
        pairs = zip(views, rotations, strict=True)
        return [replace(v, rotation=r @ v.rotation, translation=r @ v.translation) for v, r in pairs]

    def errors(angles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        cameras = turn(angles)
        residuals = reprojection(cameras, closest(cameras, rays, weights), rays)
        residuals *= np.sqrt(weights * EFFECTIVE_POINTS / weights.shape[1])[..., None] / USUAL_ERROR
        return np.append(residuals, angles / USUAL_ANGLE)

    angles = np.zeros(3 * len(views))
    for _ in range(ROUNDS):
        residuals = triangulate(turn(angles), pixels, confidences)[1]
        weights = confidences / (1 + (residuals / USUAL_ERROR) ** 2)
        angles = least_squares(errors, angles, args=(weights,), max_nfev=6).x
    return turn(angles)


def body_of(people: Sequence[People]) -> tuple[np.ndarray, np.ndarray]:
    """Return (V, N, 2) pixels and (V, N) confidences of the body's keypoints in all frames, in order, for V views."""
    ordered = [view[np.argsort(view.image_ids)] for view in people]
    pixels = np.stack([view.keypoints[:, BODY].reshape(-1, 2) for view in ordered])
    return pixels.astype(np.float64), np.stack([view.scores[:, BODY].ravel() for view in ordered]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Reference:
    """The man in T frames: (T, K, 3) metres in the world, (V, T, K) reprojection errors in px, and the cameras."""

    views: Sequence[View]
    world: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, views: Sequence[View], people: Sequence[People], fps: float, without: int | None = None) -> Reference:
        """Triangulate the poses in each view of rotated cameras; ``without`` leaves a view out.

        Keypoints of the face, and those with more than ``MAX_OUTLIERS`` outlier views, are NaN.
        """
        pixels, confidences = body_of(people)
        used = [i for i in range(len(views)) if i != without]
        points, errors = triangulate([views[i] for i in used], pixels[used], confidences[used])
        t = len(people[0])
        points, errors = points.reshape(t, -1, 3), errors.reshape(len(used), t, -1)
        valid = (errors >= OUTLIER).sum(0) <= MAX_OUTLIERS
        smooth = low_passed(interpolated(np.arange(t), points, valid), np.ones(t, bool), fps)
        world = np.full((t, len(BODY), 3), np.nan)
        world[:, BODY] = np.where(valid[..., None], smooth, np.nan)
        return cls(views, world, errors)

    def seen(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (T, K, 3) metres from the mid-hip, and (T, 3) the mid-hip from the camera, in a view's coordinates."""
        points = self.views[number].to_camera(self.world)
        root = points[:, HIPS].mean(1)
        return points - root[:, None], root

    def track(self, number: int, times: np.ndarray, spreads: np.ndarray) -> Track3D:
        """Return the track in a view's coordinates; ``spreads`` (T, K) metres are the uncertainty of each keypoint."""
        keypoints, root = (array.astype(np.float32) for array in self.seen(number))
        frames, camera = np.arange(len(times)), self.views[number].pinhole
        return Track3D(number + 1, frames, times, keypoints, root, spreads, camera)


def corners(views: Sequence[View]) -> str:
    """Report how well the corners of the board fit, which were not used for fitting."""
    visible = np.isfinite(CORNERS[..., 0])
    rays = undistorted(views, np.nan_to_num(CORNERS))
    points = closest(views, rays, visible.astype(float))
    rms = np.sqrt((reprojection(views, points, rays)[visible] ** 2).sum(-1).mean())
    sides = [float(np.linalg.norm(points[a] - points[b])) for a, b in ((0, 1), (2, 3), (0, 2), (1, 3))]
    return f"corners of the board {rms:.1f} px off (rms), its sides {', '.join(f'{side:.3f}' for side in sides)} m"


@click.command(help=__doc__.splitlines()[0])
@click.argument("demo", type=PATH)
@click.option("--weights", type=PATH, required=True, help="Folder of MoveNet's ONNX files.")
@click.option("--out", type=PATH, required=True, help="Folder for poses and references.")
@friendly
def main(demo: Path, weights: Path, out: Path) -> None:
    """Write poses and references, and print the uncertainty of these."""
    out.mkdir(parents=True, exist_ok=True)
    views = read_views(demo / "calibration" / "Calib.qca.txt")
    videos = [VideoFrames(demo / "videos" / f"cam{number:02}.mp4") for number in range(1, len(views) + 1)]
    times, numbers = videos[0].times, range(len(views))
    fps, people = float(1 / np.median(np.diff(times))), find(videos, weights, out)
    click.echo(f"as calibrated: {corners(views)}")
    all_views = {name: Reference.of(turned(views, *body_of(group)), group, fps) for name, group in people.items()}
    chosen = all_views[REFERENCE]
    turns = [Rotation.from_matrix(new.rotation @ old.rotation.T) for new, old in zip(chosen.views, views, strict=True)]
    degrees = np.degrees([turn.magnitude() for turn in turns])
    click.echo(f"turned by {degrees.round(2)} degrees: {corners(chosen.views)}")

    def distance_of(other: Reference, cameras: Sequence[int]) -> str:
        pairs = [(other.seen(i)[0], chosen.seen(i)[0]) for i in cameras]
        unaligned, aligned = (np.nanmean([measure(*pair) for pair in pairs]) for measure in (mpjpe, p_mpjpe))
        return f"{unaligned:.1f} mm, aligned {aligned:.1f} mm"

    for name, other in all_views.items():
        lengths = limb_lengths(other.world, bones(COCO))
        click.echo(
            f"{name}: {np.median(other.errors):.1f} px median, {np.quantile(other.errors, 0.9):.1f} px 90 %; "
            f"known {np.isfinite(other.world[:, BODY, 0]).mean():.1%}; bone lengths {length_variation(lengths):.1f} %; "
            f"to the reference {distance_of(other, numbers)}"
        )
    tracks: dict[str, list[Track3D]] = {"reference": [], "others": []}
    for i in numbers:
        others = Reference.of(chosen.views, people[REFERENCE], fps, without=i)
        alternatives = [other for other in (*all_views.values(), others) if other is not chosen]
        distances = np.array([np.linalg.norm(other.seen(i)[0] - chosen.seen(i)[0], axis=-1) for other in alternatives])
        valid = np.isfinite(distances)
        spreads = np.where(valid.any(0), np.nansum(distances, axis=0) / np.maximum(valid.sum(0), 1), np.nan)
        tracks["reference"].append(chosen.track(i, times, spreads))
        tracks["others"].append(others.track(i, times, spreads))
        click.echo(f"camera {i + 1}, without it: {distance_of(others, [i])}")
    for name, view_tracks in tracks.items():
        write_poses3d(Poses3D(COCO, fps, tuple(view_tracks)), out / f"{name}.json")


if __name__ == "__main__":
    main()
