"""How many people a second the error synthesis draws on one core.

python -m tools.benchmark_synthesis --poses ../shared/data/coco/poses_train2017.npz
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from synth import Statistics, neighbour_index, synthesize


def labelled_poses(path: Path, count: int) -> People:
    """The first ``count`` people of an archive of COCO keypoint labels: keypoints (N, 17, 3), bbox, image_id."""
    with np.load(path) as archive:
        keypoints, boxes, image_ids = (archive[name][:count] for name in ("keypoints", "bbox", "image_id"))
    areas = geometry.BOX_AREA_TO_AREA * boxes[:, 2:].astype(np.float64).prod(1)
    return People(skeletons.load("coco17"), keypoints[..., :2], keypoints[..., 2], image_ids, boxes, areas=areas)


def random_poses(count: int, rng: np.random.Generator, people_per_image: int = 4) -> People:
    """Upright poses in crowds of ``people_per_image``, with a third of the keypoints not annotated."""
    skeleton = skeletons.load("coco17")
    areas = rng.uniform(32**2, 200**2, count)
    centres = rng.uniform(0, 500, (count, 1, 2))
    shapes = skeleton.template + rng.normal(0, 0.1, (count, len(skeleton), 2))
    scores = 2 * (rng.random((count, len(skeleton))) > 1 / 3)
    keypoints = centres + shapes * np.sqrt(areas)[:, None, None]
    return People(skeleton, keypoints, scores, np.arange(count) // people_per_image, areas=areas)


def synthesis_rate(people: People, batch: int = 256, seed: int = 0, statistics: str = "posefix") -> float:
    """People per second that :func:`synth.synthesize` draws, called with ``batch`` people at a time.

    The time includes gathering the batch and its neighbours, but not the index of neighbours: a data set has one.
    """
    table, rng = Statistics.load(statistics), np.random.default_rng(seed)
    index = neighbour_index(people)
    order = rng.permutation(len(people))
    started = time.perf_counter()
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        synthesize(people[rows], index.gather(people, rows), table, rng)
    return len(people) / (time.perf_counter() - started)


@click.command()
@click.option(
    "--poses",
    type=click.Path(path_type=Path),
    default=Path("../shared/data/coco/poses_train2017.npz"),
    help="Archive of COCO keypoint labels; random poses where there is none.",
)
@click.option("--people", "count", default=20_000, show_default=True, help="How many people to draw.")
@click.option("--batch", default=256, show_default=True, help="People in a call.")
def main(poses: Path, count: int, batch: int) -> None:
    """Print the rate of error synthesis."""
    real = poses.is_file()
    people = labelled_poses(poses, count) if real else random_poses(count, np.random.default_rng(0))
    kind = "COCO" if real else "random"
    rate = synthesis_rate(people, batch)
    click.echo(f"{rate:,.0f} people/s synthesised ({len(people):,} {kind} poses, batches of {batch})")


if __name__ == "__main__":
    main()
