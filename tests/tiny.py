"""A world small enough for tests: a few drawn photos with people, and networks of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from posefix.core import skeleton as skeletons
from posefix.core.people import People
from posefix.models.checkpoint import Checkpoint, save_checkpoint
from posefix.models.network import build_network
from posefix.training.config import Config, from_dict

COCO = skeletons.load("coco17")
MODEL = {
    "backbone": "test_resnet",
    "head": "deconv",
    "head_channels": 16,
    "input_size": [64, 64],
    "sigma": 2.5,
}
FUSION = {"backbone": "movenet_lightning", "head": "fusion", "head_channels": 16, "input_size": [64, 64]}


def tiny_config(**settings: object) -> Config:
    """A configuration whose network has some 400,000 weights."""
    return from_dict({"name": "tiny", "model": MODEL, **settings})


def fusion_checkpoint(skeleton: str = "coco17", spread: float = 0.5) -> Checkpoint:
    """Of the other kind of network, with random weights; with a ``spread`` of 0 its head answers everybody alike."""
    made = tiny_checkpoint(from_dict({"name": "fusion", "model": FUSION, "skeleton": skeleton}), skeleton)
    with torch.no_grad():
        made.network.head.weights.weight.normal_(0, spread)
        person = made.network.head.person
        person.weight[0].normal_(0, spread)
        person.bias.copy_(torch.tensor([0.0, -9.0, 0.0]))  # to stay promises less than to move, for everybody
    return made


def tiny_checkpoint(config: Config | None = None, skeleton: str = "coco17") -> Checkpoint:
    """Random weights, the same each time."""
    config = config or tiny_config(skeleton=skeleton)
    chosen = skeletons.load(skeleton)
    torch.manual_seed(0)
    network = build_network(config.model, chosen).eval()
    if config.model.head == "deconv":  # as it is made, it says the same of every image
        for part in network.head.modules():
            if isinstance(part, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                torch.nn.init.xavier_normal_(part.weight, gain=2)
    return Checkpoint(network, config.model, chosen, {"steps": 0}, {"name": config.name})


def random_people(rng: np.random.Generator, count: int, images: int = 3, side: int = 120) -> People:
    """People standing anywhere in images 1 to ``images`` of side x side pixels, every keypoint annotated."""
    template = np.asarray(COCO.template)
    sizes = rng.uniform(20, 40, (count, 1, 1))
    centres = rng.uniform(0.4 * side, 0.6 * side, (count, 1, 2))
    keypoints = template * sizes + centres + rng.normal(0, 1.5, (count, len(COCO), 2))
    low, high = keypoints.min(1), keypoints.max(1)
    boxes = np.concatenate([low - 3, high - low + 6], axis=1)
    return People(
        COCO,
        keypoints.round(2),
        np.full((count, len(COCO)), 2),
        rng.integers(1, images + 1, count),
        boxes=boxes.round(2),
        person_scores=rng.random(count),
        areas=0.5 * boxes[:, 2] * boxes[:, 3],
    )


def write_images(folder: Path, rng: np.random.Generator, count: int = 3, side: int = 120) -> None:
    """Images ``000000000001.jpg`` and so on, of smooth noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in range(1, count + 1):
        coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{image_id:012d}.jpg"), cv2.resize(coarse, (side, side)))


def write_annotations(path: Path, people: People, images: int = 3, side: int = 120) -> None:
    """COCO ground truth of the people."""
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1).reshape(len(people), -1)
    annotations = [
        {
            "id": i + 1,
            "image_id": int(people.image_ids[i]),
            "category_id": 1,
            "iscrowd": 0,
            "area": float(people.areas[i]),
            "bbox": [round(float(v), 2) for v in people.boxes[i]],
            "num_keypoints": int(people.labelled[i].sum()),
            "keypoints": [round(float(v), 2) for v in triples[i]],
        }
        for i in range(len(people))
    ]
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "width": side, "height": side} for i in range(1, images + 1)]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.keypoint_names), "skeleton": []}]
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))


def write_results(path: Path, people: People, rng: np.random.Generator, noise: float = 3.0) -> None:
    """COCO results: the people, displaced."""
    keypoints = people.keypoints + rng.normal(0, noise, people.keypoints.shape)
    triples = np.concatenate([keypoints, rng.random((*keypoints.shape[:2], 1))], axis=-1).reshape(len(people), -1)
    records = [
        {
            "image_id": int(people.image_ids[i]),
            "category_id": 1,
            "keypoints": [round(float(v), 2) for v in triples[i]],
            "score": round(float(people.person_scores[i]), 4),
            "track_id": f"t{i}",
        }
        for i in range(len(people))
    ]
    path.write_text(json.dumps(records))


def write_world(folder: Path, rng: np.random.Generator, count: int = 10) -> dict[str, Path]:
    """Images, ground truth, results and a checkpoint in a folder, by name."""
    people = random_people(rng, count)
    paths = {
        "images": folder / "images",
        "annotations": folder / "annotations.json",
        "results": folder / "results.json",
        "checkpoint": folder / "tiny.safetensors",
    }
    write_images(paths["images"], rng)
    write_annotations(paths["annotations"], people)
    write_results(paths["results"], people, rng)
    save_checkpoint(paths["checkpoint"], tiny_checkpoint())
    return paths


def people_records(people: People) -> list[dict]:
    """People as records of COCO's result format, with the category of ``people.extra`` and their boxes if known."""
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    records = []
    for i, extra in enumerate(people.extra):
        record = {"image_id": int(people.image_ids[i]), "category_id": extra.get("category_id", 1)}
        record |= {"keypoints": triples[i].ravel().tolist(), "score": float(people.person_scores[i])}
        records.append(record | ({"bbox": people.boxes[i].tolist()} if (people.boxes[i, 2:] > 0).all() else {}))
    return records
