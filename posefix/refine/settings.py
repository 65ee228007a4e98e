"""Settings of the refinement."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np

from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.core.people import People

MAX_PASSES = 3
ESTIMATOR_AP = 55.0  # percent, assumed of an unknown estimator


@dataclass(frozen=True)
class RefineSettings:
    """How people are refined. Defaults are those of the ``posefix refine`` command.

    Attributes:
        batch_size: people per batch; a batch may span images.
        flip_test: average the predictions for the crop and its mirror image.
        passes: maximum number of passes, 1 to 3; only people with a low expected OKS get more than one.
        workers: threads that decode images and cut crops while the network runs.
        on_error: ``"stop"`` raises at the first unusable image, ``"skip"`` leaves its people unchanged.
        rescore: replace person scores by ones that rank people by expected OKS, and keep the old ones as
            ``original_scores`` (:mod:`posefix.refine.rescoring`).
        keypoint_scores: replace keypoint scores by the expected similarity to the truth (KS) times the probability
            that the keypoint is in the image.
        estimator_ap: AP of the estimator on similar people, in percent, 1 to 100; None for the default of
            :meth:`assumed_ap`. The higher it is, the less readily keypoints move.

    Raises:
        InputError: when a value is out of range or of the wrong type.
    """

    batch_size: int = 64
    flip_test: bool = True
    passes: int = 1
    workers: int = 2
    on_error: Literal["stop", "skip"] = "stop"
    rescore: bool = True
    keypoint_scores: bool = False
    estimator_ap: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "passes", "workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number from 1 on, got {value!r:.40}")
        for name in ("flip_test", "rescore", "keypoint_scores"):
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} must be True or False, got {value!r:.40}")
        if self.passes > MAX_PASSES:
            raise InputError(f"passes must be 1 to {MAX_PASSES}, got {self.passes}")
        ap = self.estimator_ap
        if ap is not None and (isinstance(ap, bool) or not isinstance(ap, Real) or not 1 <= float(ap) <= 100):
            raise InputError(f"estimator_ap must be a number from 1 to 100, in percent, got {ap!r:.40}")
        if self.on_error not in ("stop", "skip"):
            raise InputError(f"on_error must be 'stop' or 'skip', got {self.on_error!r:.40}")

    @classmethod
    def given(cls, settings: RefineSettings | None) -> RefineSettings:
        """Return the settings, or the defaults for None; InputError for anything else."""
        if settings is not None and not isinstance(settings, cls):
            raise InputError(f"settings must be posefix.RefineSettings, got {settings!r:.40}")
        return settings or cls()

    def assumed_ap(self, people: People) -> float:
        """Return the assumed AP of the estimator in percent: as set, or the default of the people's file format."""
        if self.estimator_ap is not None:
            return float(self.estimator_ap)
        default = None if people.source is None else people.source.format.estimator_ap
        return ESTIMATOR_AP if default is None else default
