"""``posefix measure``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from posefix.cli.options import (
    CHECKPOINT,
    DEVICE,
    ENGINE,
    ESTIMATOR_AP,
    FLIP_TEST,
    JSON,
    PATH,
    TEST_BATCH,
    friendly,
    option,
)
from posefix.core.files import require_outputs, write_atomically


@click.command(epilog="Example: posefix measure data/ --split val --out numbers.json")
@click.argument("data", type=PATH)
@option("--split", default="val", help="Split of the data sets to use.")
@CHECKPOINT
@option("--truth/--no_truth", default=True, help="Also refine ground truth, and boxes without poses.")
@TEST_BATCH
@FLIP_TEST
@ESTIMATOR_AP
@DEVICE
@ENGINE
@option(
    "--precision",
    type=click.Choice(["auto", "f32", "bf16"]),
    default="auto",
    help="Precision of OpenVINO; auto is bf16 if the CPU supports it.",
)
@option("--out", type=PATH, help="File for all metrics, as JSON.")
@JSON
@friendly
def measure(
    data: Path,
    split: str,
    checkpoint: str,
    truth: bool,
    device: str | None,
    engine: str,
    precision: str,
    out: Path | None,
    as_json: bool,
    **refine_options: Any,
) -> None:
    """Measure a checkpoint on every results file in a folder of data sets.

    DATA holds SET/annotations/person_keypoints_SPLIT.json, SET/SPLIT/ (the images) and SET/results/SPLIT/*.json.
    """
    from rich.console import Console
    from rich.progress import Progress

    from posefix.refine.refiner import Refiner
    from posefix.refine.settings import RefineSettings
    from posefix.run import data_sets

    require_outputs([out])
    folders = data_sets.data_sets(data, split)
    settings = RefineSettings(**refine_options)
    refiner = Refiner.from_pretrained(checkpoint, device, engine=engine, precision=precision)
    for folder in folders:
        data_sets.require_readable(folder, split, refiner.skeleton)
    measured: dict[str, Any] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for folder in folders:
            gains = data_sets.measure_results(folder, split, refiner, settings, truth)
            measured |= dict(progress.track(gains, description=folder.name))
    if out is not None:
        write_atomically(out, json.dumps(measured, indent=1) + "\n")
    click.echo(json.dumps(measured) if as_json else data_sets.markdown(measured))
