"""Measure lifting on held-out motion capture, beside simple baselines.

    python -m tools.experiments.lift_mocap data/mocap --checkpoint posefix-lift

Random people in motion are projected by random cameras for 96 frames. Inputs are their exact 2D poses, poses with an
estimator's errors (``synth/tracks.py``), and these after the sequence denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from posefix.cli.options import PATH, friendly, option
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from posefix.lifting.body import hips_of, limb_lengths, views
from posefix.lifting.lift import Lifter
from posefix.lifting.measures import bones, length_variation, mpjpe, n_mpjpe, p_mpjpe
from posefix.lifting.network import INIT_SCALE
from posefix.lifting.poses import Camera
from posefix.lifting.training import Scene, denoised, draw_scene
from posefix.motion.denoise import normalized
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import MOTION
from posefix.motion.tracks import Track

COCO = skeletons.load("coco17")
HIPS = hips_of(COCO)
FRAMES, MAX_POSES, RIDGE = 96, 20_000, 1e-2  # frames of a track; training poses of the baselines; of the linear map
PIXELS = 150.0  # size of a person
Method = Callable[[Scene], np.ndarray]  # returns (N, T, K, 3) metres along the line of sight


def exact(scene: Scene) -> Scene:
    """Return the scene with true 2D poses, all of score 1."""
    return replace(scene, tracks=np.concatenate([scene.exact, np.ones_like(scene.exact[..., :1])], axis=-1))


def flat(scene: Scene) -> np.ndarray:
    """Return (N T, 2 K) 2D poses from the mid-hip, scaled to size 1; missing keypoints are at the mid-hip."""
    xy, valid = scene.tracks[..., :2], scene.tracks[..., 2:] > 0
    hips = np.where(valid, xy, 0)[:, :, HIPS].sum(2, keepdims=True)
    positions = np.where(valid, xy - hips / np.maximum(valid[:, :, HIPS].sum(2, keepdims=True), 1), 0)
    size = np.sqrt((positions**2).mean((2, 3), keepdims=True)) + 1e-6
    vectors: np.ndarray = (positions / size).reshape(-1, 2 * len(COCO))
    return vectors


def constant_depth(scene: Scene) -> np.ndarray:
    """Put all keypoints at the depth of the hips."""
    positions = scene.tracks[..., :2] - scene.tracks[:, :, HIPS, :2].mean(2, keepdims=True)
    return np.concatenate([INIT_SCALE * positions, np.zeros_like(positions[..., :1])], axis=-1)


def linear_map(training: Scene) -> Method:
    """Map 2D poses to 3D poses by ridge regression."""
    x, y = flat(training)[:MAX_POSES], training.keypoints.reshape(-1, 3 * len(COCO))[:MAX_POSES]
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
    return lambda scene: (flat(scene) @ weights).reshape(scene.keypoints.shape)


def nearest_neighbour(training: Scene) -> Method:
    """Return the 3D pose of the training pose with the most similar 2D pose."""
    x, y = flat(training)[:MAX_POSES], training.keypoints.reshape(-1, len(COCO), 3)[:MAX_POSES]

    def lift(scene: Scene) -> np.ndarray:
        nearest = [np.argmin((x**2).sum(1) - 2 * chunk @ x.T, axis=1) for chunk in np.array_split(flat(scene), 50)]
        return y[np.concatenate(nearest)].reshape(scene.keypoints.shape)

    return lift


def depth_of_the_denoiser(scene: Scene) -> np.ndarray:
    """Return positions and depth as predicted by the sequence denoiser."""
    windows, _, _ = normalized(scene.tracks)
    with torch.inference_mode():
        output = MOTION.load()(torch.from_numpy(windows), torch.from_numpy(scene.fps.astype(np.float32)))
    poses = torch.cat([output.keypoints, output.depths[..., None]], dim=-1).numpy()
    poses[..., :2] -= poses[:, :, HIPS, :2].mean(2, keepdims=True)
    return INIT_SCALE * poses


def lifted(lifter: Lifter, alone: bool) -> Method:
    """Lift by the lifting network, as in ``posefix lift``."""

    def lift(scene: Scene) -> np.ndarray:
        poses_of_tracks = []
        for xyc, focal, fps in zip(scene.tracks, scene.focal, scene.fps, strict=True):
            camera = Camera(float(focal * PIXELS), (0.0, 0.0))
            pixels = xyc * [PIXELS, PIXELS, 1]
            if alone:
                people = People(COCO, pixels[..., :2], pixels[..., 2], np.arange(FRAMES))
                poses = lifter.people(people, lambda image_id, camera=camera: camera)
            else:
                pixels[xyc[..., 2] <= 0] = (np.nan, np.nan, 0)
                track = Track(0, np.arange(FRAMES), np.arange(FRAMES) / fps, pixels, np.arange(FRAMES))
                poses = lifter.tracks([track], camera)
            poses_of_tracks.append(np.concatenate([track.keypoints for track in poses.tracks]))
        return np.einsum("ntij,ntkj->ntki", views(scene.root), np.stack(poses_of_tracks))

    return lift


@click.command()
@click.argument("data", type=PATH)
@option("--checkpoint", default="posefix-lift", help="A .safetensors file, or a shipped name.")
@option("--people", type=click.IntRange(1), default=200, help="Tracks.")
@option("--seed", type=int, default=0)
@friendly
def main(data: Path, checkpoint: str, people: int, seed: int) -> None:
    """Print a table of the methods: each measure is the mean over all frames of all tracks."""
    rng, training_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    training = exact(draw_scene(MotionCapture.load(data / "train.npz"), COCO, MAX_POSES // 8, 8, training_rng))
    scene = draw_scene(MotionCapture.load(data / "val.npz"), COCO, people, FRAMES, rng)
    inputs = {
        "exact": exact(scene),
        "with errors": scene,
        "with errors, denoised": denoised(scene, MOTION.load(), np.arange(people)),
    }
    lifter = Lifter.from_pretrained(checkpoint)
    methods: dict[str, Method] = {
        "constant depth": constant_depth,
        "nearest training pose": nearest_neighbour(training),
        "linear map": linear_map(training),
        "depth of the denoiser": depth_of_the_denoiser,
        "lifted, each frame alone": lifted(lifter, True),
        "lifted, tracks": lifted(lifter, False),
    }
    table = Table("2D poses", "way", "MPJPE", "N-MPJPE", "P-MPJPE", "its median", "bones, %")
    for input_name, input_scene in inputs.items():
        for name, method in methods.items():
            predicted = method(input_scene)
            measured = [measure(predicted, scene.keypoints) for measure in (mpjpe, n_mpjpe, p_mpjpe)]
            variation = np.nanmean([length_variation(limb_lengths(track, bones(COCO))) for track in predicted])
            values = (*map(np.nanmean, measured), np.nanmedian(measured[-1]), variation)
            table.add_row(input_name, name, *(f"{value:.1f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
