"""Pack a training set into one file of JPEG crops and arrays, for slow disks.

    python -m tools.pack --annotations train.json --images train --out train.packed --config small_mobilenetv2

How much is kept around each person follows from the configuration's crops and augmentation. The configuration then
names the file as ``train: [{packed: train.packed}]`` and trains as it does from the folder.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import Progress

from posefix.cli.options import friendly
from posefix.core import skeleton as skeletons
from posefix.core.files import require_writable
from posefix.training import config as configs
from posefix.training.data.packing import pack
from posefix.training.data.stores import FolderStore


@click.command(help=__doc__.splitlines()[0])
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="COCO ground truth.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of the images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--config", required=True, help="Configuration that will train on it: a YAML file, or a shipped name.")
@friendly
def main(annotations: Path, images: Path, out: Path, config: str) -> None:
    """Read, pack, say how large it is."""
    require_writable(out)
    experiment = configs.load(config)
    store = FolderStore(annotations, images, skeletons.load(experiment.skeleton))
    with Progress() as progress:
        task = progress.add_task("packing", total=len(store.people))
        size = pack(store, out, experiment.model, experiment.augmentation, lambda: progress.advance(task))
    people = max(len(store.people), 1)
    click.echo(f"{out}: {len(store.people)} people, {size / 2**20:.1f} MiB, {size / people / 1024:.1f} KiB a person")


if __name__ == "__main__":
    main()
