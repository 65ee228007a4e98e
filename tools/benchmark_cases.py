"""The cases of ``tools.benchmark``: each is prepared once, in a process of its own, then run several times."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from posefix import formats
from posefix.core import geometry
from posefix.core.errors import InputError, require
from posefix.core.neighbours import OtherPeople
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.demo import ANNOTATIONS, FOLDER, load_photos
from posefix.demo.__main__ import erroneous
from posefix.engines import ENGINES, Engine
from posefix.lifting.lift import Lifter, camera_of
from posefix.media.crops import crop_image
from posefix.media.images import ImageFolder
from posefix.models.backbone import render_heatmaps
from posefix.models.checkpoint import Checkpoint
from posefix.models.config import ModelConfig
from posefix.models.interface import InputPose, take
from posefix.models.losses import TrainingLoss
from posefix.models.network import PoseFixNetwork, build_network
from posefix.motion.denoise import TrackDenoiser
from posefix.motion.tracks import Track
from posefix.refine.one_batch import input_pose
from posefix.refine.refiner import Refiner
from posefix.refine.settings import ESTIMATOR_AP, RefineSettings
from posefix.training.config import from_dict
from posefix.training.data.loader import TrainingBatches
from posefix.training.data.stores import FolderStore
from synth import Statistics
from tools.plain_posefix import PlainRefiner, compare_synthesis, training_inputs

ROOT = Path(__file__).resolve().parents[1]
BATCH, TRAINED = 16, 4  # people per batch with ResNet-50: refining, training
PAPER = {"backbone": "resnet50", "input_size": (384, 288), "sigma": 9.0}
AUGMENTED = {"rotation": 40.0, "photometric": 0.7, "occlusion": 0.3, "resolution": 0.45}
FRAMES = 243  # of a track
MATMUL = {"cpu": 2048, "cuda": 8192}  # rows and columns


@dataclass(frozen=True)
class Setup:
    """Settings of all cases.

    Attributes:
        people: number of people to refine with the default network.
        checkpoint: name or path of that network.
        device: such as ``cpu`` or ``cuda``.
        weights: folder with ``movenet-lightning.onnx`` and ``movenet-thunder.onnx``.
    """

    people: int
    checkpoint: str
    device: str
    weights: Path


@dataclass(frozen=True)
class Work:
    """A prepared case.

    Attributes:
        run: runs it once.
        count: number of people or crops that it processes.
        flops: floating-point operations of the network; None if not counted.
        stages: CPU seconds spent so far on each stage, if recorded.
    """

    run: Callable[[], object]
    count: int = 1
    flops: float | None = None
    stages: dict[str, float] | None = None


def paper_network(device: str) -> PoseFixNetwork:
    """Build PoseFix's network with random weights whose output varies over the image."""
    torch.manual_seed(0)
    network = build_network(ModelConfig(**PAPER), load("coco17"))
    for module in network.head.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_normal_(module.weight, gain=80 if module is network.head.maps else 2)
    return network.eval().to(device)


def paper_refiner(setup: Setup) -> Refiner:
    """Build a :class:`Refiner` with this network."""
    network = paper_network("cpu")
    return Refiner(Checkpoint(network, network.config, load("coco17"), {}, {}), setup.device)


def draw_people(count: int, folder: Path) -> tuple[People, ImageFolder]:
    """Draw poses with typical errors for the demonstration's people, on copies of its photographs.

    People of an image are consecutive; images 3i + 1 to 3i + 3 are the i-th copy of the three photographs.
    """
    truth, images = load_photos()
    draws = -(-count // len(truth))
    people = erroneous(truth, Statistics.load("posefix"), draws, np.random.default_rng(0))
    people.image_ids = people.image_ids + np.tile(len(images) * np.arange(draws), len(truth))
    people = people[np.argsort(people.image_ids, kind="stable")[:count]]
    names = ("park.jpg", "walker.jpg", "astronaut.jpg")
    for image_id in np.unique(people.image_ids).tolist():
        (folder / f"{image_id}.jpg").write_bytes((FOLDER / names[(image_id - 1) % len(names)]).read_bytes())
    return people, ImageFolder(folder)


def plain_refining(setup: Setup, people: People, images: ImageFolder) -> Work:
    """Refine one batch the paper's way."""
    plain = PlainRefiner(paper_network(setup.device), BATCH)
    return Work(lambda: plain(people[:BATCH], images), BATCH, stages=plain.seconds)


def refining(setup: Setup, people: People, images: ImageFolder, engine: str | None) -> Work:
    """Refine our way: one batch with PoseFix's network, or all people with the default network and an engine."""
    refiner, settings = make_refiner(setup, engine)
    people = people if engine else people[:BATCH]
    return Work(lambda: refiner.refine(people, images, settings), len(people))


def make_refiner(setup: Setup, engine: str | None) -> tuple[Refiner, RefineSettings]:
    """Return the refiner of the default network with an engine, or of PoseFix's network without."""
    if engine is None:
        return paper_refiner(setup), RefineSettings(batch_size=BATCH)
    return Refiner.from_pretrained(setup.checkpoint, setup.device, engine=engine), RefineSettings()


def forward(setup: Setup, people: People, images: ImageFolder, engine: str | None) -> Work:
    """Run the network alone, as often as the refiner does, on prepared crops and poses."""
    refiner, settings = make_refiner(setup, engine)
    people = people if engine else people[:BATCH]
    crops, pose = ready_input(refiner, people, images, settings)
    rows = torch.arange(len(crops), device=refiner.device).split(settings.batch_size)
    batches = [(crops[batch_rows.cpu().numpy()], take(pose, batch_rows)) for batch_rows in rows]
    reference, _ = make_refiner(replace(setup, device="cpu"), engine and "torch")
    with FlopCounterMode(display=False) as counter:
        look(reference.engine, crops[:1], InputPose(*(array[:1].cpu() for array in pose)))
    flops = counter.get_total_flops() * len(crops)
    return Work(lambda: [look(refiner.engine, *batch) for batch in batches], len(people), flops)


def look(engine: Engine, crops: np.ndarray, pose: InputPose) -> None:
    """Run a network as the refiner does: again without the pose if it judges poses."""
    evidence = engine.encode(crops, flip_test=True)
    if engine.locate(evidence, pose).quality is not None:
        engine.locate(evidence, pose.without_estimates())


def ready_input(
    refiner: Refiner, people: People, images: ImageFolder, settings: RefineSettings
) -> tuple[np.ndarray, InputPose]:
    """Return crops (V, H, W, 3) and poses of all views of the people."""
    views = refiner.plan(people, settings).views
    maps = geometry.translated(views.maps, refiner.config.frame_margin)
    ids = people.image_ids[views.rows].tolist()
    crops = [crop_image(images[i], matrix, refiner.config.input_size) for i, matrix in zip(ids, maps, strict=True)]
    return np.stack(crops), input_pose(people, views, OtherPeople(people), refiner.device, ESTIMATOR_AP)


def command(setup: Setup, people: People, images: ImageFolder) -> Work:
    """Run the whole program with the default engine: start, read files, write a file."""
    formats.write(people, images.folder / "results.json", "coco")
    inputs = ["--detection_json", str(images.folder / "results.json"), "--images", str(images.folder)]
    options = ["--checkpoint", setup.checkpoint, "--device", setup.device, "--out", str(images.folder / "refined.json")]
    arguments = [sys.executable, "test.py", *inputs, *options]
    return Work(lambda: subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True), len(people))


def movenet(setup: Setup, people: People, images: ImageFolder, name: str) -> Work:
    """Estimate again: MoveNet alone, on prepared crops."""
    path = setup.weights / f"movenet-{name}.onnx"
    if not path.is_file():
        raise InputError(f"{path} is not there")
    session = require("onnxruntime", "onnx", "MoveNet").InferenceSession(str(path))
    (entry,) = session.get_inputs()
    size = (entry.shape[1], entry.shape[2])
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps = zip(people.image_ids.tolist(), geometry.crop_matrices(boxes, size), strict=True)
    crops = [crop_image(images[i], matrix, size)[None].astype(np.int32) for i, matrix in maps]
    return Work(lambda: [session.run(None, {entry.name: crop}) for crop in crops], len(crops))


def training_batches(batch: int) -> TrainingBatches:
    """Return training batches of the demonstration's people for PoseFix's network, with synthesis and augmentation."""
    source = {"annotations": str(ANNOTATIONS), "images": str(FOLDER), "repeat": batch}
    settings = {"train": [source], "model": PAPER, "training": {"batch": batch}, "augmentation": AUGMENTED}
    config = from_dict({"name": "benchmark", **settings})
    return TrainingBatches(config, [FolderStore(ANNOTATIONS, FOLDER, load("coco17"))], [None], batch)


def plain_batches(*_: Any) -> Work:
    """Make a training batch the paper's way: augment, draw errors, render heatmaps."""
    batches, network, rng = training_batches(BATCH), paper_network("cpu"), np.random.default_rng(0)
    return Work(lambda: training_inputs(batches, network, batches.rows(0), rng), BATCH)


def our_batches(*_: Any) -> Work:
    """Make a training batch our way."""
    batches = training_batches(BATCH)

    def run() -> None:
        batch = batches[0]
        render_heatmaps(batch["keypoints"], (batch["scores"] > 0).float(), PAPER["input_size"], PAPER["sigma"])

    return Work(run, BATCH)


def training_step(setup: Setup, *_: Any) -> Work:
    """Run forward and backward through the network, on a prepared batch."""
    loss = TrainingLoss(paper_network(setup.device)).train()
    batch = {name: values.to(setup.device) for name, values in training_batches(TRAINED)[0].items()}

    def run() -> None:
        torch.stack(list(loss(batch).values())).sum().backward()

    return Work(run, TRAINED)


def matmul(setup: Setup, *_: Any, dtype: torch.dtype) -> Work:
    """Multiply large matrices: the highest rate that the machine reaches."""
    side = MATMUL[torch.device(setup.device).type]
    a, b = (torch.randn(side, side, device=setup.device).to(dtype) for _ in range(2))
    return Work(lambda: [a @ b for _ in range(4)], flops=4 * 2.0 * side**3)


def tracks(setup: Setup, *_: Any, lift: bool) -> Work:
    """Denoise or lift a track of 243 frames, on one core."""
    torch.set_num_threads(1)
    frames, positions = np.arange(FRAMES), np.random.default_rng(0).normal(0, 1, (FRAMES, 17, 2)).cumsum(0)
    xyc = np.insert(positions + np.linspace(100, 300, 34).reshape(-1, 2), 2, 1.0, axis=-1)
    track = Track(0, frames, frames / 30, xyc, frames)
    lifter, denoise = Lifter.from_pretrained(), TrackDenoiser.from_pretrained()
    run = partial(lifter.tracks, [track], camera_of(640, 480)) if lift else partial(denoise, track.times, xyc)
    return Work(run, FRAMES)


def cases() -> Iterator[tuple[str, str, Callable[..., Work]]]:
    """Yield all cases: group, name, and a function that prepares it from a :class:`Setup`, people and images."""
    yield "machine", "matrix product, float32", partial(matmul, dtype=torch.float32)
    yield "machine", "matrix product, bfloat16", partial(matmul, dtype=torch.bfloat16)
    yield "ResNet-50, 384x288", "the paper's way", plain_refining
    for engine in (None, *ENGINES[1:]):
        group = f"default network, {engine}" if engine else "ResNet-50, 384x288"
        yield group, "ours", partial(refining, engine=engine)
        yield group, "the network alone", partial(forward, engine=engine)
    yield "default network, auto", "the whole program, and start", command
    for name in ("lightning", "thunder"):
        yield "estimating anew", f"MoveNet {name.title()}", partial(movenet, name=name)
    yield "tracks, frames of a person", "denoising", partial(tracks, lift=False)
    yield "tracks, frames of a person", "lifting", partial(tracks, lift=True)
    yield "training ResNet-50", "batches, the paper's way", plain_batches
    yield "training ResNet-50", "batches, ours", our_batches
    yield "training ResNet-50", "the network's step alone", training_step


def check(setup: Setup) -> dict[str, float]:
    """Compare the paper's way with ours: distance of refined keypoints, and frequencies of drawn errors.

    Raises:
        InputError: they are not the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        people, images = draw_people(8, Path(folder))
        ours = paper_refiner(setup).refine(people, images, RefineSettings()).keypoints
        distance = float(np.abs(PlainRefiner(paper_network(setup.device))(people, images) - ours).max())
    consistent, difference = compare_synthesis(load_photos()[0], 100, np.random.default_rng(0))
    differences = {"keypoints apart, px": distance, "share of an error type apart": difference}
    if distance > 0.05 or not consistent or difference > 0.03:
        raise InputError(f"the paper's way and ours do not give the same: {differences}")
    return differences
