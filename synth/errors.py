"""Diagnose keypoints as Good, Jitter, Inversion, Swap or Miss, by keypoint similarity (Ronchi and Perona, ICCV 2017).

The keypoint similarity of keypoint j at distance d from a candidate of a person of area s^2 is
``KS = exp(-d^2 / (2 s^2 k_j^2))`` with ``k_j = 2 sigma_j``. All work is done on its exponent ``u = -ln KS``, which
needs no exponential: the best candidate is the one of least u, and a threshold on KS is one on u.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from posefix.core.people import People
from synth.neighbours import Neighbours

GOOD_KS, NEAR_KS, FAR_KS = 0.85, 0.5, 0.1  # Good above the first, Miss below the second, drawn Misses above the third
GOOD_EXPONENT, NEAR_EXPONENT, FAR_EXPONENT = (np.float32(-np.log(ks)) for ks in (GOOD_KS, NEAR_KS, FAR_KS))
REACH = 1.5  # sqrt(area); a neighbour's keypoint this near can be swapped in, as nearly all that are
MIN_AREA = 1.0  # px^2; people of unknown or no area count as this large, so that no similarity is NaN


class ErrorType(IntEnum):
    """What is wrong with a detected keypoint."""

    UNLABELLED = -1  # the truth is not annotated
    GOOD = 0  # the best candidate is its own ground truth, KS > 0.85
    JITTER = 1  # its own, 0.5 <= KS <= 0.85
    INVERSION = 2  # its own person's left/right counterpart, KS >= 0.5
    SWAP = 3  # a keypoint of another person, KS >= 0.5
    MISS = 4  # the best KS is under 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """The points that a detected keypoint can belong to, C = 2 + 2M for each of N x K keypoints.

    In order: its own truth, its counterpart, the same keypoint of the M others, its counterpart on the M others. A
    candidate that is not annotated lies at infinity, so that it is never near.
    """

    x: np.ndarray  # (C, N, K) float32 pixels
    y: np.ndarray  # (C, N, K) float32 pixels
    inverse_scale: np.ndarray  # (C, N, K) float32, ``1 / (2 s^2 k_j^2)``: the factor from d^2 to u
    # (C, N, K) bool, those to draw errors around: annotated, and a neighbour's only within ``REACH``
    anchors: np.ndarray

    @classmethod
    def of(cls, truth: People, neighbours: Neighbours) -> Candidates:
        """Gather them from ground truth (N people) and its neighbours."""
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
        """(N, K, 5) bool: whether each error type can happen, in the order of :class:`ErrorType` from GOOD on."""
        possible = np.ones((*self.x.shape[1:], len(ErrorType) - 1), bool)
        possible[..., ErrorType.INVERSION] = self.anchors[1]
        possible[..., ErrorType.SWAP] = self.anchors[2:].any(0)
        return possible

    def take(self, rows: np.ndarray) -> Candidates:
        """Those of the keypoints at ``rows`` (P,), with N and K as one axis: (C, P)."""
        arrays = (self.x, self.y, self.inverse_scale, self.anchors)
        return Candidates(*(np.take(a.reshape(len(a), -1), rows, axis=1) for a in arrays))

    def decide(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Error types of points and the exponent u of their best candidate.

        Points are ``x`` and ``y`` in float32 pixels, of the candidates' shape without C, or with an axis behind it. Of
        equally near candidates the person's own wins, then the counterpart. Whether the own truth is annotated is not
        looked at.
        """
        behind = (...,) + (None,) * (x.ndim - self.x.ndim + 1)
        exponents = (x - self.x[behind]) ** 2
        exponents += (y - self.y[behind]) ** 2
        exponents *= self.inverse_scale[behind]
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
    """Diagnose detected keypoints against ground truth.

    Args:
        keypoints: (N, K, 2) pixels, the detected pose of each person of ``truth``.
        truth: N people; keypoints of score 0 are not annotated.
        neighbours: the other people of their images, in the same coordinates.

    Returns:
        (N, K) int8 :class:`ErrorType` values, and the (N, K) float32 keypoint similarity of the best candidate (0 when
        there is none).
    """
    keypoints = np.asarray(keypoints, np.float32)
    types, exponents = Candidates.of(truth, neighbours).decide(keypoints[..., 0], keypoints[..., 1])
    return np.where(truth.labelled, types, np.int8(ErrorType.UNLABELLED)), np.exp(-exponents)
