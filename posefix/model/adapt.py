"""Adapting the network's belief to how good the input poses at hand are, without any labels.

The network learnt from input poses whose offsets from the truth were distributed in one way, ``p``; those of the file
at hand may be distributed in another, ``q``: all of them small if the poses are right already. By Bayes' rule the
belief ``b(y)`` over the truth of a keypoint whose input is x becomes ``b(y) q(y - x) / p(y - x)``, and q is found by
expectation-maximisation over all the keypoints at hand (Saerens, Latinne and Decaestecker, Neural Computation, 2002).

Both distributions are mixtures with the same components: Gaussians around the input, whose standard deviations are
``WIDTHS`` times the keypoint's tolerance s k_j, and a uniform rest over the crop. Only the R = 5 shares differ.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from posefix.model.decode import map_stride

WIDTHS = (0.25, 0.5, 1.0, 2.0)  # of the Gaussians, in tolerances
COMPONENTS = len(WIDTHS) + 1
BLUR = 0.45  # heatmap pixels; how far a belief that is known at pixels alone is spread around what it means
LEAST_SHARE = 0.005  # of a component in training, so that nothing is taken for impossible
FALSE_ALARMS = 0.025  # far-off keypoints that the network sees in true poses; in real estimators' it sees 0.1 to 0.6
PSEUDO_COUNT = 50.0  # keypoints that speak for poses with errors; one person alone changes nothing
ITERATIONS = 100


class OffsetMixture:
    """The components' densities around input keypoints, at every heatmap pixel.

    Args:
        keypoints: (N, K, 2) input pose in pixels of the crop.
        tolerances: (N, K) s k_j in pixels of the crop.
        map_size: (h, w) of the heatmap.
        crop_size: (height, width) of the crop.
    """

    def __init__(
        self, keypoints: torch.Tensor, tolerances: torch.Tensor, map_size: tuple[int, int], crop_size: tuple[int, int]
    ) -> None:
        strides = map_stride(crop_size, map_size)
        widths = tolerances.new_tensor(WIDTHS)
        variances = (widths * tolerances[..., None]) ** 2 + (BLUR * max(strides)) ** 2
        self._norms = 1 / (2 * math.pi * variances)
        self._uniform = 1 / (crop_size[0] * crop_size[1])
        self._rows, self._columns = (
            self._profile(keypoints[..., axis], count, stride, variances)
            for axis, count, stride in ((1, map_size[0], strides[0]), (0, map_size[1], strides[1]))
        )

    @staticmethod
    def _profile(centres: torch.Tensor, count: int, stride: float, variances: torch.Tensor) -> torch.Tensor:
        """(N, K, R - 1, count) Gaussian factors along one axis."""
        positions = torch.arange(count, dtype=centres.dtype, device=centres.device) * stride
        squared = (positions - centres[..., None]).square()
        return torch.exp(-0.5 * squared[..., None, :] / variances[..., None])

    def density(self, shares: torch.Tensor) -> torch.Tensor:
        """(N, K, h, w) density per square pixel of the mixture with shares (R,)."""
        weighted = self._columns * (self._norms * shares[:-1])[..., None]
        return self._rows.transpose(-1, -2) @ weighted + shares[-1] * self._uniform

    def likelihoods(self, evidence: torch.Tensor) -> torch.Tensor:
        """(N, K, R): how likely each component makes the evidence (N, K, h, w), which is belief over density."""
        through = (self._rows @ evidence * self._columns).sum(-1) * self._norms
        rest = evidence.sum((-1, -2)) * self._uniform
        return torch.cat([through, rest[..., None]], dim=-1)


def component_densities(
    distances: np.ndarray, tolerances: np.ndarray, crop_size: tuple[int, int], blur: float = 0.0
) -> np.ndarray:
    """(..., R) densities per square pixel of the components at distances (...) from the input, all in crop pixels."""
    variances = (np.array(WIDTHS) * tolerances[..., None]) ** 2 + blur**2
    gaussians = np.exp(-0.5 * distances[..., None] ** 2 / variances) / (2 * np.pi * variances)
    rest = np.full((*distances.shape, 1), 1 / (crop_size[0] * crop_size[1]))
    return np.concatenate([gaussians, rest], axis=-1)


def fit_shares(likelihoods: np.ndarray, start: np.ndarray, pseudo_count: float = 0.0) -> np.ndarray:
    """Shares of the components that make the likelihoods of P keypoints most likely, by expectation-maximisation.

    Args:
        likelihoods: (P, R), of each component for each keypoint; any factor per keypoint is of no matter.
        start: (R,) shares that are begun with.
        pseudo_count: how many keypoints ``start`` counts as.

    Returns:
        (R,) float64 that sum to 1; ``start`` where there is nothing to go by.
    """
    shares = start = np.asarray(start, np.float64)
    if not len(likelihoods):
        return start
    for _ in range(ITERATIONS):
        responsibilities = likelihoods * shares
        responsibilities /= np.maximum(responsibilities.sum(1, keepdims=True), np.finfo(np.float64).tiny)
        counts = responsibilities.sum(0) + pseudo_count * start
        shares = counts / counts.sum()
    return shares


def shares_at_hand(likelihoods: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The shares to believe in for P keypoints: those of training, or, if there are hardly any errors, clean ones.

    The network sees a few far-off keypoints (the two widest components) in any poses, in true ones too. Up to a share
    of ``FALSE_ALARMS`` they are taken for its own mistakes: such poses are clean, and have none. From twice that share
    on the poses are an estimator's like those of training; in between both are mixed. To go further and believe in
    more errors than in training did not help on images held out, and leads a weak network astray.

    Args:
        likelihoods: (P, R) of each component for each keypoint.
        training: (R,) shares of training.

    Returns:
        (R,) float64 that sum to 1.
    """
    training = np.asarray(training, np.float64)
    found = fit_shares(likelihoods, _with_far(training, 3 * FALSE_ALARMS), PSEUDO_COUNT)
    clean = np.clip(2 - found[-2:].sum() / FALSE_ALARMS, 0, 1)
    return clean * _with_far(found, 0.0) + (1 - clean) * training if clean > 0 else training


def _with_far(shares: np.ndarray, far: float) -> np.ndarray:
    """Shares (R,) with the two widest components scaled to ``far`` in all, and the others to the rest."""
    near, wide = shares[:-2], shares[-2:]
    return np.concatenate([near * (1 - far) / near.sum(), wide * far / wide.sum()])


def training_shares(distances: np.ndarray, tolerances: np.ndarray, crop_size: tuple[int, int]) -> tuple[float, ...]:
    """(R,) shares of the components among input keypoints of known distances (P,) from the truth; even if P is 0."""
    if not len(distances):
        return (1 / COMPONENTS,) * COMPONENTS
    likelihoods = component_densities(distances, tolerances, crop_size)
    shares = fit_shares(likelihoods, np.full(COMPONENTS, 1 / COMPONENTS))
    shares = np.maximum(shares, LEAST_SHARE)
    return tuple(float(share) for share in shares / shares.sum())
