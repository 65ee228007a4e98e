"""Several processes under torchrun train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from posefix.training.run_folder import LOG_FILE
from tests.tiny import FUSION, write_world

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_have_the_losses_of_one(tmp_path: Path, rng: np.random.Generator) -> None:
    world = write_world(tmp_path, rng, count=12)
    config = {
        "name": "tiny",
        "model": FUSION,
        "train": [{"annotations": str(world["annotations"]), "images": str(world["images"])}],
        "training": {"epochs": 2, "batch": 4, "workers": 1, "evaluate_every": 0},
        "synthesis": {"leg_occlusion": 0.5, "scores": True},
        "augmentation": {"photometric": 0.7, "occlusion": 0.5, "resolution": 0.5},
        "optimizer": {"learning_rate": 1e-4, "warmup_steps": 2, "clip": 5.0},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(config))
    losses: list[list[dict[str, float]]] = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]):
        out = tmp_path / f"run{len(losses)}"
        command = [sys.executable, *launcher, "train.py", "--config", str(path), "--out", str(out), "--device", "cpu"]
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert run.returncode == 0, run.stderr
        entries = [json.loads(line) for line in (out / LOG_FILE).read_text().splitlines()]
        losses.append([{k: v for k, v in entry.items() if "second" not in k and k != "kind"} for entry in entries])
    assert len(losses[0]) == len(losses[1]) == 2
    for one, two in zip(*losses, strict=True):
        assert two == pytest.approx(one, abs=2e-4)
