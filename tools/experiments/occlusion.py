"""Hide the legs of annotated people, and measure refiners on the keypoints that are hidden and on those that are not.

    python -m tools.experiments.occlusion hide --annotations truth.json --images photos --out occluded
    python -m tools.experiments.run_movenet movenet.onnx --annotations occluded/annotations.json \\
        --images occluded/images --out occluded/movenet.json
    python -m tools.experiments.occlusion measure occluded --results occluded/movenet.json --checkpoint posefix-base
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import make_folder, read_json, write_atomically
from posefix.core.people import People
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import match_people
from posefix.evaluation.oks import keypoint_similarity
from posefix.evaluation.results import read_results
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from synth import leg_regions
from synth.occlusion import leg_indices

LEAST_AREA = 64.0**2  # px^2; the legs of smaller people are a few pixels
LEAST_LEG_KEYPOINTS = 3  # annotated knees and ankles
COUNTER = 0.5  # share of rectangles that reach far beyond the person, as a counter does
JPEG_QUALITY = 95
RESAMPLES = 1000


def can_be_hidden(people: People) -> np.ndarray:
    """(N,) bool: people with both hips and enough of their legs annotated, large enough to matter."""
    legs = leg_indices(people.skeleton)
    labelled = people.labelled[:, legs]
    enough = labelled[:, :, 1:].sum((1, 2)) >= LEAST_LEG_KEYPOINTS
    return labelled[:, :, 0].all(1) & enough & (people.areas >= LEAST_AREA)


def rectangles(people: People, rng: np.random.Generator) -> np.ndarray:
    """(N, 4) float32 x0, y0, x1, y1 in pixels; from the hips or the knees down, some of them wide."""
    regions = leg_regions(people.keypoints, people.labelled, people.skeleton, can_be_hidden(people), rng)
    wide = rng.random(len(people)) < COUNTER
    reach = rng.uniform(0.5, 2.0, (len(people), 2)) * (regions[:, 2:] - regions[:, :2]).max(1, keepdims=True)
    regions[:, [0, 2]] += np.where(wide[:, None], reach * [-1, 1], 0)
    return regions


def hidden_keypoints(keypoints: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N, K) bool: the keypoints (N, K, 2) of each person that lie in its region (N, 4) x0, y0, x1, y1."""
    inside = (keypoints >= regions[:, None, :2]) & (keypoints <= regions[:, None, 2:])
    return inside.all(-1) & (regions[:, 2:] > regions[:, :2]).all(1)[:, None]


def paint(image: np.ndarray, rectangle: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a rectangle (4,) x0, y0, x1, y1 into an image (H, W, 3), in place: a colour, darker downwards."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(np.round(rectangle), 0, [width, height, width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    colour = rng.uniform(30, 225, 3)
    shade = np.linspace(1.1, 0.8, y1 - y0)[:, None, None]
    grain = rng.normal(0, 4, (y1 - y0, x1 - x0, 1))
    image[y0:y1, x0:x1] = np.clip(colour * shade + grain, 0, 255).astype(np.uint8)


def mean_over_images(values: np.ndarray, chosen: np.ndarray, images: np.ndarray, rng: np.random.Generator) -> tuple:
    """Mean of values (N, K) where chosen, and its 95 % interval by bootstrap over the people's images (N,)."""
    _, image = np.unique(images, return_inverse=True)
    sums = np.bincount(image, np.where(chosen, values, 0).sum(1))
    counts = np.bincount(image, chosen.sum(1))
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    resampled = weights @ sums / np.maximum(weights @ counts, 1)
    return sums.sum() / max(counts.sum(), 1), *np.quantile(resampled, [0.025, 0.975])


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    """Hide, or measure."""


@main.command()
@click.option("--annotations", type=PATH, required=True, help="COCO ground truth.")
@click.option("--images", type=PATH, required=True, help="Folder of the images.")
@click.option("--out", type=PATH, required=True, help="Folder for what is made.")
@friendly
def hide(annotations: Path, images: Path, out: Path) -> None:
    """Hide the legs of all people whose legs can be seen."""
    truth, rng = GroundTruth.read(annotations), np.random.default_rng(0)
    folder, people = ImageFolder(images, truth.images), truth.people
    regions = rectangles(people, rng)
    chosen = (regions[:, 2:] > regions[:, :2]).all(1)
    if not chosen.any():
        raise InputError(f"{annotations}: has no person of at least 64 x 64 pixels with hips and legs annotated")
    make_folder(out / "images")
    content = read_json(annotations)
    raw = {annotation["id"]: annotation for annotation in content["annotations"]}
    kept, listed = [], []
    for image_id in track(np.unique(people.image_ids[chosen]).tolist(), description="hiding legs"):
        here = np.flatnonzero(people.image_ids == image_id)
        image = folder[image_id].copy()
        hidden = np.zeros((len(here), len(truth.skeleton)), bool)
        for row in here[chosen[here]]:
            paint(image, regions[row], rng)
            hidden |= hidden_keypoints(people.keypoints[here], np.repeat(regions[row][None], len(here), 0))
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        write_atomically(out / "images" / name, encoded.tobytes())
        listed.append({"id": image_id, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
        kept += [
            {**raw[people.extra[row]["id"]], "hidden": hidden[i].tolist()} for i, row in enumerate(here) if chosen[row]
        ]
    content = {"images": listed, "annotations": kept, "categories": content["categories"]}
    write_atomically(out / "annotations.json", json.dumps(content) + "\n")
    click.echo(f"{out}: {len(kept)} people on {len(listed)} images")


@main.command()
@click.argument("occluded", type=PATH)
@click.option("--results", type=PATH, required=True, help="An estimator's results on these images.")
@click.option("--checkpoint", "checkpoints", multiple=True, default=["posefix-base"], help="May be given repeatedly.")
@friendly
def measure(occluded: Path, results: Path, checkpoints: tuple[str, ...]) -> None:
    """Print mean keypoint similarity, in points, before and after one pass of each refiner."""
    truth = GroundTruth.read(occluded / "annotations.json")
    if any("hidden" not in annotation for annotation in truth.people.extra):
        raise InputError(f"{truth.name}: an annotation has no 'hidden'; make the folder with occlusion hide")
    read = read_results(results, truth)
    matched = match_people(truth.people, read)
    people, found = truth.people[matched >= 0], read[matched[matched >= 0]]
    if not len(people):
        raise InputError(f"{results}: no result matches a person in {truth.name}")
    images = ImageFolder(occluded / "images", truth.images)
    hidden = np.array([annotation["hidden"] for annotation in people.extra], bool)
    legs = np.array([part in ("knee", "ankle") for part in truth.skeleton.parts()])
    regions = {
        "hidden knees and ankles": people.labelled & hidden & legs,
        "visible knees and ankles": people.labelled & ~hidden & legs,
        "everything else": people.labelled & ~legs,
    }
    headings = ("checkpoint", "keypoints", "number", "before", "gain", "95 % interval")
    table = Table(*headings, title=f"{len(people)} people, mean keypoint similarity in points")

    def similarity(poses: People) -> np.ndarray:
        return 100 * keypoint_similarity(poses.keypoints, people.keypoints, people.areas, truth.skeleton.sigmas)

    before = similarity(found)
    for checkpoint in checkpoints:
        after = similarity(Refiner.from_pretrained(checkpoint).refine(found, images))
        for name, chosen in regions.items():
            mean, low, high = mean_over_images(after - before, chosen, people.image_ids, np.random.default_rng(0))
            start = before[chosen].mean() if chosen.any() else float("nan")
            interval = f"[{low:+.2f}, {high:+.2f}]"
            table.add_row(checkpoint, name, f"{chosen.sum():,}", f"{start:.2f}", f"{mean:+.2f}", interval)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
