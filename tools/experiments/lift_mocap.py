"""Measure lifting on motion capture that was not trained on, beside simple ways of it.

    python -m tools.experiments.lift_mocap data/mocap --checkpoint posefix-lift

Random people in motion are seen by random cameras for 96 frames; given are their exact 2D poses, what an estimator
would say (``synth/tracks.py``), and that after the sequence denoiser.
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
from posefix.lifting.network import FIRST_SCALE
from posefix.lifting.poses import Camera
from posefix.lifting.training import Scene, denoised, draw_scene
from posefix.motion.denoise import normalized
from posefix.motion.mocap import MotionCapture
from posefix.motion.network import MOTION
from posefix.motion.tracks import Track

COCO = skeletons.load("coco17")
HIPS = hips_of(COCO)
FRAMES, KNOWN, RIDGE = 96, 20_000, 1e-2  # frames of a track; training poses of the simple ways; of the linear map
PIXELS = 150.0  # a person's size
Way = Callable[[Scene], np.ndarray]  # to (N, T, K, 3) metres along the line of sight


def exact(scene: Scene) -> Scene:
    """The scene with true 2D poses, of which all is certain."""
    return replace(scene, found=np.concatenate([scene.exact, np.ones_like(scene.exact[..., :1])], axis=-1))


def flat(scene: Scene) -> np.ndarray:
    """(N T, 2 K) 2D poses from the middle of the hips, at size 1; what is not given is there."""
    given = scene.found[..., 2:] > 0
    hips = np.where(given, scene.found[..., :2], 0)[:, :, HIPS].sum(2, keepdims=True)
    places = np.where(given, scene.found[..., :2] - hips / np.maximum(given[:, :, HIPS].sum(2, keepdims=True), 1), 0)
    size = np.sqrt((places**2).mean((2, 3), keepdims=True)) + 1e-6
    flattened: np.ndarray = (places / size).reshape(-1, 2 * len(COCO))
    return flattened


def constant_depth(scene: Scene) -> np.ndarray:
    """Everybody is flat."""
    places = scene.found[..., :2] - scene.found[:, :, HIPS, :2].mean(2, keepdims=True)
    return np.concatenate([FIRST_SCALE * places, np.zeros_like(places[..., :1])], axis=-1)


def linear_map(known: Scene) -> Way:
    """Ridge regression from a 2D pose to the 3D pose."""
    x, y = flat(known)[:KNOWN], known.keypoints.reshape(-1, 3 * len(COCO))[:KNOWN]
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
    return lambda scene: (flat(scene) @ weights).reshape(scene.keypoints.shape)


def nearest_neighbour(known: Scene) -> Way:
    """The 3D pose of the training pose that looks most alike."""
    x, y = flat(known)[:KNOWN], known.keypoints.reshape(-1, len(COCO), 3)[:KNOWN]

    def lift(scene: Scene) -> np.ndarray:
        nearest = [np.argmin((x**2).sum(1) - 2 * part @ x.T, axis=1) for part in np.array_split(flat(scene), 50)]
        return y[np.concatenate(nearest)].reshape(scene.keypoints.shape)

    return lift


def depth_of_the_denoiser(scene: Scene) -> np.ndarray:
    """Depth as the sequence denoiser says it, and its places."""
    windows, _, _ = normalized(scene.found)
    with torch.inference_mode():
        found = MOTION.load()(torch.from_numpy(windows), torch.from_numpy(scene.fps.astype(np.float32)))
    poses = torch.cat([found.keypoints, found.depths[..., None]], dim=-1).numpy()
    poses[..., :2] -= poses[:, :, HIPS, :2].mean(2, keepdims=True)
    return FIRST_SCALE * poses


def lifted(lifter: Lifter, alone: bool) -> Way:
    """By the lifting network, as in ``posefix lift``."""

    def lift(scene: Scene) -> np.ndarray:
        found = []
        for xyc, focal, fps in zip(scene.found, scene.focal, scene.fps, strict=True):
            camera = Camera(float(focal * PIXELS), (0.0, 0.0))
            pixels = xyc * [PIXELS, PIXELS, 1]
            if alone:
                people = People(COCO, pixels[..., :2], pixels[..., 2], np.arange(FRAMES))
                poses = lifter.people(people, lambda image_id, camera=camera: camera)
            else:
                pixels[xyc[..., 2] <= 0] = (np.nan, np.nan, 0)
                track = Track(0, np.arange(FRAMES), np.arange(FRAMES) / fps, pixels, np.arange(FRAMES))
                poses = lifter.tracks([track], camera)
            found.append(np.concatenate([track.keypoints for track in poses.tracks]))
        return np.einsum("ntij,ntkj->ntki", views(scene.root), np.stack(found))

    return lift


@click.command()
@click.argument("data", type=PATH)
@option("--checkpoint", default="posefix-lift", help="A .safetensors file, or a shipped name.")
@option("--people", type=click.IntRange(1), default=200, help="Tracks.")
@option("--seed", type=int, default=0)
@friendly
def main(data: Path, checkpoint: str, people: int, seed: int) -> None:
    """Print a table of the ways of lifting: each measure is the mean over all frames of all tracks."""
    rng, other = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    known = exact(draw_scene(MotionCapture.load(data / "train.npz"), COCO, KNOWN // 8, 8, other))
    scene = draw_scene(MotionCapture.load(data / "val.npz"), COCO, people, FRAMES, rng)
    inputs = {
        "exact": exact(scene),
        "with errors": scene,
        "with errors, denoised": denoised(scene, MOTION.load(), np.arange(people)),
    }
    lifter = Lifter.from_pretrained(checkpoint)
    ways: dict[str, Way] = {
        "constant depth": constant_depth,
        "nearest training pose": nearest_neighbour(known),
        "linear map": linear_map(known),
        "depth of the denoiser": depth_of_the_denoiser,
        "lifted, each frame alone": lifted(lifter, True),
        "lifted, tracks": lifted(lifter, False),
    }
    table = Table("2D poses", "way", "MPJPE", "N-MPJPE", "P-MPJPE", "its median", "bones, %")
    for given, seen in inputs.items():
        for name, way in ways.items():
            found = way(seen)
            measured = [measure(found, scene.keypoints) for measure in (mpjpe, n_mpjpe, p_mpjpe)]
            variation = np.nanmean([length_variation(limb_lengths(track, bones(COCO))) for track in found])
            values = (*map(np.nanmean, measured), np.nanmedian(measured[-1]), variation)
            table.add_row(given, name, *(f"{value:.1f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
