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
    """Hold the options of refining; the defaults are those of ``posefix refine``.

    Attributes:
        batch_size: people per batch of the network; a batch can span several images.
        flip_test: average over the mirrored crop.
        passes: maximum number of passes per person, 1 to 3; only people with a low expected OKS get more than one.
        workers: threads that decode images and cut crops while the network runs.
        on_error: ``"stop"`` raises at the first unusable image, ``"skip"`` passes its people through unchanged.
        rescore: replace person scores by the expected quality of the pose, and keep the old ones as
            ``original_scores`` (:mod:`posefix.refine.rescoring`).
        keypoint_scores: replace keypoint scores by the expected similarity to the truth (KS) times the probability
            that the keypoint is in the image.
        estimator_ap: AP that the estimator reaches on people like these, 1 to 100 percent; None for
            :meth:`believed_ap`. The better it is, the more evidence is needed to move its keypoints.

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
