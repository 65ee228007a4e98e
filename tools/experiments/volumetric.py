"""Try heads that see image and input pose, coarse to fine after Pavlakos et al. (CVPR 2017), beside lifting the pose.

    POSEFIX_DATA=data python -m tools.experiments.volumetric pose2sim/Pose2Sim/Demo_SinglePerson --four four

No image here has measured depth: heads learn what the lifter says of annotated 2D poses. ``--four`` is what
``tools.experiments.four_cameras`` wrote.
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
from tools.experiments.volumetric_heads import ACROSS, BINS, GRID, HEADS, SEEN, Head, K, near

COCO = skeletons.load("coco17")
HIPS = hips_of(COCO)
POOL = 2  # MoveNet's cells side by side in one of the grid's
REACH = 1.0  # metres that bins reach before the hips and behind
FEWEST = 8  # annotated keypoints of people
INPUTS, BATCH, RATE = 3, 32, 2e-3  # input poses of a crop; crops; learning rate
STILL = AugmentationConfig(scale=0, rotation=0, flip=0)


@dataclass(frozen=True, eq=False)
class Crops:
    """N people as MoveNet sees them, and their poses in cells of the grid."""

    maps: np.ndarray  # (N, 41, h, w) float16 probabilities of keypoints, and features
    inputs: np.ndarray  # (N, P, K, 3) float32 x, y, score
    places: np.ndarray  # (N, K, 2) float32 annotated, else where the lifter has them
    depths: np.ndarray  # (N, K) float32 metres from the hips along the line of sight, lifted from annotated poses
    spreads: np.ndarray  # (N, K) float32 metres
    visibility: np.ndarray  # (N, K) COCO's


Depths = Callable[[Crops, int], np.ndarray]  # (N, K) metres from the hips, given the input poses of this number
# The man in T frames of a camera: (T, K, 2) px where he is seen, and (T, K, 3) metres from the hips where he is.
Film = tuple[Crops, np.ndarray, np.ndarray, Camera]


class Eyes(nn.Module):
    """MoveNet's heatmaps and features on the grid."""

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.network = network.backbone

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 255] to (N, 41, h, w)."""
        features = self.network.features(crops / 127.5 - 1)
        heatmaps = movenet.evidence(self.network, features).heatmaps.sigmoid()
        return F.avg_pool2d(torch.cat([heatmaps, features], 1), POOL)


def look(
    refiner: Refiner, lifter: Lifter, people: People, images: Images, inputs: list[np.ndarray], how: AugmentationConfig
) -> Crops:
    """See N people of ground truth in augmented crops, with P input poses (N, K, 3) px of each."""
    config, rng = refiner.config, np.random.default_rng(0)
    onnx = to_onnx(Eyes(cast(FusionNetwork, refiner.engine.network)), torch.zeros(1, 3, *config.input_size))
    run, seen = OpenVinoEngine.compile(onnx, "auto", 1), np.zeros((len(people), SEEN, *GRID), np.float16)
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps, flipped = random_maps(boxes, config.frame_size, config.box_padding, how, rng)
    for i in track(np.argsort(people.image_ids, kind="stable"), "looking"):
        matrix = geometry.translated(maps[i], config.frame_margin)
        crop = crop_image(images[int(people.image_ids[i])], matrix, config.input_size)
        seen[i] = run([crop.transpose(2, 0, 1)[None].astype(np.float32)])[0][0]
    lifted = lift(lifter, people.xyc)
    places = np.where(people.labelled[..., None], people.keypoints, fitted(lifted[..., :2], people))
    poses = np.stack([*inputs, np.dstack([places, people.scores])], axis=1)
    poses[..., :2] = (geometry.transform(poses[..., :2], maps) / movenet.STRIDE - (POOL - 1) / 2) / POOL
    exchange = np.where(flipped[:, None], COCO.flip, np.arange(K))
    poses = np.take_along_axis(poses, exchange[:, None, :, None], axis=2).astype(np.float32)
    depths, spreads = (np.take_along_axis(lifted[..., i], exchange, axis=1) for i in (2, 3))
    return Crops(seen, poses[:, :-1], poses[:, -1, :, :2], depths, spreads, poses[:, -1, :, 2])


def lift(lifter: Lifter, poses: np.ndarray) -> np.ndarray:
    """(N, K, 4) metres from the hips along the line of sight, and spreads, of poses (N, K, 3), each lifted alone.

    Other than what :meth:`Lifter.people` gives, also of keypoints without an estimate, such as noses from behind.
    """
    given = np.where(poses[..., 2:] > 0, poses, 0).astype(np.float64)
    found = lifter._lift(given[:, None], STILL_RATE)[:, 0]
    found[..., :3] -= found[:, HIPS, :3].mean(1, keepdims=True)
    return found


def fitted(found: np.ndarray, people: People) -> np.ndarray:
    """(N, K, 2) points scaled and moved to fit annotated keypoints in least squares."""
    w = people.labelled[..., None] / people.labelled.sum(1)[:, None, None]
    middle, target = ((w * points).sum(1, keepdims=True) for points in (found, people.keypoints))
    scale = (w * (found - middle) * (people.keypoints - target)).sum((1, 2)) / (w * (found - middle) ** 2).sum((1, 2))
    return np.asarray(scale[:, None, None] * (found - middle) + target)


def truth(name: str, split: str) -> tuple[People, Images]:
    """People of whom enough is annotated, and their images."""
    annotations = data_path(f"{{data}}/{name}/annotations/person_keypoints_{split}.json")
    store = FolderStore(annotations, data_path(f"{{data}}/{name}/{split}"), COCO)
    return store.people[store.people.labelled.sum(1) >= FEWEST], store.images


def training_crops(refiner: Refiner, lifter: Lifter, count: int) -> Crops:
    """Half of them of COCO, half of LSPET, where nobody annotated faces; input poses have synthesised errors."""
    rng, config, parts = np.random.default_rng(0), load("base_movenet_thunder"), []
    for name in ("coco", "lspet"):
        people, images = truth(name, "train")
        rows = np.resize(rng.permutation(len(people)), count // 2)
        poses = InputPoses(config.synthesis, people, np.zeros(len(people), int), np.arange(len(people)), [None])
        inputs = [np.dstack(poses.draw(rows, rng)[:2]) for _ in range(INPUTS)]
        parts.append(look(refiner, lifter, people[rows], images, inputs, config.augmentation))
    return Crops(*(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)))


def held_out_crops(refiner: Refiner, lifter: Lifter) -> Crops:
    """COCO's validation people; their input poses are MoveNet Lightning's, raw and refined."""
    people, images = truth("coco", "val")
    (keypoints,), (scores,) = observed_poses(people, [data_path("{data}/coco/results/val/movenet-lightning.json")])
    raw = People(COCO, keypoints, scores, people.image_ids, people.boxes)
    return look(refiner, lifter, people, images, [raw.xyc, refiner.refine(raw, images).xyc], STILL)


def batch_of(crops: Crops, rows: np.ndarray, which: int, blind: bool) -> Tensor:
    """(B, 58, h, w) what a head gets: what MoveNet sees, unless ``blind``, and the input poses as Gaussians."""
    maps, pose = torch.from_numpy(crops.maps[rows]).float(), torch.from_numpy(crops.inputs[rows, which])
    down, right = near(pose[..., 1], GRID[0], ACROSS), near(pose[..., 0], GRID[1], ACROSS)
    return torch.cat([maps * (not blind), torch.einsum("nk,nkh,nkw->nkhw", pose[..., 2], down, right)], 1)


def train(head: Head, crops: Crops, seconds: float, blind: bool) -> int:
    """Train for so many seconds of a core; the number of steps."""
    rng, optimizer = np.random.default_rng(0), torch.optim.AdamW(head.parameters(), weight_decay=0.01)
    depths = torch.from_numpy((crops.depths + REACH) * BINS / (2 * REACH) - 0.5).clamp(0, BINS - 1)
    weights, places = 0.05 / torch.from_numpy(crops.spreads).clamp(min=0.02), torch.from_numpy(crops.places)
    start, steps = time.process_time(), 0
    while (share := (time.process_time() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = RATE * min(1, share / 0.02 + 0.01) * (1 + math.cos(math.pi * share)) / 2
        rows = rng.integers(0, len(depths), BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            volumes, said = head(batch_of(crops, rows, int(rng.integers(INPUTS)), blind))
        optimizer.zero_grad()
        loss = weights[rows] * head.loss(volumes, said.float(), places[rows], depths[rows])
        torch.autograd.backward(loss.mean())
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return steps


def depths_of(head: Head, blind: bool, crops: Crops, which: int) -> np.ndarray:
    """(N, K) metres from the hips, given the input poses ``which``."""
    parts = np.array_split(np.arange(len(crops.depths)), len(crops.depths) // 16 + 1)
    with torch.inference_mode():
        bins = torch.cat([head.bins(head(batch_of(crops, rows, which, blind))[1]) for rows in parts]).numpy()
    return np.asarray((bins - bins[:, HIPS].mean(1, keepdims=True)) * 2 * REACH / BINS)


def placed(pixels: np.ndarray, depths: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, K, 3) metres along the line of sight of (N, K, 2) px, as far away as suits limbs of a standard body."""
    rays = camera.rays(pixels)
    rays = np.einsum("nij,nkj->nki", views(rays[:, HIPS].mean(1)), rays)
    low, high = np.full((len(rays), 1, 1), 0.5), np.full((len(rays), 1, 1), 100.0)
    for _ in range(40):
        middle = np.sqrt(low * high)
        points = rays / rays[..., 2:] * (middle + depths[..., None])
        short = limb_lengths(points, limbs_of(COCO)).sum(-1)[:, None, None] < LIMBS
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(points)


def filmed(refiner: Refiner, lifter: Lifter, demo: Path, four: Path, number: int) -> Film:
    """The man in the view of a camera, each frame refined by itself."""
    people = formats.read(four / f"thunder_frames_cam{number}.json")
    people = people[np.argsort(people.image_ids)]
    reference = read_poses3d(four / "reference.json").tracks[number - 1]
    video = VideoFrames(demo / "videos" / f"cam{number:02}.mp4")
    crops = look(refiner, lifter, people, video, [people.xyc], STILL)
    return crops, people.keypoints, reference.keypoints, reference.camera


def measured(depths: Depths, held: Crops, films: Sequence[Film]) -> list[str]:
    """Errors in mm for raw and for refined poses, and P-MPJPE in mm."""
    off = [1000 * np.abs(depths(held, which) - held.depths)[held.visibility > 0].mean() for which in (0, 1)]
    aligned = [p_mpjpe(placed(pixels, depths(crops, 0), camera), true) for crops, pixels, true, camera in films]
    return [*(f"{value:.0f}" for value in off), f"{np.mean(aligned):.1f}"]


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
    seen, held = training_crops(refiner, lifter, crops), held_out_crops(refiner, lifter)
    films = [filmed(refiner, lifter, demo, four, number) for number in range(1, 5)]
    table = Table("depth", "MB", "ms", "steps", "mm, raw", "mm, refined", "P-MPJPE, mm")
    unknown = [""] * 3
    table.add_row("none", *unknown, *measured(lambda crops, _: np.zeros_like(crops.depths), held, films))
    lifted = measured(lambda crops, which: lift(lifter, crops.inputs[:, which])[..., 2], held, films)
    table.add_row("lifted", *unknown, *lifted)
    for name, make in HEADS.items():
        torch.manual_seed(0)
        head, blind = make(), "without" in name
        steps = train(head, seen, seconds, blind)
        head.eval()
        start = time.process_time()
        with torch.inference_mode():
            volumes, said = head(batch_of(held, np.arange(BATCH), 0, blind))
        used = 1000 * (time.process_time() - start) / BATCH
        megabytes = sum(part[0].numel() for part in (*volumes, said)) * 4e-6
        costs = f"{megabytes:.2f}", f"{used:.1f}", f"{steps}"
        table.add_row(name, *costs, *measured(partial(depths_of, head, blind), held, films))
    Console().print(table)


if __name__ == "__main__":
    main()
