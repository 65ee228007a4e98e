"""People per second of refinement and of its parts, of synthesis, and peak memory.

python -m tools.benchmark --people 256 --json benchmark.json

Photos and poses are drawn from a seed, so that the same numbers can be had without data.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from pycocotools.coco import COCO
from rich.console import Console
from rich.table import Table

from posefix.cli.options import friendly
from posefix.core import geometry
from posefix.core.files import require_writable, write_atomically
from posefix.core.people import People
from posefix.evaluation.coco import evaluate
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import quietly
from posefix.formats.coco import people_records
from posefix.media.crops import crop_image
from posefix.media.images import ImageFolder
from posefix.models.interface import InputPose
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.local import refine_file
from posefix.run.plan import Plan
from tools.benchmark_synthesis import random_poses, synthesis_rate

PEOPLE_PER_PHOTO = 4
PHOTO_SIZE = (480, 640)
SYNTHESISED = 20_000
DIAGNOSED = 6_000
RSS_PER_MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10


def best_time(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of a few runs, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def drawn_photos(folder: Path, count: int, rng: np.random.Generator) -> ImageFolder:
    """JPEG photos of smooth noise, 640 x 480, named 0.jpg and so on."""
    for image_id in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        photo = cv2.resize(coarse, PHOTO_SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{image_id}.jpg"), photo)
    return ImageFolder(folder)


def drawn_people(count: int, rng: np.random.Generator) -> People:
    """Upright people, four to a photo, somewhere inside it."""
    people = random_poses(count, rng, PEOPLE_PER_PHOTO)
    people.keypoints += np.array([60, 0]) - people.keypoints.mean(1, keepdims=True) % 60
    return people


def diagnosis_seconds(people: People, rng: np.random.Generator) -> dict[str, float]:
    """Seconds that COCO's evaluation of results on all these people takes, and a diagnosis of them."""
    annotations = [
        {
            "id": i + 1,
            "image_id": int(people.image_ids[i]),
            "category_id": 1,
            "iscrowd": 0,
            "num_keypoints": int(people.labelled[i].sum()),
            "area": float(people.areas[i]),
            "bbox": [*people.keypoints[i].min(0).tolist(), *np.ptp(people.keypoints[i], axis=0).tolist()],
            "keypoints": np.concatenate([people.keypoints[i], people.scores[i][:, None]], 1).ravel().tolist(),
        }
        for i in range(len(people))
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": int(i)} for i in np.unique(people.image_ids)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    with quietly():
        truth.createIndex()
    noise = rng.normal(0, 0.06, people.keypoints.shape) * np.sqrt(people.areas)[:, None, None]
    results = people.with_keypoints(people.keypoints + noise, rng.random(people.scores.shape))
    results.person_scores = rng.random(len(people))
    records = people_records(results)
    started = time.perf_counter()
    evaluate(truth, records)
    evaluated = time.perf_counter()
    diagnose(truth, results).breakdown()
    return {
        f"COCO's evaluation of {len(people):,} people, s": evaluated - started,
        f"diagnosis of {len(people):,} people, s": time.perf_counter() - evaluated,
    }


def measure(people_count: int, batch: int, flip_test: bool, checkpoint: str, refiner: Refiner) -> dict[str, float]:
    """Rates in people per second, times in milliseconds per person, memory in MiB."""
    rng = np.random.default_rng(0)
    people = drawn_people(people_count, rng)
    model, size = refiner.config, refiner.config.input_size
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps = geometry.crop_matrices(boxes, model.frame_size, model.box_padding)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = drawn_photos(folder, -(-people_count // PEOPLE_PER_PHOTO), rng)
        (folder / "results.json").write_text(json.dumps(people_records(people)), encoding="utf-8")
        out = folder / "refined.json"
        plan = Plan(folder / "results.json", folder, out=out, checkpoint=checkpoint, device=str(refiner.device))
        settings, silent = RefineSettings(batch, flip_test), Console(quiet=True)
        command = best_time(lambda: refine_file(plan, settings, silent), 2)
        thrice = best_time(lambda: refine_file(plan, replace(settings, passes=3), silent), 2)
        refining = best_time(lambda: refiner.refine(people, images, settings), 2)
        decoding = best_time(lambda: images[0])
        photo = images[0]
    cropping = best_time(lambda: [crop_image(photo, maps[i], size) for i in range(min(batch, people_count))])
    cropping /= min(batch, people_count)

    crops = rng.integers(0, 256, (batch, *size, 3), dtype=np.uint8)
    k = len(refiner.skeleton)
    keypoints = torch.rand(batch, k, 2, device=refiner.device) * (size[1] - 1)
    given = torch.ones(batch, k, device=refiner.device)
    pose = InputPose(keypoints, given, 10 * given, keypoints[:, None] + 50, given[:, None])

    def synchronised(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode():
                work()
            if refiner.device.type == "cuda":
                torch.cuda.synchronize()

        return run

    encoding = best_time(synchronised(lambda: refiner.engine.encode(crops, flip_test))) / batch
    evidence = refiner.engine.encode(crops, flip_test)
    predicting = best_time(synchronised(lambda: refiner.engine.predict(evidence, pose))) / batch
    return {
        "test.py end to end, one pass, people/s": people_count / command,
        "test.py end to end, everybody refined three times, people/s": people_count / thrice,
        "refining alone, people/s": people_count / refining,
        "decode, ms/person": 1000 * decoding / PEOPLE_PER_PHOTO,
        "crop, ms/person": 1000 * cropping,
        "evidence of the image, ms/person": 1000 * encoding,
        "weighing it against the pose, ms/person": 1000 * predicting,
        "synthesis, people/s": synthesis_rate(random_poses(SYNTHESISED, rng)),
        "synthesis with fitted statistics, people/s": synthesis_rate(
            random_poses(SYNTHESISED, rng), statistics="pooled"
        ),
        **diagnosis_seconds(random_poses(DIAGNOSED, rng), rng),
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MEBIBYTE,
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--people", type=click.IntRange(1), default=256, show_default=True, help="People to refine.")
@click.option("--test_batch", type=click.IntRange(1), default=64, show_default=True, help="People in a batch.")
@click.option("--flip_test/--no_flip_test", default=True, show_default=True, help="Average over the mirrored image.")
@click.option("--checkpoint", default="posefix-base", show_default=True, help="Name or path of the weights.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
@friendly
def main(people: int, test_batch: int, flip_test: bool, checkpoint: str, device: str | None, out: Path | None) -> None:
    """Measure and print."""
    if out is not None:
        require_writable(out)
    refiner = Refiner.from_pretrained(checkpoint, device)
    numbers = measure(people, test_batch, flip_test, checkpoint, refiner)
    threads = torch.get_num_threads()
    where = (
        f"{refiner.device}, {refiner.engine.name}, {threads} threads, torch {torch.__version__}, {platform.machine()}"
    )
    table = Table(show_header=False, title=f"{checkpoint} on {where}", title_justify="left")
    for name, value in numbers.items():
        table.add_row(name, f"{value:,.3f}" if value < 10 else f"{value:,.0f}")
    Console().print(table)
    if out is not None:
        write_atomically(out, json.dumps({"where": where, **numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
