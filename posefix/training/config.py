"""Typed, validated configuration of a training: ``configs/*.yaml`` with overrides ``key.sub=value``."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import Field

from posefix.core import resources
from posefix.core.errors import InputError
from posefix.core.resources import StrictModel, validated
from posefix.models.config import ModelConfig

DATA = "../shared/data"  # default of $POSEFIX_DATA
FREE_OPTIONS: dict[str, bool | set[str]] = {  # options that do not influence the losses
    "name": True,
    "evaluation": True,
    "model": {"keep_margin"},
    "training": {"test_batch", "flip_test", "workers", "evaluate_every", "save_minutes", "cache"},
}
MAX_LISTED = 3  # missing files named in a message


def data_path(path: str) -> Path:
    """Resolve a path of a configuration, in which ``{data}`` stands for the folder in ``$POSEFIX_DATA``."""
    return Path(path.replace("{data}", os.environ.get("POSEFIX_DATA") or DATA))


class Fold(StrictModel):
    """Every ``of``-th image of a set, ordered by id, starting with the ``index``-th."""

    index: int = Field(ge=0)
    of: int = Field(ge=2)

    def images(self, image_ids: np.ndarray) -> np.ndarray:
        """Select the ids (M,) in the fold, sorted, from all ids (I,) of a set."""
        return np.unique(image_ids)[self.index % self.of :: self.of]


class EvaluationSource(StrictModel):
    """A real estimator's results to refine during training, on the images of ``fold`` if given."""

    annotations: str
    images: str
    results: str
    fold: Fold | None = None


class DataSource(StrictModel):
    """A training set: COCO annotations and the folder of their images; see :func:`data_path` for all paths.

    ``repeat`` is the number of times that each person appears in an epoch. ``observed`` are results of estimators on
    these images, used as inputs besides synthesised poses. The images of ``held_out`` are not used.
    """

    annotations: str
    images: str
    repeat: int = Field(default=1, ge=1)
    observed: tuple[str, ...] = ()
    held_out: Fold | None = None


class SynthesisConfig(StrictModel):
    """Input poses: error statistics by name or path, and probabilities per person.

    The input pose is with probability ``observed`` a real estimator's, if the data source has one; with probability
    ``guessed`` the backbone's estimate on a worse crop (fusion head with a cache); else synthesised. A synthesised pose
    has no errors with probability ``clean``, so that the network learns to keep good poses; ``inverted`` exchanges left
    and right of arms, legs or all; ``warped`` shifts, scales and rotates it; ``neighbour`` takes a neighbour's pose.

    ``scores`` draws confidences correlated with keypoint similarity; without it all are 1. ``placeholder`` moves the
    face keypoints and gives them a confidence near 0, as estimators without face keypoints do; ``dropout`` drops single
    keypoints, ``empty`` all of a person's. ``improved`` corrects a random share of the keypoints, to imitate estimators
    of any quality, and tells the fusion head the quality; a head trained without it supports only the default
    ``estimator_ap``. ``leg_occlusion`` cuts the person's legs out of the image.
    """

    statistics: str = "posefix"
    leg_occlusion: float = Field(default=0.0, ge=0, le=1)
    dropout: float = Field(default=0.0, ge=0, le=1)
    observed: float = Field(default=0.0, ge=0, le=1)
    guessed: float = Field(default=0.0, ge=0, le=1)
    clean: float = Field(default=0.0, ge=0, le=1)
    inverted: float = Field(default=0.0, ge=0, le=1)
    warped: float = Field(default=0.0, ge=0, le=1)
    neighbour: float = Field(default=0.0, ge=0, le=1)
    scores: bool = False
    improved: bool = False
    placeholder: float = Field(default=0.0, ge=0, le=1)
    empty: float = Field(default=0.0, ge=0, le=1)


class AugmentationConfig(StrictModel):
    """Augmentation, see :mod:`posefix.training.data.augment`; ``resolution`` shrinks up to 4.5 times and enlarges."""

    scale: float = Field(default=0.3, ge=0, lt=1)
    rotation: float = Field(default=40.0, ge=0, le=180)
    rotation_probability: float = Field(default=0.6, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    pose_box: float = Field(default=0.5, ge=0, le=1)
    photometric: float = Field(default=0.5, ge=0, le=1)
    occlusion: float = Field(default=0.0, ge=0, le=1)
    resolution: float = Field(default=0.0, ge=0, le=1)


class OptimizerConfig(StrictModel):
    """AdamW; the schedule ``step`` divides the learning rate by ten at each of the epochs ``milestones``.

    ``backbone_factor`` is the learning rate of the backbone relative to that of the head. Gradients are clipped to the
    norm ``clip``, unless it is 0.
    """

    learning_rate: float = Field(default=5e-4, gt=0)
    backbone_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (90, 120)
    warmup_steps: int = Field(default=0, ge=0)
    clip: float = Field(default=0.0, ge=0)

    def rate_at(self, step: int, epoch_steps: int, epochs: int) -> float:
        """Compute the learning rate of a step: linear warm-up, then the step schedule, or half a cosine to 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "step":
            return float(self.learning_rate * 0.1 ** sum(step >= epoch * epoch_steps for epoch in self.milestones))
        total = max(epochs * epoch_steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min((step - self.warmup_steps) / total, 1)))


class TrainingConfig(StrictModel):
    """The training loop.

    ``coordinate_weight`` is the weight of the deconv head's L1 loss. ``cache`` is a folder for outputs of MoveNet
    on an epoch of crops, which are computed if missing. They are those of all of MoveNet (``outputs``), so that only
    the fusion head is trained, or those of its first four stages (``stages``), so that the rest is trained as well.
    """

    cache: str | None = None
    cached: Literal["outputs", "stages"] = "outputs"
    epochs: int = Field(default=140, ge=1)
    batch: int = Field(default=128, ge=1)
    test_batch: int = Field(default=128, ge=1)
    flip_test: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    coordinate_weight: float = Field(default=1.0, ge=0)
    workers: int = Field(default=4, ge=0)
    evaluate_every: int = Field(default=5, ge=0)
    save_minutes: float = Field(default=10.0, gt=0)


class Config(StrictModel):
    """One experiment."""

    name: str
    seed: int = Field(default=0, ge=0)
    skeleton: str = "coco17"
    model: ModelConfig = ModelConfig()
    train: tuple[DataSource, ...] = ()
    synthesis: SynthesisConfig = SynthesisConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: tuple[EvaluationSource, ...] = ()

    def fixed_options(self) -> dict[str, Any]:
        """Return the options that a resumed run must share, those that influence the losses, by dotted name."""
        options: dict[str, Any] = {}
        for group, value in self.model_dump(mode="json", exclude=FREE_OPTIONS).items():
            options |= {f"{group}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {group: value}
        return options

    def require_data(self) -> None:
        """Raise InputError, naming the missing files, unless all data exists."""
        paths = [path for source in self.train for path in (source.annotations, source.images, *source.observed)]
        for source in self.evaluation if self.training.evaluate_every else ():
            paths += [source.annotations, source.images, source.results]
        if not (missing := [str(data_path(path)) for path in dict.fromkeys(paths) if not data_path(path).exists()]):
            return
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        raise InputError(
            f"{self.name}: needs files that are not here: {', '.join(missing[:MAX_LISTED])}{more}; {{data}} in a "
            f"configuration is $POSEFIX_DATA, now {data_path('{data}')}; put COCO's annotations and images there, or "
            "name yours: 'train=[{annotations: A.json, images: FOLDER}]' 'evaluation=[]'"
        )


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load an experiment by shipped name or path, with overrides such as ``model.sigma=9``; InputError if invalid."""
    spec, path = read(name_or_path, overrides)
    return from_dict({"name": path.stem, **spec}, str(path))


def read(name_or_path: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Path]:
    """Read the plain data of an experiment, with overrides, and its path; InputError as in :func:`load`."""
    spec, path = resources.read_yaml(".", name_or_path, "configuration")
    for override in overrides:
        _override(spec, override)
    return spec, path


def from_dict(spec: dict[str, Any], source: str = "configuration") -> Config:
    """Validate plain data; the inverse of ``config.model_dump(mode="json")``."""
    return validated(Config, spec, source)


def _override(spec: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"override {override!r:.80} is not of the form key.sub=value")
    *groups, last = key.split(".")
    for group in groups:
        spec = spec.setdefault(group, {})
        if not isinstance(spec, dict):
            raise InputError(f"override {override!r:.80}: {group:.40} is not a group of settings; give whole lists")
    try:
        spec[last] = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError, RecursionError):
        raise InputError(f"override {override!r:.80}: {value!r:.80} is not a YAML value") from None
