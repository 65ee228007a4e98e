"""Make a reference in depth from the demo of Pose2Sim: one man, four calibrated cameras, 100 frames at 60 Hz.

    pip download pose2sim==0.10.49 --no-deps && unzip -q pose2sim-*.whl -d pose2sim
    python -m tools.experiments.four_cameras pose2sim/Pose2Sim/Demo_SinglePerson --weights weights --out four

MoveNet, whose ONNX files are in ``--weights``, finds the man in each view; what it finds is refined frame by frame and
over time. ``--out`` gets all of that, ``ESTIMATOR_WAY_camN.json`` and of all views ``ESTIMATOR_WAY.json``, and the
reference, made of Thunder's poses refined over time, in the axes of each camera: from all views (``reference.json``)
and from all but the camera's own (``others.json``). Track N is the man as seen by camera N. Printed is how sure the
reference is.
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
BODY = COCO.groups != "face"  # the man's face is blurred, and two cameras see the back of his head
HIPS = hips_of(COCO)
ESTIMATORS = {"lightning": "movenet-lightning.onnx", "thunder": "movenet-thunder.onnx"}
WAYS = ("raw", "frames", "refined")
REFERENCE = "thunder_refined"
MARGIN = 0.2  # around the last pose on each side, of its extent, where the next is looked for
SEEN = 0.2  # confidence of keypoints that count for this
OUTLIER = 20.0  # px, errors of reprojection beyond count as this
DISAGREE = 1  # views that may, or else nothing is known
USUAL = 6.0  # px, error of reprojection
INDEPENDENT = 100  # points: what many frames say of the cameras, as their errors are alike
TURN = np.radians(0.25)  # by which a camera is usually off; less lets the man drift, whom all can follow by turning
ROUNDS = 5  # of turning the cameras
# Pixels of the corners of the board on which he balances, which is 0.6 by 2 m, in each view; NaN where hidden.
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
    """A calibrated camera: ``matrix`` (3, 3), ``distortion`` (4,) as OpenCV's, and world to camera, in metres."""

    matrix: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    @property
    def pinhole(self) -> Camera:
        """The camera without its distortion."""
        return Camera(float(np.diag(self.matrix)[:2].mean()), (float(self.matrix[0, 2]), float(self.matrix[1, 2])))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) metres in the world to the camera's axes."""
        return points @ self.rotation.T + self.translation


def read_views(path: Path) -> list[View]:
    """The cameras of a calibration file of Qualisys (.qca.txt), which has pixels in 64ths and axes that look back."""
    views = []
    for camera in ElementTree.parse(path).getroot().iter("camera"):
        inner, outer = ({k: float(v) for k, v in camera.find(n).attrib.items()} for n in ("intrinsic", "transform"))
        matrix = np.eye(3)
        matrix[[0, 1], [0, 1]] = inner["focalLengthU"] / 64, inner["focalLengthV"] / 64
        matrix[:2, 2] = inner["centerPointU"] / 64, inner["centerPointV"] / 64
        distortion = np.array([inner[f"{name}Distortion{i}"] for name in ("radial", "tangental") for i in (1, 2)])
        axes = np.diag([1.0, -1.0, -1.0]) @ np.array([[outer[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
        views.append(View(matrix, distortion, axes, -axes @ np.array([outer[axis] for axis in "xyz"]) / 1000))
    return views


def follow(network: MoveNet, video: VideoFrames, number: int) -> People:
    """Find the one person of a video in each frame, around where they were in the one before."""
    box, found = np.array([0.0, 0.0, *video.size]), []
    for index, frame in video:
        for _ in range(1 if index else 4):  # from the whole first image to the person
            pose = network(frame, box)
            (box,) = geometry.pose_boxes(pose[None, :, :2], pose[None, :, 2] > SEEN, MARGIN)
        found.append(pose)
    poses, frames = np.array(found), np.arange(len(found))
    scores, ids = poses[..., 2], np.full(len(found), number)
    return People(COCO, poses[..., :2], scores, frames, person_scores=scores.mean(1), track_ids=ids)


def find(videos: Sequence[VideoFrames], weights: Path, out: Path) -> dict[str, list[People]]:
    """The man in each view, by ``ESTIMATOR_WAY``; read from ``out`` where he is there."""
    refiner, found = Refiner.from_pretrained(), {}
    for name in (f"{estimator}_{way}" for estimator in ESTIMATORS for way in WAYS):
        estimator, way = name.split("_")
        found[name] = []
        for number, video in enumerate(videos, 1):
            path = out / f"{name}_cam{number}.json"
            if not path.exists():
                if way == "raw":
                    people = follow(MoveNet(weights / ESTIMATORS[estimator]), video, number)
                else:
                    raw = found[f"{estimator}_raw"][number - 1]
                    people = refine_video(refiner, raw, video) if way == "refined" else refiner.refine(raw, video)
                formats.write(people, path, "coco")
            found[name].append(formats.read(path))
        together = concatenate([replace(people, source=None) for people in found[name]])
        formats.write(together, out / f"{name}.json", "coco")
    return found


def triangulate(views: Sequence[View], pixels: np.ndarray, confidences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangulate N points from the views that agree.

    Of all sets of two or more views, that is taken whose point has the least squared error of reprojection over all
    views, weighted by confidence, with larger errors counted as ``OUTLIER`` (MSAC: Torr and Zisserman, 2000, over all
    sets).

    Args:
        views: V cameras.
        pixels: (V, N, 2).
        confidences: (V, N).

    Returns:
        (N, 3) float64 metres in the world, and (V, N) errors of reprojection, px.
    """
    rays, count = undistorted(views, pixels), len(views)
    best = np.full(rays.shape[1], np.inf)
    points, errors = np.zeros((rays.shape[1], 3)), np.zeros(rays.shape[:2])
    for chosen in (s for size in range(2, count + 1) for s in combinations(range(count), size)):
        found = closest(views, rays, np.where(np.isin(np.arange(count), chosen)[:, None], confidences, 0))
        off = np.linalg.norm(reprojection(views, found, rays), axis=-1)
        cost = (confidences * np.minimum(off, OUTLIER) ** 2).sum(0)
        better = cost < best
        best = np.minimum(cost, best)
        points, errors = np.where(better[:, None], found, points), np.where(better, off, errors)
    return points, errors


def undistorted(views: Sequence[View], pixels: np.ndarray) -> np.ndarray:
    """(V, N, 2) pixels to where they are seen on the plane at depth 1, without distortion."""
    flat = [np.ascontiguousarray(seen, np.float64).reshape(-1, 1, 2) for seen in pixels]
    planes = [cv2.undistortPoints(f, view.matrix, view.distortion) for view, f in zip(views, flat, strict=True)]
    return np.stack(planes)[:, :, 0]


def reprojection(views: Sequence[View], points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(V, N, 2) px by which points (N, 3) are seen off the rays (V, N, 2)."""
    seen = np.stack([view.to_camera(points) for view in views])
    return np.array([view.pinhole.focal for view in views])[:, None, None] * (seen[..., :2] / seen[..., 2:] - rays)


def closest(views: Sequence[View], rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, 3) least-squares points of rays (V, N, 2) by the direct linear transform, weighted by (V, N)."""
    maps = np.stack([np.column_stack([view.rotation, view.translation]) for view in views])
    depth = np.ones_like(weights)
    for _ in range(2):  # the second time, errors count as they are in the image
        rows = rays[..., None] * maps[:, None, 2:] - maps[:, None, :2]  # (V, N, 2, 4)
        rows = np.moveaxis(rows * (np.sqrt(weights) / depth)[..., None, None], 0, 1).reshape(weights.shape[1], -1, 4)
        point = np.linalg.eigh(np.swapaxes(rows, 1, 2) @ rows)[1][..., 0]
        point = point[:, :3] / point[:, 3:]
        depth = np.stack([view.to_camera(point)[:, 2] for view in views])
    return point


def turned(views: Sequence[View], pixels: np.ndarray, confidences: np.ndarray) -> list[View]:
    """The cameras, each turned so that the poses fit best; arguments as of :func:`triangulate`.

    Of each, three angles are sought by least squares, the smaller the better, with the errors reweighted as of Cauchy's
    distribution; where the cameras stand, and so the scale, stays. The calibration that comes with the videos is off.
    """
    rays = undistorted(views, pixels)

    def turn(angles: np.ndarray) -> list[View]:
        turns = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix()
        pairs = zip(views, turns, strict=True)
        return [replace(v, rotation=by @ v.rotation, translation=by @ v.translation) for v, by in pairs]

    def errors(angles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        cameras = turn(angles)
        off = reprojection(cameras, closest(cameras, rays, weights), rays)
        off *= np.sqrt(weights * INDEPENDENT / weights.shape[1])[..., None] / USUAL
        return np.append(off, angles / TURN)

    angles = np.zeros(3 * len(views))
    for _ in range(ROUNDS):
        off = triangulate(turn(angles), pixels, confidences)[1]
        weights = confidences / (1 + (off / USUAL) ** 2)
        angles = least_squares(errors, angles, args=(weights,), max_nfev=6).x
    return turn(angles)


def body_of(people: Sequence[People]) -> tuple[np.ndarray, np.ndarray]:
    """(V, N, 2) pixels and (V, N) confidences of the body's keypoints in all frames, in order, of V views."""
    ordered = [one[np.argsort(one.image_ids)] for one in people]
    pixels = np.stack([one.keypoints[:, BODY].reshape(-1, 2) for one in ordered])
    return pixels.astype(np.float64), np.stack([one.scores[:, BODY].ravel() for one in ordered]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Reference:
    """The man in T frames: (T, K, 3) metres in the world, (V, T, K) errors of reprojection in px, and the cameras."""

    views: Sequence[View]
    world: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, views: Sequence[View], people: Sequence[People], fps: float, without: int | None = None) -> Reference:
        """From what was found in each view of cameras that were turned; ``without`` leaves a view out.

        Keypoints of the face, and those on which more than ``DISAGREE`` views do, are NaN.
        """
        pixels, confidences = body_of(people)
        used = [i for i in range(len(views)) if i != without]
        points, errors = triangulate([views[i] for i in used], pixels[used], confidences[used])
        t = len(people[0])
        points, errors = points.reshape(t, -1, 3), errors.reshape(len(used), t, -1)
        known = (errors >= OUTLIER).sum(0) <= DISAGREE
        smooth = low_passed(interpolated(np.arange(t), points, known), np.ones(t, bool), fps)
        world = np.full((t, len(BODY), 3), np.nan)
        world[:, BODY] = np.where(known[..., None], smooth, np.nan)
        return cls(views, world, errors)

    def seen(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(T, K, 3) metres from the middle of the hips and (T, 3) from the camera, in the axes of a view."""
        points = self.views[number].to_camera(self.world)
        root = points[:, HIPS].mean(1)
        return points - root[:, None], root

    def track(self, number: int, times: np.ndarray, spreads: np.ndarray) -> Track3D:
        """In the axes of a view; ``spreads`` (T, K) metres say how sure each keypoint is."""
        keypoints, root = (part.astype(np.float32) for part in self.seen(number))
        frames, camera = np.arange(len(times)), self.views[number].pinhole
        return Track3D(number + 1, frames, times, keypoints, root, spreads, camera)


def corners(views: Sequence[View]) -> str:
    """Say how well the corners of the board fit, which nothing was fitted to."""
    visible = np.isfinite(CORNERS[..., 0])
    rays = undistorted(views, np.nan_to_num(CORNERS))
    points = closest(views, rays, visible.astype(float))
    off = np.sqrt((reprojection(views, points, rays)[visible] ** 2).sum(-1).mean())
    sides = [float(np.linalg.norm(points[a] - points[b])) for a, b in ((0, 1), (2, 3), (0, 2), (1, 3))]
    return f"corners of the board {off:.1f} px off (rms), its sides {', '.join(f'{side:.3f}' for side in sides)} m"


@click.command(help=__doc__.splitlines()[0])
@click.argument("demo", type=PATH)
@click.option("--weights", type=PATH, required=True, help="Folder of MoveNet's ONNX files.")
@click.option("--out", type=PATH, required=True, help="Folder for poses and references.")
@friendly
def main(demo: Path, weights: Path, out: Path) -> None:
    """Write poses and references, and print how sure these are."""
    out.mkdir(parents=True, exist_ok=True)
    views = read_views(demo / "calibration" / "Calib.qca.txt")
    videos = [VideoFrames(demo / "videos" / f"cam{number:02}.mp4") for number in range(1, len(views) + 1)]
    times, numbers = videos[0].times, range(len(views))
    fps, people = float(1 / np.median(np.diff(times))), find(videos, weights, out)
    click.echo(f"as calibrated: {corners(views)}")
    all_views = {n: Reference.of(turned(views, *body_of(found)), found, fps) for n, found in people.items()}
    chosen = all_views[REFERENCE]
    turns = [Rotation.from_matrix(new.rotation @ old.rotation.T) for new, old in zip(chosen.views, views, strict=True)]
    degrees = np.degrees([turn.magnitude() for turn in turns])
    click.echo(f"turned by {degrees.round(2)} degrees: {corners(chosen.views)}")

    def apart(other: Reference, cameras: Sequence[int]) -> str:
        pairs = [(other.seen(i)[0], chosen.seen(i)[0]) for i in cameras]
        lying, aligned = (np.nanmean([measure(*pair) for pair in pairs]) for measure in (mpjpe, p_mpjpe))
        return f"{lying:.1f} mm, aligned {aligned:.1f} mm"

    for name, other in all_views.items():
        lengths = limb_lengths(other.world, bones(COCO))
        click.echo(
            f"{name}: {np.median(other.errors):.1f} px median, {np.quantile(other.errors, 0.9):.1f} px 90 %; "
            f"known {np.isfinite(other.world[:, BODY, 0]).mean():.1%}; bone lengths {length_variation(lengths):.1f} %; "
            f"to the reference {apart(other, numbers)}"
        )
    tracks: dict[str, list[Track3D]] = {"reference": [], "others": []}
    for i in numbers:
        others = Reference.of(chosen.views, people[REFERENCE], fps, without=i)
        rest = [other for other in (*all_views.values(), others) if other is not chosen]
        off = np.array([np.linalg.norm(other.seen(i)[0] - chosen.seen(i)[0], axis=-1) for other in rest])
        known = np.isfinite(off)
        spreads = np.where(known.any(0), np.nansum(off, axis=0) / np.maximum(known.sum(0), 1), np.nan)
        tracks["reference"].append(chosen.track(i, times, spreads))
        tracks["others"].append(others.track(i, times, spreads))
        click.echo(f"camera {i + 1}, without it: {apart(others, [i])}")
    for name, seen in tracks.items():
        write_poses3d(Poses3D(COCO, fps, tuple(seen)), out / f"{name}.json")


if __name__ == "__main__":
    main()
