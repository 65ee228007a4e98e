"""People per second of refinement and of its parts, and how much memory a long file of results takes.

    python -m tools.benchmark rates --people 256 --out benchmark.json
    python -m tools.benchmark memory --gigabytes 1

Photos and poses are drawn from a seed, so that the same numbers can be had without data.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix import formats
from posefix.cli.options import CHECKPOINT, DEVICE, FLIP_TEST, JSON, PATH, TEST_BATCH, friendly, require_output
from posefix.cli.refine import refine as refine_command
from posefix.core import geometry
from posefix.core.files import write_atomically, write_pieces
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.evaluation.coco import evaluate
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats.coco import people_records
from posefix.media.crops import crop_image
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from synth import Statistics, neighbour_index, synthesize

PEOPLE_PER_PHOTO = 4
PHOTO_SIZE = (480, 640)
SYNTHESISED, SYNTHESIS_BATCH = 20_000, 256
EVALUATED = 6_000
RSS_PER_MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10
BLOCK = 2000  # people of a long file that are drawn; they come again and again


def best_time(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of a few runs, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def peak_memory() -> float:
    """MiB that this process took at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MEBIBYTE


def draw_photos(folder: Path, count: int, rng: np.random.Generator) -> ImageFolder:
    """JPEG photos of smooth noise, 640 x 480, named 0.jpg and so on."""
    for image_id in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        photo = cv2.resize(coarse, PHOTO_SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{image_id}.jpg"), photo)
    return ImageFolder(folder)


def draw_people(count: int, rng: np.random.Generator) -> People:
    """Upright poses, four to a photo and mostly inside it, with a third of the keypoints not annotated."""
    skeleton = load("coco17")
    areas = rng.uniform(32**2, 200**2, count)
    shapes = skeleton.template + rng.normal(0, 0.1, (count, len(skeleton), 2))
    centres = rng.uniform((60, 60), (PHOTO_SIZE[1] - 60, PHOTO_SIZE[0] - 60), (count, 2))
    keypoints = centres[:, None] + shapes * np.sqrt(areas)[:, None, None]
    scores = 2 * (rng.random((count, len(skeleton))) > 1 / 3)
    return People(skeleton, keypoints, scores, np.arange(count) // PEOPLE_PER_PHOTO, areas=areas)


def synthesis_rate(people: People, rng: np.random.Generator) -> float:
    """People per second whose errors are drawn, gathering batches and neighbours included, but not their index."""
    table, index = Statistics.load("posefix"), neighbour_index(people)
    started = time.perf_counter()
    for rows in np.array_split(rng.permutation(len(people)), max(1, len(people) // SYNTHESIS_BATCH)):
        synthesize(people[rows], index.gather(people, rows), table, rng)
    return len(people) / (time.perf_counter() - started)


def evaluation_seconds(people: People, rng: np.random.Generator) -> dict[str, float]:
    """Seconds that COCO's evaluation of results on all these people takes, and a diagnosis of them."""
    annotations = [
        {**record, "id": i, "area": float(area)}
        for i, (record, area) in enumerate(zip(people_records(people), people.areas, strict=True), 1)
    ]
    images = [{"id": i} for i in np.unique(people.image_ids).tolist()]
    categories = [{"id": 1, "name": "person"}]
    truth = GroundTruth.of_dataset({"images": images, "annotations": annotations, "categories": categories})
    noise = rng.normal(0, 0.06, people.keypoints.shape) * np.sqrt(people.areas)[:, None, None]
    results = people.with_keypoints(people.keypoints + noise, rng.random(people.scores.shape))
    results.person_scores = rng.random(len(people)).astype(np.float32)
    return {
        f"COCO's evaluation of {len(people):,} people, s": best_time(lambda: evaluate(truth, results), 1),
        f"diagnosis of {len(people):,} people, s": best_time(lambda: diagnose(truth, results).breakdown(), 1),
    }


def measure_rates(count: int, checkpoint: str, refiner: Refiner, settings: RefineSettings) -> dict[str, float]:
    """Rates in people per second, times in milliseconds per person, memory in MiB."""
    rng = np.random.default_rng(0)
    people = draw_people(count, rng)
    boxes = geometry.person_boxes(people.boxes, people.keypoints, people.labelled)
    maps = geometry.crop_matrices(boxes, refiner.config.frame_size, refiner.config.box_padding)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = draw_photos(folder, -(-count // PEOPLE_PER_PHOTO), rng)
        formats.write(people, folder / "results.json", "coco")
        options = ["--detection_json", str(folder / "results.json"), "--images", name, "--checkpoint", checkpoint]
        options += ["--test_batch", str(settings.batch_size), "--device", str(refiner.device)]
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
        "synthesis, people/s": synthesis_rate(draw_people(SYNTHESISED, rng), rng),
        **evaluation_seconds(draw_people(EVALUATED, rng), rng),
        "peak memory, MiB": peak_memory(),
    }


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    """Measure."""


@main.command()
@click.option("--people", type=click.IntRange(1), default=256, show_default=True, help="People to refine.")
@CHECKPOINT
@TEST_BATCH
@FLIP_TEST
@DEVICE
@click.option("--out", type=PATH, help="Write the numbers here, as JSON.")
@JSON
@friendly
def rates(
    people: int, checkpoint: str, test_batch: int, flip_test: bool, device: str | None, out: Path | None, as_json: bool
) -> None:
    """Print people per second of refinement and its parts, of synthesis, and peak memory."""
    require_output(out, [])
    refiner = Refiner.from_pretrained(checkpoint, device)
    numbers = measure_rates(people, checkpoint, refiner, RefineSettings(test_batch, flip_test))
    where = f"{checkpoint} on {refiner.device}, {refiner.engine.name}, {platform.machine()}"
    if as_json:
        click.echo(json.dumps({"where": where, **numbers}))
    else:
        table = Table(show_header=False, title=where, title_justify="left")
        for name, value in numbers.items():
            table.add_row(name, f"{value:,.3f}" if value < 10 else f"{value:,.0f}")
        Console().print(table)
    if out is not None:
        write_atomically(out, json.dumps({"where": where, **numbers}, indent=1) + "\n")


def long_results(size: float, rng: np.random.Generator) -> Iterator[str]:
    """Yield the text of a results file of at least ``size`` bytes: the same people again and again, in other images."""
    records = people_records(draw_people(BLOCK, rng))
    written, first = 0, 0
    while written < size:
        block = json.dumps([{**record, "image_id": first + record["image_id"]} for record in records])[1:-1]
        yield f"{',' if first else '['}{block}"
        written, first = written + len(block), first + BLOCK
    yield "]\n"


@main.command()
@click.option("--gigabytes", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@friendly
def memory(gigabytes: float) -> None:
    """Read a long file of results, change every hundredth person, write; print the memory that each took.

    The file is drawn and removed again; there has to be room for it and its copy.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        write_pieces(path, long_results(gigabytes * 1e9, np.random.default_rng(0)))
        click.echo(f"{path.stat().st_size / 1e9:.2f} GB of results; the program itself takes {peak_memory():.0f} MiB")
        started = time.perf_counter()
        people = formats.read(path, "coco")
        seconds = time.perf_counter() - started
        click.echo(f"read: {len(people):,} people, {seconds:.0f} s, peak {peak_memory():.0f} MiB")
        keypoints = people.keypoints.copy()
        keypoints[::100] += 3
        started = time.perf_counter()
        formats.write(people.with_keypoints(keypoints), path.with_name("refined.json"))
        click.echo(f"written: {time.perf_counter() - started:.0f} s, peak {peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
