"""Validation during training: refine the results of real estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from posefix.core.skeleton import load
from posefix.evaluation.comparison import compare
from posefix.evaluation.ground_truth import GroundTruth, read_results
from posefix.media.images import ImageFolder
from posefix.models.checkpoint import Checkpoint
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.training.config import Config, data_path


class RealResults:
    """Measures the gain of checkpoints on each ``evaluation`` source; InputError for files that cannot be used."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._device, self._options = device, config.training
        skeleton = load(config.skeleton)
        self._sources = []
        for source in config.evaluation:
            truth = GroundTruth.read(data_path(source.annotations), skeleton)
            ids = source.fold.images(truth.image_ids) if source.fold else truth.image_ids
            people = read_results(data_path(source.results), truth)
            people = people[np.isin(people.image_ids, ids)]
            folder = ImageFolder(data_path(source.images), truth.images)
            folder.require(np.unique(people.image_ids))
            self._sources.append((source, folder, people, truth.on_images(ids.tolist())))

    def __call__(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Measure AP before, after, gain and its interval for each results file (by path), and the mean gain."""
        refiner = Refiner(checkpoint, self._device, engine="torch")  # compiling each checkpoint takes longer
        report: dict[str, Any] = {}
        settings = RefineSettings(self._options.test_batch, self._options.flip_test, rescore=False)
        for source, folder, people, truth in self._sources:
            refined = refiner.refine(people, folder, settings)
            measured = compare(truth, people, refined, rng=np.random.default_rng(0))
            report[source.results] = {f"AP_{name}": measured[name]["AP"] for name in ("before", "after", "gain")}
            report[source.results] |= {name: measured["gain"][name] for name in ("AP_low", "AP_high")}
        gains = [entry["AP_gain"] for entry in report.values() if entry["AP_gain"] is not None]
        return {"sources": report, "mean_gain": float(np.mean(gains)) if gains else None}
