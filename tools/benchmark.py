"""Measure people per second of refinement and of its parts, on photographs and poses drawn from a seed.

python -m tools.benchmark --people 256
"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix import formats
from posefix.cli.options import CHECKPOINT, DEVICE, FLIP_TEST, TEST_BATCH, friendly
from posefix.cli.refine import refine as refine_command
from posefix.core import geometry
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.media.crops import crop_image
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

PEOPLE_PER_PHOTO = 4
PHOTO_SIZE = (480, 640)
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


def draw_photos(folder: Path, count: int, rng: np.random.Generator) -> ImageFolder:
    """Write JPEG photos of smooth noise, 640 x 480, named 0.jpg and so on."""
    for image_id in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        photo = cv2.resize(coarse, PHOTO_SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{image_id}.jpg"), photo)
    return ImageFolder(folder)


def draw_people(count: int, rng: np.random.Generator) -> People:
    """Draw upright poses, four to a photo and mostly inside it, a third of the keypoints not annotated."""
    skeleton = load("coco17")
    areas = rng.uniform(32**2, 200**2, count)
    shapes = skeleton.template + rng.normal(0, 0.1, (count, len(skeleton), 2))
    centres = rng.uniform((60, 60), (PHOTO_SIZE[1] - 60, PHOTO_SIZE[0] - 60), (count, 2))
    keypoints = centres[:, None] + shapes * np.sqrt(areas)[:, None, None]
    scores = 2 * (rng.random((count, len(skeleton))) > 1 / 3)
    return People(skeleton, keypoints, scores, np.arange(count) // PEOPLE_PER_PHOTO, areas=areas)


def measure_rates(count: int, checkpoint: str, refiner: Refiner, settings: RefineSettings) -> dict[str, float]:
    """Measure rates in people per second, times in milliseconds per person, memory in MiB."""
    rng = np.random.default_rng(0)
    people = draw_people(count, rng)
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps = geometry.crop_matrices(boxes, refiner.config.frame_size, refiner.config.box_padding)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = draw_photos(folder, -(-count // PEOPLE_PER_PHOTO), rng)
        formats.write(people, folder / "results.json", "coco")
        options = ["--detection_json", str(folder / "results.json"), "--images", name, "--checkpoint", checkpoint]
        options += ["--batch_size", str(settings.batch_size), "--device", str(refiner.device)]
        options += ["--flip_test" if settings.flip_test else "--no_flip_test", "--out", str(folder / "refined.json")]
        command = best_time(lambda: refine_command.main(options, standalone_mode=False), 2)
        refining = best_time(lambda: refiner.refine(people, images, settings), 2)
        decoding = best_time(lambda: images[0])
        photo = images[0]
    cropping = best_time(lambda: [crop_image(photo, matrix, refiner.config.input_size) for matrix in maps])
    return {
        "posefix refine, end to end, people/s": count / command,
        "refining alone, people/s": count / refining,
        "decode, ms/person": 1000 * decoding / PEOPLE_PER_PHOTO,
        "crop, ms/person": 1000 * cropping / count,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MEBIBYTE,
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--people", type=click.IntRange(1), default=256, show_default=True, help="People to refine.")
@CHECKPOINT
@TEST_BATCH
@FLIP_TEST
@DEVICE
@friendly
def main(people: int, checkpoint: str, batch_size: int, flip_test: bool, device: str | None) -> None:
    """Print people per second of refinement and its parts, and peak memory."""
    refiner = Refiner.from_pretrained(checkpoint, device)
    numbers = measure_rates(people, checkpoint, refiner, RefineSettings(batch_size, flip_test))
    where = f"{checkpoint} on {refiner.device}, {refiner.engine.name}, {platform.machine()}"
    table = Table(show_header=False, title=where, title_justify="left")
    for name, value in numbers.items():
        table.add_row(name, f"{value:,.3f}" if value < 10 else f"{value:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
