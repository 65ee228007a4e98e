"""Hide the legs of annotated people behind counters and shelves: the same rectangles for every estimator.

python -m tools.occlude --annotations truth.json --images photos --out occluded --seed 0

Writes OUT/images, and OUT/annotations.json: the annotations of the people whose legs were hidden, each with ``hidden``,
which says for every keypoint whether it lies behind some rectangle of its image. An estimator runs on those images, and
``python -m tools.measure_occlusion`` says what can be mended of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import numpy as np
from rich.progress import track

from posefix.cli.options import friendly
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import make_folder, read_json, write_atomically
from posefix.core.people import People
from posefix.formats import coco
from posefix.media.images import ImageFolder
from synth import hidden_keypoints, leg_regions
from synth.occlusion import leg_indices

LEAST_AREA = 64.0**2  # px^2; the legs of smaller people are a few pixels
LEAST_LEG_KEYPOINTS = 3  # annotated knees and ankles
COUNTER = 0.5  # share of rectangles that reach far beyond the person, as a counter does
JPEG_QUALITY = 95


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


def hide(image: np.ndarray, rectangle: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a rectangle (4,) into an image (H, W, 3), in place: a colour, shaded from its bright edge downwards."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(np.round(rectangle), 0, [width, height, width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    colour = rng.uniform(30, 225, 3)
    shade = np.linspace(1.1, 0.8, y1 - y0)[:, None, None]
    grain = rng.normal(0, 4, (y1 - y0, x1 - x0, 1))
    image[y0:y1, x0:x1] = np.clip(colour * shade + grain, 0, 255).astype(np.uint8)


@click.command(help=__doc__.splitlines()[0])
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="COCO ground truth.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of the images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for what is made.")
@click.option("--seed", default=0, show_default=True)
@friendly
def main(annotations: Path, images: Path, out: Path, seed: int) -> None:
    """Hide the legs of everybody whose legs can be seen."""
    skeleton = skeletons.load("coco17")
    truth = coco.read_annotations(annotations, skeleton)
    folder, people, rng = ImageFolder(images, truth.images), truth.people, np.random.default_rng(seed)
    regions = rectangles(people, rng)
    chosen = (regions[:, 2:] > regions[:, :2]).all(1)
    if not chosen.any():
        raise InputError(f"{annotations}: holds nobody of at least 64 x 64 pixels with hips and legs annotated")
    make_folder(out / "images")
    kept, listed = [], []
    for image_id in track(np.unique(people.image_ids[chosen]).tolist(), description="hiding legs"):
        here = np.flatnonzero(people.image_ids == image_id)
        image = folder[image_id].copy()
        hidden = np.zeros((len(here), len(skeleton)), bool)
        for row in here[chosen[here]]:
            hide(image, regions[row], rng)
            hidden |= hidden_keypoints(people.keypoints[here], np.repeat(regions[row][None], len(here), 0))
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        write_atomically(out / "images" / name, encoded.tobytes())
        listed.append({"id": image_id, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
        kept += [{**people.extra[row], "hidden": hidden[i].tolist()} for i, row in enumerate(here) if chosen[row]]
    categories = read_json(annotations).get("categories", [])
    content = {"images": listed, "annotations": kept, "categories": categories}
    write_atomically(out / "annotations.json", json.dumps(content) + "\n")
    click.echo(f"{out}: {len(kept)} people on {len(listed)} images")


if __name__ == "__main__":
    main()
