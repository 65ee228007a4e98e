"""``posefix train``, which is ``train.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from posefix.cli.options import DEVICE, FINITE_POSITIVE, PATH, friendly, option
from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.training.run_folder import ResumableTraining


@click.command(
    epilog="Example: posefix train --config base_movenet_thunder --train_batch 64 optimizer.learning_rate=5e-4"
)
@option("--config", required=True, help="Configuration: a YAML file, or the name of one in configs/.")
@option("--train_batch", "batch", type=click.IntRange(1), help="People per training batch, over all processes.")
@option("--test_batch", type=click.IntRange(1), help="People per evaluation batch.")
@option("--flip_test/--no_flip_test", default=None, help="Use the flip test in the evaluation.")
@option("--out", type=PATH, help="Folder for weights, state and log; runs/NAME by default.")
@option("--resume", is_flag=True, help="Continue from the state in the folder.")
@option("--minutes", type=FINITE_POSITIVE, help="Stop and save after this many minutes.")
@DEVICE
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@friendly
def train(
    config: str,
    out: Path | None,
    resume: bool,
    minutes: float | None,
    device: str | None,
    overrides: tuple[str, ...],
    **options: int | bool | None,
) -> None:
    """Train a refiner; KEY=VALUE overrides any value of the configuration.

    It also runs under torchrun. --config motion trains the sequence denoiser for videos, and --config lifting the
    lifting network, both in one process.
    """
    from posefix.core.resources import validated
    from posefix.engines.registry import usable_device
    from posefix.lifting.training import LiftingTrainer
    from posefix.motion.training import MotionTrainer
    from posefix.training import config as configuration
    from posefix.training.processes import process_group
    from posefix.training.train import Trainer
    from posefix.training.validation import RealResults

    trainers = {trainer.checkpoint.field: trainer for trainer in (MotionTrainer, LiftingTrainer)}
    if trainer_type := next((trainers[key] for key in configuration.read(config)[0] if key in trainers), None):
        if ignored := [f"--{name}" for name in ("test_batch", "flip_test") if options[name] is not None]:
            raise InputError(f"{ignored[0]} is for the evaluation of refiners, which {config} does not train")
        assignments = [f"batch={options['batch']}"] if options["batch"] else []
        spec, path = configuration.read(config, (*assignments, *overrides))
        tracks = validated(trainer_type.experiment_type, spec, str(path))
        _run(trainer_type(tracks, _folder(out, path.stem, resume), usable_device(device or "cpu")), resume, minutes)
        return
    assignments = [f"training.{name}={json.dumps(value)}" for name, value in options.items() if value is not None]
    experiment = configuration.load(config, [*assignments, *overrides])
    folder = _folder(out, experiment.name, resume)
    experiment.require_data()
    with process_group(device) as process_device:
        evaluated = experiment.evaluation and experiment.training.evaluate_every
        evaluate = RealResults(experiment, process_device) if evaluated else None
        _run(Trainer(experiment, folder, process_device, evaluate), resume, minutes)


def _folder(out: Path | None, name: str, resume: bool) -> Path:
    """Return the folder of a run; raise InputError if it holds an earlier run that is not resumed."""
    from posefix.training.run_folder import STATE_FILE

    folder = out or Path("runs") / name
    if (folder / STATE_FILE).exists() and not resume:
        raise InputError(f"{folder}: holds the state of an earlier run; add --resume to go on, or choose another --out")
    return folder


def _run(trainer: ResumableTraining, resume: bool, minutes: float | None) -> None:
    """Train, and report start and end."""
    folder = trainer.folder
    if resume:
        resumed = trainer.resume()
        click.echo(f"going on at step {trainer.step}" if resumed else f"{folder}: nothing to resume, starting anew")
    try:
        finished = trainer.fit(minutes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped at step {trainer.step}; the same command with --resume goes on") from None
    click.echo(f"{folder}: " + ("finished" if finished else f"time is up at step {trainer.step}; --resume goes on"))
