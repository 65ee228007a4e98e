"""Typed, validated configuration: ``configs/*.yaml``, overridable as ``key.sub=value``."""

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

DATA = "../shared/data"  # where data is looked for unless $POSEFIX_DATA says otherwise
NOT_DECISIVE: dict[str, bool | set[str]] = {  # for the losses of a training
    "name": True,
    "evaluation": True,
    "model": {"keep_margin"},
    "training": {"test_batch", "flip_test", "workers", "evaluate_every", "save_minutes", "cache"},
}
MOST_LISTED = 3  # files


def place(path: str) -> Path:
    """Where a path of a configuration leads: ``{data}`` stands for the folder in ``$POSEFIX_DATA``."""
    return Path(path.replace("{data}", os.environ.get("POSEFIX_DATA") or DATA))


class Fold(StrictModel):
    """Every ``of``-th image of a set in the order of all its ids, from the ``index``-th on."""

    index: int = Field(ge=0)
    of: int = Field(ge=2)

    def images(self, image_ids: np.ndarray) -> np.ndarray:
        """(M,) those of all ids of a set (I,) that are in the fold, sorted."""
        return np.unique(image_ids)[self.index % self.of :: self.of]


class EvaluationSource(StrictModel):
    """A real estimator's results to refine while training, to see when to stop; on the images of ``fold`` if given."""

    annotations: str
    images: str
    results: str
    fold: Fold | None = None


class DataSource(StrictModel):
    """One training set: COCO annotations and the folder of their images; see :func:`place` for all paths.

    ``repeat`` is how often an epoch sees each person. ``observed`` are result files on these images, whose poses can
    serve as inputs beside synthesised ones. The images of ``held_out`` are not trained on.
    """

    annotations: str
    images: str
    repeat: int = Field(default=1, ge=1)
    observed: tuple[str, ...] = ()
    held_out: Fold | None = None


class SynthesisConfig(StrictModel):
    """Input poses: statistics by name or path; probabilities of what is done to them.

    A person's input is, with probability ``observed``, a real estimator's where the data source has one; with
    ``guessed``, what the network's backbone finds in a worse crop (fusion head with a cache), if ``observed`` leaves
    room for it. Else it is synthesised, with ``clean`` without any error, so that the network meets poses which are
    right already and learns to leave them alone. Of synthesised poses, ``inverted`` is the probability that left and
    right of arms, legs or all are exchanged, ``warped`` that all of it is displaced, scaled and turned, ``neighbour``
    that it is a neighbour's.
    ``scores`` draws confidences that go with how right a keypoint is; without, all of them are 1. ``placeholder`` is
    the probability that the face is somewhere with a confidence near 0, as of estimators that know no face;
    ``dropout`` that an input keypoint is withheld, ``empty`` that all of a person's are. ``improved`` puts any share of
    the keypoints of any input right, as estimators of every quality, and tells the fusion head which; a head that was
    trained without is to be refined by with the default ``estimator_ap`` alone.
    ``leg_occlusion`` is the probability that a person's legs are cut out of the image.
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
    """Geometry and appearance; see ``training.data.augment``. ``resolution``: shrunk up to 4.5 times and enlarged."""

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
    """AdamW and its learning rate, of which the schedule ``step`` leaves a tenth at each of the epochs ``milestones``.

    Gradients are clipped to the norm ``clip``; 0: not at all.
    """

    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (90, 120)
    warmup_steps: int = Field(default=0, ge=0)
    clip: float = Field(default=0.0, ge=0)

    def rate_at(self, step: int, epoch_steps: int, epochs: int) -> float:
        """Learning rate of a step: linear warm-up, then a tenth at each milestone or half a cosine to 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "step":
            return float(self.learning_rate * 0.1 ** sum(step >= epoch * epoch_steps for epoch in self.milestones))
        total = max(epochs * epoch_steps - self.warmup_steps, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min((step - self.warmup_steps) / total, 1)))


class TrainingConfig(StrictModel):
    """The loop.

    ``coordinate_weight`` scales the L1 loss of the deconv head. ``cache`` is a folder for the outputs of the
    fusion head's backbone on an epoch of crops: computed where they are missing, after which only the head is trained.
    """

    cache: str | None = None
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

    def decisive(self) -> dict[str, Any]:
        """All that the losses depend on, by dotted name."""
        found: dict[str, Any] = {}
        for group, value in self.model_dump(mode="json", exclude=NOT_DECISIVE).items():
            found |= {f"{group}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {group: value}
        return found

    def require_data(self) -> None:
        """Raise InputError unless all data is where the paths say, naming what is not, and how to get it."""
        named = [path for source in self.train for path in (source.annotations, source.images, *source.observed)]
        for source in self.evaluation if self.training.evaluate_every else ():
            named += [source.annotations, source.images, source.results]
        if not (lacking := [str(place(path)) for path in dict.fromkeys(named) if not place(path).exists()]):
            return
        more = f" and {len(lacking) - MOST_LISTED} more" if len(lacking) > MOST_LISTED else ""
        raise InputError(
            f"{self.name}: needs files that are not here: {', '.join(lacking[:MOST_LISTED])}{more}; {{data}} in a "
            f"configuration is $POSEFIX_DATA, now {place('{data}')}; put COCO's annotations and images there, or name "
            "yours: 'train=[{annotations: A.json, images: FOLDER}]' 'evaluation=[]'"
        )


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment by shipped name or path and apply overrides such as ``optimizer.learning_rate=1e-3``.

    Raises:
        InputError: naming the file and the first key that does not fit.
    """
    spec, path = read(name_or_path, overrides)
    return from_dict({"name": path.stem, **spec}, str(path))


def read(name_or_path: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Path]:
    """The plain data of an experiment with overrides applied, and its file; InputError as for :func:`load`."""
    spec, path = resources.read_yaml(".", name_or_path, "configuration")
    for override in overrides:
        _override(spec, override)
    return spec, path


def from_dict(spec: dict[str, Any], source: str = "configuration") -> Config:
    """Validate the plain-data form; the inverse of ``config.model_dump(mode="json")``."""
    return validated(Config, spec, source)


def _override(spec: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"override {override!r:.80} is not of the form key.sub=value")
    *groups, last = key.split(".")
    for group in groups:
        spec = spec.setdefault(group, {})
        if not isinstance(spec, dict):
            raise InputError(f"override {override!r:.80}: {group:.40} is no group of settings; give a list as a whole")
    try:
        spec[last] = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError, RecursionError):
        raise InputError(f"override {override!r:.80}: {value!r:.80} is not a YAML value") from None
