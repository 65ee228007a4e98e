"""Try heads that see image and input pose, coarse to fine after Pavlakos et al. (CVPR 2017), beside lifting the pose.

    POSEFIX_DATA=data python -m tools.experiments.volumetric pose2sim/Pose2Sim/Demo_SinglePerson --four four

No image has measured depth: heads learn the lifter's output for annotated poses. ``--four``: output of four_cameras.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from posefix import Refiner, formats
from posefix.cli.options import PATH, friendly, option
from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from posefix.engines.compiled import OpenVinoEngine, to_onnx
from posefix.lifting.body import LIMBS, hips_of, limb_lengths, limbs_of, views
from posefix.lifting.lift import STILL_RATE, Lifter
from posefix.lifting.measures import p_mpjpe
from posefix.lifting.poses import Camera, read_poses3d
from posefix.media.crops import Images, crop_image
from posefix.media.video import VideoFrames
from posefix.models import movenet
from posefix.models.network import FusionNetwork
from posefix.training.config import AugmentationConfig, data_path, load
from posefix.training.data.augment import random_maps
from posefix.training.data.inputs import InputPoses
from posefix.training.data.stores import FolderStore, observed_poses
from tools.experiments.volumetric_heads import BINS, GRID, HEADS, MAP_CHANNELS, SIGMA_CELLS, Head, K, near

COCO = skeletons.load("coco17")
HIPS = hips_of(COCO)
POOL = 2  # MoveNet's cells per cell of the grid, in each direction
REACH = 1.0  # metres covered by the bins in front of and behind the hips
MIN_KEYPOINTS = 8  # annotated keypoints of people
INPUTS, BATCH, RATE = 3, 32, 2e-3  # input poses per crop; crops; learning rate
STILL = AugmentationConfig(scale=0, rotation=0, flip=0)


@dataclass(frozen=True, eq=False)
class Crops:
    """N people as MoveNet sees them, and their poses in cells of the grid."""

    maps: np.ndarray  # (N, 41, h, w) float16 probabilities of keypoints, and features
    inputs: np.ndarray  # (N, P, K, 3) float32 x, y, score
    places: np.ndarray  # (N, K, 2) float32 annotated, else from the lifter
    depths: np.ndarray  # (N, K) float32 metres from the hips along the line of sight, lifted from annotated poses
    spreads: np.ndarray  # (N, K) float32 metres
    visibility: np.ndarray  # (N, K) COCO's


Depths = Callable[[Crops, int], np.ndarray]  # (N, K) metres from the hips, for the input poses with this index
# The man in T frames of a camera: crops, (T, K, 2) px, (T, K, 3) metres from the hips, and the camera.
CameraView = tuple[Crops, np.ndarray, np.ndarray, Camera]


class MoveNetMaps(nn.Module):
    """MoveNet's heatmaps and features on the grid."""

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.network = network.backbone

    def forward(self, crops: Tensor) -> Tensor:
        """Map (N, 3, H, W) RGB in [0, 255] to (N, 41, h, w)."""
        features = self.network.features(crops / 127.5 - 1)
        heatmaps = movenet.evidence(self.network, features).heatmaps.sigmoid()
        return F.avg_pool2d(torch.cat([heatmaps, features], 1), POOL)


def look(
    refiner: Refiner, lifter: Lifter, people: People, images: Images, inputs: list[np.ndarray], how: AugmentationConfig
) -> Crops:
    """Cut N people of ground truth out of their images with augmentation, with P input poses (N, K, 3) px of each."""
    config, rng = refiner.config, np.random.default_rng(0)
    onnx = to_onnx(MoveNetMaps(cast(FusionNetwork, refiner.engine.network)), torch.zeros(1, 3, *config.input_size))
    run, features = OpenVinoEngine.compile(onnx, "auto", 1), np.zeros((len(people), MAP_CHANNELS, *GRID), np.float16)
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps, flipped = random_maps(boxes, config.frame_size, config.box_padding, how, rng)
    for i in track(np.argsort(people.image_ids, kind="stable"), "looking"):
        matrix = geometry.translated(maps[i], config.frame_margin)
        crop = crop_image(images[int(people.image_ids[i])], matrix, config.input_size)
        features[i] = run([crop.transpose(2, 0, 1)[None].astype(np.float32)])[0][0]
    lifted = lift(lifter, people.xyc)
    positions = np.where(people.labelled[..., None], people.keypoints, fitted(lifted[..., :2], people))
    poses = np.stack([*inputs, np.dstack([positions, people.scores])], axis=1)
    poses[..., :2] = (geometry.transform(poses[..., :2], maps) / movenet.STRIDE - (POOL - 1) / 2) / POOL
    order = np.where(flipped[:, None], COCO.flip, np.arange(K))
    poses = np.take_along_axis(poses, order[:, None, :, None], axis=2).astype(np.float32)
    depths, spreads = (np.take_along_axis(lifted[..., i], order, axis=1) for i in (2, 3))
    return Crops(features, poses[:, :-1], poses[:, -1, :, :2], depths, spreads, poses[:, -1, :, 2])


def lift(lifter: Lifter, poses: np.ndarray) -> np.ndarray:
    """Lift poses (N, K, 3) one by one: (N, K, 4) metres from the hips along the line of sight, and spreads.

    Unlike :meth:`Lifter.people`, also returns keypoints without an estimate, such as noses from behind.
    """
    inputs = np.where(poses[..., 2:] > 0, poses, 0).astype(np.float64)
    lifted = lifter._lift(inputs[:, None], STILL_RATE)[:, 0]
    lifted[..., :3] -= lifted[:, HIPS, :3].mean(1, keepdims=True)
    return lifted


def fitted(points: np.ndarray, people: People) -> np.ndarray:
    """Scale and move points (N, K, 2) to fit annotated keypoints in least squares."""
    w = people.labelled[..., None] / people.labelled.sum(1)[:, None, None]
    middle, target = ((w * p).sum(1, keepdims=True) for p in (points, people.keypoints))
    scale = (w * (points - middle) * (people.keypoints - target)).sum((1, 2)) / (w * (points - middle) ** 2).sum((1, 2))
    return np.asarray(scale[:, None, None] * (points - middle) + target)


def truth(name: str, split: str) -> tuple[People, Images]:
    """Load people with enough annotated keypoints, and their images."""
    annotations = data_path(f"{{data}}/{name}/annotations/person_keypoints_{split}.json")
    store = FolderStore(annotations, data_path(f"{{data}}/{name}/{split}"), COCO)
    return store.people[store.people.labelled.sum(1) >= MIN_KEYPOINTS], store.images


def training_crops(refiner: Refiner, lifter: Lifter, count: int) -> Crops:
    """Make training crops, half COCO, half LSPET, which has no annotated faces; inputs have synthetic errors."""
    rng, config, parts = np.random.default_rng(0), load("base_movenet_thunder"), []
    for name in ("coco", "lspet"):
        people, images = truth(name, "train")
        rows = np.resize(rng.permutation(len(people)), count // 2)
        poses = InputPoses(config.synthesis, people, np.zeros(len(people), int), np.arange(len(people)), [None])
        inputs = [np.dstack(poses.draw(rows, rng)[:2]) for _ in range(INPUTS)]
        parts.append(look(refiner, lifter, people[rows], images, inputs, config.augmentation))
    return Crops(*(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)))


def held_out_crops(refiner: Refiner, lifter: Lifter) -> Crops:
    """Make crops of COCO's validation people; their input poses are MoveNet Lightning's, raw and refined."""
    people, images = truth("coco", "val")
    (keypoints,), (scores,) = observed_poses(people, [data_path("{data}/coco/results/val/movenet-lightning.json")])
    raw = People(COCO, keypoints, scores, people.image_ids, people.boxes)
    return look(refiner, lifter, people, images, [raw.xyc, refiner.refine(raw, images).xyc], STILL)


def batch_of(crops: Crops, rows: np.ndarray, index: int, blind: bool) -> Tensor:
    """Return the head's input (B, 58, h, w): MoveNet's maps, zero if ``blind``, and the input poses as Gaussians."""
    maps, pose = torch.from_numpy(crops.maps[rows]).float(), torch.from_numpy(crops.inputs[rows, index])
    down, right = near(pose[..., 1], GRID[0], SIGMA_CELLS), near(pose[..., 0], GRID[1], SIGMA_CELLS)
    return torch.cat([maps * (not blind), torch.einsum("nk,nkh,nkw->nkhw", pose[..., 2], down, right)], 1)


def train(head: Head, crops: Crops, seconds: float, blind: bool) -> int:
    """Train for ``seconds`` of a core; return the number of steps."""
    rng, optimizer = np.random.default_rng(0), torch.optim.AdamW(head.parameters(), weight_decay=0.01)
    depths = torch.from_numpy((crops.depths + REACH) * BINS / (2 * REACH) - 0.5).clamp(0, BINS - 1)
    weights, positions = 0.05 / torch.from_numpy(crops.spreads).clamp(min=0.02), torch.from_numpy(crops.places)
    start, steps = time.process_time(), 0
    while (share := (time.process_time() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = RATE * min(1, share / 0.02 + 0.01) * (1 + math.cos(math.pi * share)) / 2
        rows = rng.integers(0, len(depths), BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            volumes, output = head(batch_of(crops, rows, int(rng.integers(INPUTS)), blind))
        optimizer.zero_grad()
        loss = weights[rows] * head.loss(volumes, output.float(), positions[rows], depths[rows])
        torch.autograd.backward(loss.mean())
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return steps


def depths_of(head: Head, blind: bool, crops: Crops, index: int) -> np.ndarray:
    """Return (N, K) metres from the hips, for the input poses with this index."""
    chunks = np.array_split(np.arange(len(crops.depths)), len(crops.depths) // 16 + 1)
    with torch.inference_mode():
        bins = torch.cat([head.bins(head(batch_of(crops, rows, index, blind))[1]) for rows in chunks]).numpy()
    return np.asarray((bins - bins[:, HIPS].mean(1, keepdims=True)) * 2 * REACH / BINS)


def placed(pixels: np.ndarray, depths: np.ndarray, camera: Camera) -> np.ndarray:
    """Return (N, K, 3) metres along the line of sight of (N, K, 2) px, at the distance of standard limbs."""
    rays = camera.rays(pixels)
    rays = np.einsum("nij,nkj->nki", views(rays[:, HIPS].mean(1)), rays)
    low, high = np.full((len(rays), 1, 1), 0.5), np.full((len(rays), 1, 1), 100.0)
    for _ in range(40):
        middle = np.sqrt(low * high)
        points = rays / rays[..., 2:] * (middle + depths[..., None])
        too_near = limb_lengths(points, limbs_of(COCO)).sum(-1)[:, None, None] < LIMBS
        low, high = np.where(too_near, middle, low), np.where(too_near, high, middle)
    return np.asarray(points)


def filmed(refiner: Refiner, lifter: Lifter, demo: Path, four: Path, number: int) -> CameraView:
    """Make crops of the man in the view of a camera, each frame refined by itself."""
    people = formats.read(four / f"thunder_frames_cam{number}.json")
    people = people[np.argsort(people.image_ids)]
    reference = read_poses3d(four / "reference.json").tracks[number - 1]
    video = VideoFrames(demo / "videos" / f"cam{number:02}.mp4")
    crops = look(refiner, lifter, people, video, [people.xyc], STILL)
    return crops, people.keypoints, reference.keypoints, reference.camera


def measured(depths: Depths, held: Crops, films: Sequence[CameraView]) -> list[str]:
    """Return errors in mm for raw and for refined poses, and P-MPJPE in mm."""
    errors = [1000 * np.abs(depths(held, i) - held.depths)[held.visibility > 0].mean() for i in (0, 1)]
    aligned = [p_mpjpe(placed(pixels, depths(crops, 0), camera), target) for crops, pixels, target, camera in films]
    return [*(f"{value:.0f}" for value in errors), f"{np.mean(aligned):.1f}"]


@click.command(help=__doc__.splitlines()[0])
@click.argument("demo", type=PATH)
@option("--four", type=PATH, required=True, help="Folder that four_cameras wrote.")
@option("--checkpoint", default="posefix-lift", help="The lifter: a .safetensors file, or a shipped name.")
@option("--crops", type=click.IntRange(2), default=5000, help="To train on.")
@option("--seconds", type=float, default=150.0, help="Of a core, to train each head.")
@friendly
def main(demo: Path, four: Path, checkpoint: str, crops: int, seconds: float) -> None:
    """Train each head for the same time and print a table."""
    torch.set_num_threads(1)
    refiner, lifter = Refiner.from_pretrained(engine="openvino"), Lifter.from_pretrained(checkpoint)
    training, held_out = training_crops(refiner, lifter, crops), held_out_crops(refiner, lifter)
    films = [filmed(refiner, lifter, demo, four, number) for number in range(1, 5)]
    table = Table("depth", "MB", "ms", "steps", "mm, raw", "mm, refined", "P-MPJPE, mm")
    unknown = [""] * 3
    table.add_row("none", *unknown, *measured(lambda crops, _: np.zeros_like(crops.depths), held_out, films))
    lifted = measured(lambda crops, which: lift(lifter, crops.inputs[:, which])[..., 2], held_out, films)
    table.add_row("lifted", *unknown, *lifted)
    for name, make in HEADS.items():
        torch.manual_seed(0)
        head, blind = make(), "without" in name
        steps = train(head, training, seconds, blind)
        head.eval()
        start = time.process_time()
        with torch.inference_mode():
            volumes, output = head(batch_of(held_out, np.arange(BATCH), 0, blind))
        milliseconds = 1000 * (time.process_time() - start) / BATCH
        megabytes = sum(volume[0].numel() for volume in (*volumes, output)) * 4e-6
        costs = f"{megabytes:.2f}", f"{milliseconds:.1f}", f"{steps}"
        table.add_row(name, *costs, *measured(partial(depths_of, head, blind), held_out, films))
    Console().print(table)


if __name__ == "__main__":
    main()
