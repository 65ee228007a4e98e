"""Train the arms of an experiment with several seeds and measure each on real results: equal budgets, one table.

    python -m tools.experiments.train_arms configs/experiments/statistics.yaml --data ../shared/data

An experiment is a YAML file: ``config`` (a configuration), ``seeds``, ``common`` overrides, and ``arms``, each with its
own overrides. What is done already is not done again, and a training that was interrupted goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import yaml
from pydantic import Field
from scipy.stats import t

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import make_folder, read_bytes, read_json, write_atomically
from posefix.core.options import StrictModel, validated
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.data_sets import data_sets, measure_results
from posefix.training.config import load

ROOT = Path(__file__).resolve().parents[2]


class Experiment(StrictModel):
    """Arms that differ in some overrides of one configuration."""

    config: str
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    common: tuple[str, ...] = ()
    arms: dict[str, tuple[str, ...]] = Field(min_length=1)

    def overrides(self, arm: str, seed: int) -> list[str]:
        """What one run changes of the configuration."""
        return [*self.common, *self.arms[arm], f"seed={seed}"]


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment and the configuration of each of its arms."""
    try:
        content = yaml.safe_load(read_bytes(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable YAML file ({type(error).__name__})") from None
    experiment = validated(Experiment, content, str(path))
    for arm in experiment.arms:
        load(experiment.config, experiment.overrides(arm, 0))
    return experiment


def train(experiment: Experiment, arm: str, seed: int, folder: Path, data: Path) -> None:
    """Train one arm in a process of its own, to its end."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", experiment.config, "--out", str(folder), "--resume"]
    environment = {**os.environ, "POSEFIX_DATA": str(data)}
    if subprocess.run([*command, *experiment.overrides(arm, seed)], check=False, env=environment).returncode:
        raise InputError(f"{folder}: the training of {arm!r} failed; what it said stands above")


def measure(checkpoint: Path, data: Path, split: str) -> dict[str, dict]:
    """Measure the gain on every results file of a data folder, by one pass without flip test and rescoring."""
    refiner, settings = Refiner.from_pretrained(checkpoint), RefineSettings(flip_test=False, rescore=False)
    return {
        name: gains["once"]["gain"]
        for folder in data_sets(data, split)
        for name, gains in measure_results(folder, split, refiner, settings)
    }


def table(gains: Mapping[str, Mapping[int, Mapping[str, dict]]]) -> str:
    """Write gains in AP by arm, seed and file as a table: the mean over the seeds, least and most.

    Below are the mean over the files and how much more it is than the first arm's, seed by seed, with a 95 % interval.
    """
    arms = list(gains)
    files = list(next(iter(next(iter(gains.values())).values())))
    by_arm = {
        arm: np.array([[run[file]["AP"] for file in files] for run in runs.values()], float)  # None becomes NaN
        for arm, runs in gains.items()
    }
    rows = {name: [_spread(by_arm[arm][:, i]) for arm in arms] for i, name in enumerate(files)}
    means = {arm: by_arm[arm].mean(1) for arm in arms}
    rows["mean"] = [_spread(mean) for mean in means.values()]
    rows[f"mean, against {arms[0]}"] = ["", *(_difference(means[arm] - means[arms[0]]) for arm in arms[1:])]
    lines = ["| results | " + " | ".join(arms) + " |", "| --- |" + " ---: |" * len(arms)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def _spread(values: np.ndarray) -> str:
    """Mean, least and most over the seeds."""
    if np.isnan(values).any():
        return "-"
    return f"{values.mean():+.2f} ({values.min():+.2f} to {values.max():+.2f})"


def _difference(values: np.ndarray) -> str:
    """Mean of paired differences over seeds with Student's 95 % interval."""
    if np.isnan(values).any() or len(values) < 2:
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
    chosen = read_experiment(experiment)
    gains: dict[str, dict[int, dict]] = {arm: {} for arm in chosen.arms}
    for seed in chosen.seeds:
        for number, arm in enumerate(chosen.arms):
            folder = out / experiment.stem / f"{number}-{seed}"
            make_folder(folder)
            measured = folder / f"gains_{split}.json"
            work = {"config": chosen.config, "overrides": chosen.overrides(arm, seed), "data": str(data)}
            if not measured.exists():
                train(chosen, arm, seed, folder, data)
                found = measure(folder / "model.safetensors", data, split)
                write_atomically(measured, json.dumps({"work": work, "gains": found}) + "\n")
            kept = read_json(measured)
            if not isinstance(kept, dict) or kept.get("work") != work or not isinstance(kept.get("gains"), dict):
                raise InputError(f"{measured}: is of another run than {arm!r}, seed {seed}; choose another --out")
            gains[arm][seed] = kept["gains"]
    click.echo(table(gains))


if __name__ == "__main__":
    main()
