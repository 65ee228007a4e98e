"""How to refine: one object of settings, made once and handed on whole."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal

from posefix.core.errors import InputError

if TYPE_CHECKING:
    from posefix.core.people import People

MOST_PASSES = 3
ESTIMATOR_AP = 55.0  # in percent, of an estimator of which nothing is known


@dataclass(frozen=True)
class RefineSettings:
    """How people are refined; what the ``posefix refine`` command does by default is the default here.

    Attributes:
        batch_size: people who run through the network at a time; batches run across images.
        flip_test: average over the mirrored crop.
        passes: how often a person may be refined, 1 to 3; more than once only people of whom little is expected.
        workers: threads that decode images and cut crops while the network runs.
        on_error: ``"stop"`` raises at the first unusable image, ``"skip"`` hands its people through untouched.
        rescore: give people scores that rank them by how good they are, and keep the old ones as
            ``original_scores`` (:mod:`posefix.refine.rescoring`).
        keypoint_scores: give keypoints scores: expected similarity to the truth (KS) times the probability that the
            keypoint is in the image.
        estimator_ap: AP in percent that the estimator is known to reach on people like these, 1 to 100; None for
            :meth:`believed_ap`. The better it is, the more is needed to move its keypoints.

    Raises:
        InputError: when a value is out of range.
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
        if self.passes > MOST_PASSES:
            raise InputError(f"passes must be 1 to {MOST_PASSES}, got {self.passes}")
        ap = self.estimator_ap
        if ap is not None and (isinstance(ap, bool) or not isinstance(ap, Real) or not 1 <= float(ap) <= 100):
            raise InputError(f"estimator_ap must be a number from 1 to 100, in percent, got {ap!r:.40}")
        if self.on_error not in ("stop", "skip"):
            raise InputError(f"on_error must be 'stop' or 'skip', got {self.on_error!r:.40}")

    def believed_ap(self, people: People) -> float:
        """AP in percent that the estimator of people is taken to reach: as given, or as usual for their format."""
        if self.estimator_ap is not None:
            return float(self.estimator_ap)
        usual = None if people.source is None else people.source.format.estimator_ap
        return ESTIMATOR_AP if usual is None else usual
