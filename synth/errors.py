"""Classify keypoints as Good, Jitter, Inversion, Swap or Miss, by keypoint similarity (Ronchi and Perona, ICCV 2017).

The keypoint similarity of keypoint j at distance d from a candidate of a person of area s^2 is
``KS = exp(-d^2 / (2 s^2 k_j^2))`` with ``k_j = 2 sigma_j``. The code uses the exponent ``u = -ln KS``: the best
candidate has the least u, and a threshold on KS is one on u.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from posefix.core.people import People
from synth.neighbours import Neighbours

GOOD_KS, NEAR_KS, FAR_KS = 0.85, 0.5, 0.1  # limits of Good, of Miss (below), and of synthesized Misses (above)
GOOD_EXPONENT, NEAR_EXPONENT, FAR_EXPONENT = (np.float32(-np.log(ks)) for ks in (GOOD_KS, NEAR_KS, FAR_KS))
REACH = 1.5  # sqrt(area); maximum distance of a neighbour's keypoint that can be swapped in, as of nearly all real ones
MIN_AREA = 1.0  # px^2; lower bound for unknown and zero areas, so that no similarity is NaN


class ErrorType(IntEnum):
    """Error type of a detected keypoint, by its best candidate."""

    UNLABELLED = -1  # the truth is not annotated
    GOOD = 0  # its own ground truth, KS > 0.85
    JITTER = 1  # its own ground truth, 0.5 <= KS <= 0.85
    INVERSION = 2  # its own person's left/right counterpart, KS >= 0.5
    SWAP = 3  # a keypoint of another person, KS >= 0.5
    MISS = 4  # none: the best KS is under 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """The C = 2 + 2M true keypoints that each of N x K detected keypoints can belong to.

    In order: its own truth, its counterpart, the same keypoint of the M others, the counterpart of the M others.
    Candidates that are not annotated lie at infinity.
    """

    x: np.ndarray  # (C, N, K) float32 pixels
    y: np.ndarray  # (C, N, K) float32 pixels
    inverse_scale: np.ndarray  # (C, N, K) float32, ``1 / (2 s^2 k_j^2)``, the factor from d^2 to u
    anchors: np.ndarray  # (C, N, K) bool, can be drawn: annotated, and within ``REACH`` if of a neighbour

    @classmethod
    def of(cls, truth: People, neighbours: Neighbours) -> Candidates:
        """Gather the candidates from ground truth (N people) and its neighbours."""
        flip = truth.skeleton.flip
        keypoints = np.concatenate([truth.keypoints[None], np.moveaxis(neighbours.keypoints, 1, 0)])
        labelled = np.concatenate([truth.labelled[None], np.moveaxis(neighbours.labelled, 1, 0)])
        areas = np.concatenate([truth.areas[None], neighbours.areas.T])
        keypoints = np.where(labelled[..., None], keypoints, np.float32(np.inf))
        mirrored = keypoints[:, :, flip]
        mirrored[0, :, flip == np.arange(len(flip))] = np.inf  # a keypoint without sides has no counterpart
        x, y = (
            np.concatenate([same[:1], other[:1], same[1:], other[1:]])
            for same, other in ((keypoints[..., i], mirrored[..., i]) for i in (0, 1))
        )
        s2 = np.maximum(np.nan_to_num(areas), MIN_AREA)
        s2 = np.concatenate([s2[:1], s2[:1], s2[1:], s2[1:]])
        k2 = (2 * truth.skeleton.sigmas) ** 2
        anchors = np.isfinite(x)
        with np.errstate(invalid="ignore"):
            anchors[2:] &= (x[2:] - x[0]) ** 2 + (y[2:] - y[0]) ** 2 <= REACH**2 * s2[0, :, None]
        return cls(x, y, (1 / (2 * s2[..., None] * k2)).astype(np.float32), anchors)

    @property
    def possible(self) -> np.ndarray:
        """Mask (N, K, 5) bool of the error types that can happen, in the order of :class:`ErrorType` from GOOD on."""
        possible = np.ones((*self.x.shape[1:], len(ErrorType) - 1), bool)
        possible[..., ErrorType.INVERSION] = self.anchors[1]
        possible[..., ErrorType.SWAP] = self.anchors[2:].any(0)
        return possible

    def take(self, rows: np.ndarray) -> Candidates:
        """Select the candidates (C, P) of the keypoints at ``rows`` (P,) of the flattened N x K."""
        arrays = (self.x, self.y, self.inverse_scale, self.anchors)
        return Candidates(*(np.take(a.reshape(len(a), -1), rows, axis=1) for a in arrays))

    def decide(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the error types of points, and the exponent u of their best candidates.

        Points are ``x`` and ``y`` float32 pixels, of the candidates' shape without C, or with one more trailing axis.
        Ties go to the own truth, then to the counterpart. Points whose truth is not annotated get a type, too.
        """
        expand = (...,) + (None,) * (x.ndim - self.x.ndim + 1)
        exponents = (x - self.x[expand]) ** 2
        exponents += (y - self.y[expand]) ** 2
        exponents *= self.inverse_scale[expand]
        own, counterpart = exponents[:2]
        others = exponents[2:].min(axis=0, initial=np.inf)
        types = np.where(own < GOOD_EXPONENT, np.int8(ErrorType.GOOD), np.int8(ErrorType.JITTER))
        types[counterpart < own] = ErrorType.INVERSION
        best = np.minimum(own, counterpart)
        types[others < best] = ErrorType.SWAP
        best = np.minimum(best, others)
        types[~(best <= NEAR_EXPONENT)] = ErrorType.MISS
        return types, best


def classify(keypoints: np.ndarray, truth: People, neighbours: Neighbours) -> tuple[np.ndarray, np.ndarray]:
    """Classify detected keypoints.

    Args:
        keypoints: (N, K, 2) pixels, the detected pose of each person of ``truth``.
        truth: N people; keypoints of score 0 are not annotated.
        neighbours: the other people in their images, in the same coordinates.

    Returns:
        (N, K) int8 :class:`ErrorType` values, and the (N, K) float32 keypoint similarity of the best candidate (0
        without any).
    """
    keypoints = np.asarray(keypoints, np.float32)
    types, exponents = Candidates.of(truth, neighbours).decide(keypoints[..., 0], keypoints[..., 1])
    return np.where(truth.labelled, types, np.int8(ErrorType.UNLABELLED)), np.exp(-exponents)
