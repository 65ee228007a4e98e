"""Training learns, stops, and goes on to the same losses."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from posefix.cli.train import train
from posefix.core.errors import InputError
from posefix.models.checkpoint import load_checkpoint
from posefix.training.config import Config, OptimizerConfig, from_dict
from posefix.training.run_folder import LOG_FILE, MODEL_FILE, STATE_FILE
from posefix.training.train import Trainer
from posefix.training.validation import RealResults
from tests.tiny import tiny_config, write_world

CPU = torch.device("cpu")


def experiment(folder: Path, rng: np.random.Generator, **training: object) -> Config:
    world = write_world(folder, rng, count=12)
    source = {"annotations": str(world["annotations"]), "images": str(world["images"])}
    settings = {"epochs": 3, "batch": 4, "workers": 0, "evaluate_every": 0, **training}
    return tiny_config(
        train=[source],
        training=settings,
        optimizer={"learning_rate": 1e-3, "warmup_steps": 2, "clip": 5.0},
        evaluation=[{**source, "results": str(world["results"])}],
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / MODEL_FILE).network.state_dict()


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    assert Trainer(config, tmp_path / "whole", CPU).fit()

    def interrupt(step: int) -> None:
        if step == 5:  # in the middle of the second epoch
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "parts", CPU).fit(on_step=interrupt)
    second = Trainer(config, tmp_path / "parts", CPU)
    assert second.resume()
    assert second.step == 5
    assert second.fit()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng, epochs=1)
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        Trainer(config.model_copy(update={"seed": seed}), tmp_path / name, CPU).fit()
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_the_loss_falls(tmp_path: Path, rng: np.random.Generator) -> None:
    trainer = Trainer(experiment(tmp_path, rng), tmp_path / "run", CPU)
    trainer.model.train()
    batch = trainer.batches[0]
    losses = [sum(trainer._train_step(batch).values()) for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]


def test_evaluation_of_real_results_is_logged_and_printed(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    config = experiment(tmp_path, rng, evaluate_every=1, epochs=1, flip_test=False)
    Trainer(config, tmp_path / "run", CPU, RealResults(config, CPU)).fit()
    entries = [json.loads(line) for line in (tmp_path / "run" / LOG_FILE).read_text().splitlines()]
    evaluation = next(e for e in entries if e["kind"] == "evaluation")
    source = next(iter(evaluation["sources"].values()))
    assert source["AP_gain"] == pytest.approx(source["AP_after"] - source["AP_before"])
    assert {"train", "evaluation"} == {e["kind"] for e in entries}
    assert f"epoch 1: AP before {source['AP_before']:.2f}, after {source['AP_after']:.2f}" in capsys.readouterr().out


def test_saving_often_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    often = config.model_copy(update={"training": config.training.model_copy(update={"save_minutes": 1e-9})})
    Trainer(config, tmp_path / "rarely", CPU).fit()
    Trainer(often, tmp_path / "often", CPU).fit()
    rarely, often_saved = weights(tmp_path / "rarely"), weights(tmp_path / "often")
    assert all(torch.equal(rarely[name], often_saved[name]) for name in rarely)


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan")])
def test_training_for_no_time_is_refused(tmp_path: Path, rng: np.random.Generator, minutes: float) -> None:
    with pytest.raises(InputError, match="minutes to train must be a number above 0"):
        Trainer(experiment(tmp_path, rng), tmp_path / "run", CPU).fit(minutes)


def test_how_losses_are_looked_at_may_change_when_resuming(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    Trainer(config, tmp_path / "run", CPU).save()
    other = config.model_copy(update={"training": config.training.model_copy(update={"workers": 2, "test_batch": 3})})
    assert Trainer(other, tmp_path / "run", CPU).resume()
    rates = config.optimizer.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match=r"optimizer\.learning_rate \(0\.001, now 0\.5\)"):
        Trainer(config.model_copy(update={"optimizer": rates}), tmp_path / "run", CPU).resume()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_training_image_is_one_sentence(tmp_path: Path, rng: np.random.Generator, workers: int) -> None:
    trainer = Trainer(experiment(tmp_path, rng, workers=workers), tmp_path / "run", CPU)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError) as caught:
        trainer.fit()
    assert "\n" not in str(caught.value)
    assert ".jpg" in str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    rates = config.optimizer.model_copy(update={"learning_rate": 1e30, "clip": 0.0, "warmup_steps": 0})
    trainer = Trainer(config.model_copy(update={"optimizer": rates}), tmp_path / "run", CPU)
    with pytest.raises(InputError, match="learning_rate"):
        trainer.fit()


def test_a_state_of_another_configuration_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    Trainer(config, tmp_path / "run", CPU).save()
    with pytest.raises(InputError, match="another seed"):
        Trainer(config.model_copy(update={"seed": 9}), tmp_path / "run", CPU).resume()
    (tmp_path / "run" / STATE_FILE).write_bytes(b"not a state")
    with pytest.raises(InputError, match="not a readable training state"):
        Trainer(config, tmp_path / "run", CPU).resume()


def test_too_few_people_for_a_batch_are_said(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="do not fill one batch of 64"):
        Trainer(experiment(tmp_path, rng, batch=64), tmp_path / "run", CPU)


def test_the_command_trains_stops_in_time_and_resumes(tmp_path: Path, rng: np.random.Generator) -> None:
    config = experiment(tmp_path, rng)
    path = tmp_path / "experiment.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    out = str(tmp_path / "run")
    options = ["--config", str(path), "--train_batch", "3", "--out", out, "--device", "cpu"]
    stopped = CliRunner().invoke(train, [*options, "--minutes", "0.0001", "training.epochs=2"])
    assert stopped.exit_code == 0, stopped.output
    assert "--resume goes on" in stopped.output
    again = CliRunner().invoke(train, [*options, "training.epochs=2"])
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    finished = CliRunner().invoke(train, [*options, "training.epochs=2", "--resume"])
    assert finished.exit_code == 0, finished.output
    assert load_checkpoint(Path(out) / MODEL_FILE).training_info["steps"] == 8


def test_the_learning_rate_follows_its_schedule() -> None:
    step = OptimizerConfig(learning_rate=1, schedule="step", milestones=(90, 120), warmup_steps=10)
    factors = [step.rate_at(epoch * 100, 100, 140) for epoch in (1, 89, 90, 119, 120, 139)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert step.rate_at(4, 100, 140) == pytest.approx(0.5)
    cosine = OptimizerConfig(learning_rate=1, schedule="cosine", warmup_steps=10)
    values = [cosine.rate_at(s, 100, 2) for s in range(200)]
    assert values.index(max(values)) in (9, 10)
    assert values[-1] < 1e-3
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_what_is_missing_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEFIX_DATA", str(tmp_path / "photos"))
    options = ["--config", "base_movenet_thunder", "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(train, options)
    assert result.exit_code == 2
    for said in (
        "photos/coco/",
        "more; {data} in a configuration is $POSEFIX_DATA, now",
    ):
        assert said in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_run_goes_on_where_the_data_moved(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "here"
    root.mkdir()
    absolute = json.dumps(experiment(root, rng).model_dump(mode="json"))
    config = from_dict(json.loads(absolute.replace(str(root), "{data}")))
    monkeypatch.setenv("POSEFIX_DATA", str(root))
    begun = Trainer(config, tmp_path / "run", CPU)
    begun._train_step(begun.batches[0])
    begun.save()

    moved = tmp_path / "there"
    root.rename(moved)
    monkeypatch.setenv("POSEFIX_DATA", str(moved))
    again = Trainer(config, begun.folder, CPU)
    assert again.resume()
    own = again.network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in begun.network.state_dict().items())

    state = torch.load(tmp_path / "run" / STATE_FILE, weights_only=True)
    del state["optimizer"]
    torch.save(state, tmp_path / "run" / STATE_FILE)
    with pytest.raises(InputError, match="not a readable training state"):
        again.resume()
