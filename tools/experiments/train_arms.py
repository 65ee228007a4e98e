"""Train the arms of an experiment with several seeds and measure each on real results: equal budgets, one table.

    python -m tools.experiments.train_arms configs/experiments/leg_occlusion.yaml --data $POSEFIX_DATA

An experiment is a YAML file: ``config`` (a configuration), ``seeds``, ``common`` overrides, and ``arms``, each with its
own overrides. What is done already is not done again, and a training that was interrupted goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import yaml
from pydantic import Field
from scipy.stats import t

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import read_bytes, read_json, write_atomically
from posefix.core.options import StrictModel, validated
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.data_sets import data_sets, measure_results

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = RefineSettings(flip_test=False, rescore=False)


class Experiment(StrictModel):
    """Arms that differ in some overrides of one configuration."""

    config: str
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    common: tuple[str, ...] = ()
    arms: dict[str, tuple[str, ...]] = Field(min_length=1)


def gains_of(experiment: Experiment, arm: str, seed: int, folder: Path, data: Path, split: str) -> dict[str, float]:
    """Train one arm in a process of its own, and measure the gain in AP on every results file of a data folder."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", experiment.config, "--out", str(folder), "--resume"]
    command += [*experiment.common, *experiment.arms[arm], f"seed={seed}"]
    if subprocess.run(command, check=False, env={**os.environ, "POSEFIX_DATA": str(data)}).returncode:
        raise InputError(f"{folder}: the training of {arm!r} failed; what it said stands above")
    measured = folder / f"gains_{split}.json"
    if not measured.exists():
        refiner = Refiner.from_pretrained(folder / "model.safetensors")
        found = {
            name: gains["once"]["gain"]["AP"]
            for data_set in data_sets(data, split)
            for name, gains in measure_results(data_set, split, refiner, SETTINGS)
        }
        write_atomically(measured, json.dumps(found) + "\n")
    return read_json(measured)


def table(gains: dict[str, list[dict[str, float | None]]]) -> str:
    """Write gains in AP by arm and file, one for each seed, as a table: the mean over the seeds, least and most.

    Below are the mean over the files and how much more it is than the first arm's, seed by seed, with a 95 % interval.
    """
    first, *others = gains
    files = list(gains[first][0])
    runs = {arm: np.array([[run[file] for file in files] for run in gains[arm]], float) for arm in gains}
    means = {arm: values.mean(1) for arm, values in runs.items()}
    rows = {file: [_spread(values[:, i]) for values in runs.values()] for i, file in enumerate(files)}
    rows["mean"] = [_spread(mean) for mean in means.values()]
    rows[f"mean, against {first}"] = ["", *(_difference(means[arm] - means[first]) for arm in others)]
    lines = ["| results | " + " | ".join(gains) + " |", "| --- |" + " ---: |" * len(gains)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():+.2f} ({values.min():+.2f} to {values.max():+.2f})"


def _difference(values: np.ndarray) -> str:
    """Mean of paired differences over seeds with Student's 95 % interval."""
    if len(values) < 2:
        return "-"
    low, high = t.interval(0.95, len(values) - 1, values.mean(), values.std(ddof=1) / np.sqrt(len(values)))
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


@click.command(help=__doc__.splitlines()[0])
@click.argument("experiment", type=PATH)
@click.option("--data", type=PATH, required=True, help="Folder of the sets.")
@click.option("--split", default="val", show_default=True)
@click.option("--out", type=PATH, default=Path("runs/experiments"), show_default=True)
@friendly
def main(experiment: Path, data: Path, split: str, out: Path) -> None:
    """Run what is left to be run, seed by seed, and print the table."""
    chosen = validated(Experiment, yaml.safe_load(read_bytes(experiment)), str(experiment))
    gains: dict[str, list[dict[str, float]]] = {arm: [] for arm in chosen.arms}
    for seed in chosen.seeds:
        for number, arm in enumerate(chosen.arms):
            folder = out / experiment.stem / f"{number}-{seed}"
            gains[arm].append(gains_of(chosen, arm, seed, folder, data, split))
    click.echo(table(gains))


if __name__ == "__main__":
    main()
