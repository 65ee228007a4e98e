"""Choose the margin below which keypoints stay, on the images that a configuration holds out of its training sets.

python -m tools.choose_margin --checkpoint runs/small_mobilenetv2/model.safetensors

For each of the configuration's observed results, and for ground truth: mean OKS of the people found, before and after,
for each margin. Nothing of a test set is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix.adapters import coco
from posefix.commands import friendly
from posefix.config import DataSource
from posefix.data.images import ImageFolder
from posefix.data.stores import in_fold
from posefix.errors import InputError
from posefix.evaluation.comparison import oks_with
from posefix.evaluation.matching import match_people
from posefix.people import People
from posefix.refiner import Refiner

MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2)


def held_out_results(source: DataSource, refiner: Refiner) -> Iterator[tuple[str, People, People, ImageFolder]]:
    """Name, results, their annotated people row by row, and images, for each results file of a data source."""
    annotations = coco.read_annotations(source.annotations, refiner.skeleton)
    ids = np.array(list(annotations.images))
    truth = annotations.people[in_fold(annotations.people.image_ids, ids, source.held_out)]
    images = ImageFolder(source.images, annotations.images)
    for path in source.observed:
        found = coco.read_results(path, refiner.skeleton).people
        matched = match_people(truth, found)
        yield Path(path).stem, found[matched[matched >= 0]], truth[matched >= 0], images
    yield "ground truth", truth.with_keypoints(truth.keypoints, truth.labelled.astype(np.float32)), truth, images


@click.command(help=__doc__.splitlines()[0])
@click.option("--checkpoint", required=True, help="Name or path of the weights.")
@click.option("--flip_test/--no_flip_test", default=True, show_default=True, help="Average over the mirrored image.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@friendly
def main(checkpoint: str, flip_test: bool, device: str | None) -> None:
    """Refine with every margin and print mean OKS."""
    refiner = Refiner.from_pretrained(checkpoint, device)
    sources = [s for s in refiner.config.train if s.held_out and s.annotations]
    if not sources:
        raise InputError(f"{checkpoint}: was trained without images held out; set train.held_out in its configuration")
    table = Table("results", "people", "before", *(f"margin {margin:g}" for margin in MARGINS))
    for source in sources:
        for name, found, truth, images in held_out_results(source, refiner):
            rows = np.arange(len(found))
            before = oks_with(truth, found, rows).mean()
            changes = []
            for margin in MARGINS:
                refiner.keep_margin = margin
                refined = refiner.refine(found, images, flip_test=flip_test)
                changes.append(oks_with(truth, refined, rows).mean() - before)
            table.add_row(name, str(len(found)), f"{before:.4f}", *(f"{change:+.4f}" for change in changes))
    Console().print(table)


if __name__ == "__main__":
    main()
