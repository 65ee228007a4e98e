"""Experiments with training: their files fit the configurations, and their table says what was measured."""

from __future__ import annotations

import pytest
import yaml

from posefix.core.errors import InputError
from posefix.core.options import validated
from posefix.training.config import load
from tools.experiments.train_arms import ROOT, Experiment, table


@pytest.mark.parametrize("path", sorted((ROOT / "configs/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_can_be_run(path) -> None:
    experiment = validated(Experiment, yaml.safe_load(path.read_text()), str(path))
    assert len(experiment.arms) >= 2 and experiment.seeds == (0, 1, 2)
    trained = [load(experiment.config, [*experiment.common, *changes]) for changes in experiment.arms.values()]
    assert all(config != trained[0] for config in trained[1:])


@pytest.mark.parametrize(
    ("content", "words"),
    [("[1, 2]", "the whole"), ("config: a\narms: {}", "arms"), ("config: a\nseeds: []\narms: {a: []}", "seeds")],
)
def test_what_is_no_experiment_is_told_so(content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        validated(Experiment, yaml.safe_load(content), "experiment.yaml")


def test_an_experiment_is_summed_up_over_its_seeds() -> None:
    gains = {"a": [{"x": 1.0, "y": -1.0}, {"x": 3.0, "y": -2.0}], "b": [{"x": 0.0, "y": 0.5}, {"x": 0.0, "y": 0.5}]}
    rows = table(gains).splitlines()
    assert rows[2] == "| x | +2.00 (+1.00 to +3.00) | +0.00 (+0.00 to +0.00) |"
    assert rows[4] == "| mean | +0.25 (+0.00 to +0.50) | +0.25 (+0.25 to +0.25) |"
    assert rows[5] == "| mean, against a |  | +0.00 [-3.18, +3.18] |"  # t of one degree: 12.7 x 0.25
