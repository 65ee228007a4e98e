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
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import t

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import make_folder, read_bytes, read_json, write_atomically
from posefix.models.checkpoint import load_checkpoint
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.data_sets import data_sets, measure_results
from posefix.training.config import load
from posefix.training.validation import RealResults

ROOT = Path(__file__).resolve().parents[2]


class Experiment(BaseModel):
    """Arms that differ in some overrides of one configuration."""

    model_config = ConfigDict(extra="forbid")

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
        experiment = Experiment.model_validate(yaml.safe_load(read_bytes(path)))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable YAML file ({type(error).__name__})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}") from None
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


def measure_held_out(checkpoint: Path, config: str, data: Path) -> dict[str, dict]:
    """Measure the gain on a configuration's ``evaluation`` sources, images held out of training: for choosing."""
    os.environ["POSEFIX_DATA"] = str(data)
    sources = RealResults(load(config), torch.device("cpu"))(load_checkpoint(checkpoint))["sources"]
    return {f"held out/{Path(path).stem}": {"AP": found["AP_gain"]} for path, found in sources.items()}


def table(gains: Mapping[str, Mapping[int, Mapping[str, dict]]]) -> str:
    """Mean gain in AP over the seeds, least and most, for each arm and file; the mean over the files, and how much more
    or less that is than the first arm's, seed by seed, with a 95 % interval.
    """
    arms = list(gains)
    files = list(next(iter(next(iter(gains.values())).values())))
    lines = ["| results | " + " | ".join(arms) + " |", "| --- |" + " ---: |" * len(arms)]

    def cell(values: np.ndarray) -> str:
        if np.isnan(values).any():
            return "-"
        return f"{values.mean():+.2f} ({values.min():+.2f} to {values.max():+.2f})"

    by_arm = {
        arm: np.array([[np.nan if run[f]["AP"] is None else run[f]["AP"] for f in files] for run in runs.values()])
        for arm, runs in gains.items()
    }
    for i, name in enumerate(files):
        lines.append(f"| {name} | " + " | ".join(cell(by_arm[arm][:, i]) for arm in arms) + " |")
    lines.append("| mean | " + " | ".join(cell(by_arm[arm].mean(1)) for arm in arms) + " |")
    first = by_arm[arms[0]].mean(1)
    against = [_difference(by_arm[arm].mean(1) - first) for arm in arms[1:]]
    lines.append(f"| mean, against {arms[0]} | | " + " | ".join(against) + " |")
    return "\n".join(lines)


def _difference(values: np.ndarray) -> str:
    """Mean of paired differences over seeds with Student's 95 % interval."""
    if np.isnan(values).any() or len(values) < 2:
        return "-"
    half = float(t.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.2f} [{values.mean() - half:+.2f}, {values.mean() + half:+.2f}]"


@click.command(help=__doc__.splitlines()[0])
@click.argument("experiment", type=PATH)
@click.option("--data", type=PATH, required=True, help="Folder of the sets.")
@click.option("--split", default="val", show_default=True)
@click.option("--held_out", is_flag=True, help="Measure on images held out of training, not on --split.")
@click.option("--out", type=PATH, default=Path("runs/experiments"), show_default=True)
@friendly
def main(experiment: Path, data: Path, split: str, held_out: bool, out: Path) -> None:
    """Run what is left to be run, seed by seed, and print the table."""
    chosen = read_experiment(experiment)
    gains: dict[str, dict[int, dict]] = {arm: {} for arm in chosen.arms}
    for seed in chosen.seeds:
        for number, arm in enumerate(chosen.arms):
            folder = out / experiment.stem / f"{number}-{seed}"
            make_folder(folder)
            measured = folder / f"gains_{'held_out' if held_out else split}.json"
            work = {"config": chosen.config, "overrides": chosen.overrides(arm, seed), "data": str(data)}
            if not measured.exists():
                train(chosen, arm, seed, folder, data)
                weights = folder / "model.safetensors"
                found = measure_held_out(weights, chosen.config, data) if held_out else measure(weights, data, split)
                write_atomically(measured, json.dumps({"work": work, "gains": found}) + "\n")
            kept = read_json(measured)
            if not isinstance(kept, dict) or kept.get("work") != work or not isinstance(kept.get("gains"), dict):
                raise InputError(f"{measured}: is of another run than {arm!r}, seed {seed}; choose another --out")
            gains[arm][seed] = kept["gains"]
    click.echo(table(gains))


if __name__ == "__main__":
    main()
