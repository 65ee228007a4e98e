"""Choose the margin below which keypoints stay, on the images that a configuration holds out of its training sets.

python -m tools.choose_margin --checkpoint runs/base/model.safetensors --config base_movenet_thunder

For each of the configuration's observed results, and for ground truth: the share of the people found whose OKS is above
0.5, 0.55, ..., 0.95, on average, and how it changes with one pass and with a second one, for each margin. Nothing of a
test set is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from posefix import formats
from posefix.cli.options import friendly
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.comparison import oks_with
from posefix.evaluation.matching import match_people
from posefix.formats import coco
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.training import config as configs
from posefix.training.config import DataSource
from posefix.training.data.stores import in_fold

MARGINS = (0.0, 0.005, 0.01, 0.02)
THRESHOLDS = np.arange(0.5, 0.96, 0.05)


def held_out_results(source: DataSource, refiner: Refiner) -> Iterator[tuple[str, People, People, ImageFolder]]:
    """Name, results, their annotated people row by row, and images, for each results file of a data source."""
    annotations = coco.read_annotations(source.annotations, refiner.skeleton)
    ids = np.array(list(annotations.images))
    truth = annotations.people[in_fold(annotations.people.image_ids, ids, source.held_out)]
    images = ImageFolder(source.images, annotations.images)
    for path in source.observed:
        found = formats.read(path, default=refiner.skeleton)
        matched = match_people(truth, found)
        yield "/".join(Path(path).with_suffix("").parts[-2:]), found[matched[matched >= 0]], truth[matched >= 0], images
    yield "ground truth", truth.with_keypoints(truth.keypoints, truth.labelled.astype(np.float32)), truth, images


def share_above(truth: People, found: People) -> float:
    """Percent of N people whose OKS with the N people of ``truth`` is above a threshold, mean over the thresholds."""
    similarity = oks_with(truth, found, np.arange(len(found)))
    return float(100 * (similarity[:, None] > THRESHOLDS).mean())


@click.command(help=__doc__.splitlines()[0])
@click.option("--checkpoint", required=True, help="Name or path of the weights.")
@click.option("--config", required=True, help="Whose held-out images to measure on: a YAML file or a name.")
@click.option("--flip_test/--no_flip_test", default=True, show_default=True, help="Average over the mirrored image.")
@click.option("--passes", type=click.IntRange(1, 3), default=1, show_default=True, help="Of a refinement.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@friendly
def main(checkpoint: str, config: str, flip_test: bool, passes: int, device: str | None) -> None:
    """Refine with every margin, twice, and print what was gained."""
    refiner = Refiner.from_pretrained(checkpoint, device)
    chosen = configs.load(config)
    sources = [s for s in chosen.train if s.held_out and s.annotations]
    if not sources:
        raise InputError(
            f"{config}: has no training set with annotations, a folder of images and held_out; "
            "name with --config the configuration of one"
        )
    for path in (path for source in sources for path in source.observed):
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; name with --config a configuration whose results are all there")
    table = Table("results", "people", "before", *(f"margin {margin:g}" for margin in MARGINS))
    settings = RefineSettings(flip_test=flip_test, passes=passes, rescore=False)
    for source in sources:
        for name, found, truth, images in held_out_results(source, refiner):
            row = []
            for margin in MARGINS:
                refiner.keep_margin = margin
                once = refiner.refine(found, images, settings)
                twice = refiner.refine(once, images, settings)
                before, after, again = (share_above(truth, people) for people in (found, once, twice))
                row.append(f"{after - before:+.2f}, then {again - after:+.2f}")
            table.add_row(name, str(len(found)), f"{share_above(truth, found):.2f}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
