"""The shipped weights refine people on the demo's photographs, and a fault anywhere in the path of a crop shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from posefix.demo import load_photos
from posefix.demo.__main__ import erroneous, measure
from posefix.engines.torch import TorchEngine
from posefix.models.checkpoint import Checkpoint, load_checkpoint
from posefix.models.interface import Located
from posefix.refine.refiner import Refiner
from synth import Statistics

DRAWS = 4  # erroneous poses of each person
MIN_OKS = 0.96  # mean after refinement; 0.966 with the shipped weights, 0.953 and less with any of the faults
TRUTH, IMAGES = load_photos()


class RightEngine(TorchEngine):
    """Runs the network as it is meant to be run."""


class BlueForRed(TorchEngine):
    """Takes RGB for BGR."""

    def encode(self, crops, flip_test):
        return super().encode(np.ascontiguousarray(crops[..., ::-1]), flip_test)


class CropsOff(TorchEngine):
    """Is shown crops that are 3 pixels, of 256, beside where their map says."""

    def encode(self, crops, flip_test):
        return super().encode(np.roll(crops, (3, 3), (1, 2)), flip_test)


class NotNormalised(TorchEngine):
    """Shows the backbone colours from 0 to 255 where it expects them from -1 to 1."""

    def __init__(self, network, device, precision="f32"):
        super().__init__(network, device, precision)
        backbone = self.network.backbone
        features = backbone.features
        backbone.features = lambda images: features((images + 1) * 127.5)


class NotFlipped(TorchEngine):
    """Averages over the mirrored crop without exchanging left and right."""

    def __init__(self, network, device, precision="f32"):
        super().__init__(network, device, precision)
        for name, buffer in self.network.named_buffers():
            if name.split(".")[-1] == "flip":
                buffer.copy_(torch.arange(len(buffer)))


class HalfACellOff(TorchEngine):
    """Decodes every position half a cell of the heatmap too far right and down."""

    @torch.inference_mode()
    def locate(self, evidence, pose):
        output = self.network.predict(evidence, pose)
        maps = output.posterior
        for axis in (-1, -2):
            maps = (maps + maps.roll(1, axis)) / 2
        return Located.of(output._replace(posterior=maps), pose, self.network.config.frame_size)


def halved_scales(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with OKS scales of half their size."""
    return replace(checkpoint, skeleton=replace(checkpoint.skeleton, sigmas=checkpoint.skeleton.sigmas / 2))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("posefix-base")


def mean_oks(checkpoint: Checkpoint, engine: type[TorchEngine] = RightEngine) -> float:
    """Mean OKS after refinement of fixed erroneous poses."""
    given = erroneous(TRUTH, Statistics.load("posefix"), DRAWS, np.random.default_rng(0))
    refiner = Refiner(checkpoint, engine=engine(checkpoint.network, torch.device("cpu")))
    refined = refiner.refine(given, IMAGES)
    return float(measure(refined.keypoints, TRUTH).oks.mean())


def test_erroneous_poses_become_right(checkpoint: Checkpoint) -> None:
    given = erroneous(TRUTH, Statistics.load("posefix"), DRAWS, np.random.default_rng(0))
    assert measure(given.keypoints, TRUTH).oks.mean() < 0.85
    assert mean_oks(checkpoint) > MIN_OKS


@pytest.mark.parametrize("engine", [BlueForRed, CropsOff, NotNormalised, NotFlipped, HalfACellOff])
def test_the_bound_is_missed_by(engine: type[TorchEngine], checkpoint: Checkpoint) -> None:
    assert mean_oks(checkpoint, engine) < MIN_OKS


def test_the_bound_is_missed_with_halved_oks_scales(checkpoint: Checkpoint) -> None:
    assert mean_oks(halved_scales(checkpoint)) < MIN_OKS
