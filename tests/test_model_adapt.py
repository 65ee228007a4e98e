"""How good the input poses are is found from the beliefs alone, and beliefs that know it decide better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.model import adapt, decode

CROP, MAP = (192, 144), (48, 36)
STRIDE = max(decode.map_stride(CROP, MAP))
TRAINING = np.array([0.45, 0.2, 0.2, 0.1, 0.05])
TOLERANCE = 8.0


def draw_offsets(rng: np.random.Generator, shares: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) offsets of Gaussian components (the uniform one is as wide as half the crop)."""
    widths = np.append(np.array(adapt.WIDTHS) * TOLERANCE, 40.0)
    return rng.normal(0, 1, (count, 2)) * widths[rng.choice(len(widths), count, p=shares)][:, None]


def looked_at(rng: np.random.Generator, shares: np.ndarray, count: int = 1500, blur: float = 5.0):
    """Truths, inputs, and what a network trained with TRAINING would believe of an image that shows the truth blurred.

    Truth and input are (1, count, 2), the belief (1, count, h, w).
    """
    truth = rng.uniform((60, 84), (84, 108), (count, 2))
    pose = np.clip(truth + draw_offsets(rng, shares, count), 0, [CROP[1] - 1, CROP[0] - 1])
    seen = truth + rng.normal(0, blur, (count, 2))
    y, x = np.meshgrid(np.arange(MAP[0]) * STRIDE, np.arange(MAP[1]) * STRIDE, indexing="ij")
    image = np.exp(-((x - seen[:, 0, None, None]) ** 2 + (y - seen[:, 1, None, None]) ** 2) / (2 * blur**2))
    poses = torch.from_numpy(pose[None].astype(np.float32))
    mixture = adapt.OffsetMixture(poses, torch.full((1, count), TOLERANCE), MAP, CROP)
    prior = mixture.density(torch.from_numpy(TRAINING).float())
    belief = torch.from_numpy(image[None].astype(np.float32)) * prior
    return truth[None], poses, belief / belief.sum((-1, -2), keepdim=True), mixture, prior


def test_densities_on_the_map_are_those_of_the_formula_and_integrate_to_one() -> None:
    pose = torch.tensor([[[70.0, 90.0], [71.3, 95.8]]])
    tolerances = torch.tensor([[5.0, 12.0]])
    mixture = adapt.OffsetMixture(pose, tolerances, MAP, CROP)
    for component in range(adapt.COMPONENTS):
        density = mixture.density(torch.eye(adapt.COMPONENTS)[component])
        y, x = 20, 15
        at = torch.tensor([x, y]) * torch.tensor(decode.map_stride(CROP, MAP)[::-1])
        distances = (at - pose).norm(dim=-1).numpy()
        expected = adapt.component_densities(distances, tolerances.numpy(), CROP, adapt.BLUR * STRIDE)[..., component]
        np.testing.assert_allclose(density[:, :, y, x].numpy(), expected, rtol=1e-4)
        total = density.sum((-1, -2)) * np.prod(decode.map_stride(CROP, MAP))
        np.testing.assert_allclose(total.numpy(), 1, atol=0.06)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(
    "shares", [(1, 0, 0, 0, 0), (0.1, 0.1, 0.3, 0.4, 0.1), tuple(TRAINING)], ids=["clean", "bad", "as in training"]
)
def test_the_mixture_of_the_offsets_is_found_without_the_truth(shares: tuple, seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, _, belief, mixture, prior = looked_at(rng, np.array(shares))
    likelihoods = mixture.likelihoods(belief / prior)[0].double().numpy()
    found = adapt.fit_shares(likelihoods, TRAINING)
    assert found.sum() == pytest.approx(1)
    # Neighbouring widths look alike through a blurred image; what is small, middling and large does not.
    np.testing.assert_allclose(
        [found[:2].sum(), found[2:4].sum(), found[4]], [sum(shares[:2]), sum(shares[2:4]), shares[4]], atol=0.15
    )


def test_a_belief_that_knows_of_clean_poses_leaves_them_alone(rng: np.random.Generator) -> None:
    truth, pose, belief, mixture, prior = looked_at(rng, np.array([1.0, 0, 0, 0, 0]))
    found = adapt.shares_at_hand(mixture.likelihoods(belief / prior)[0].double().numpy(), TRAINING)
    assert found[-2:].sum() < 0.01
    adapted = belief * mixture.density(torch.from_numpy(found).float()) / prior
    adapted = adapted / adapted.sum((-1, -2), keepdim=True)
    tolerances, present = torch.full(pose.shape[:2], TOLERANCE), torch.ones(pose.shape[:2], dtype=torch.bool)

    def loss(maps: torch.Tensor) -> float:
        decided = decode.most_similar(maps, tolerances, CROP, pose, present)[0].numpy()
        return float(1 - np.exp(-((decided - truth) ** 2).sum(-1) / (2 * TOLERANCE**2)).mean())

    assert loss(adapted) < 0.8 * loss(belief)


@pytest.mark.parametrize("shares", [(0.0, 0.0, 0.3, 0.5, 0.2), tuple(TRAINING)], ids=["bad", "as in training"])
def test_poses_with_errors_are_believed_as_in_training(shares: tuple, rng: np.random.Generator) -> None:
    _, _, belief, mixture, prior = looked_at(rng, np.array(shares))
    found = adapt.shares_at_hand(mixture.likelihoods(belief / prior)[0].double().numpy(), TRAINING)
    np.testing.assert_array_equal(found, TRAINING)


def test_few_keypoints_change_nothing_and_more_of_them_do() -> None:
    clean = np.eye(adapt.COMPONENTS)[[0] * 200]
    for count in (0, 17):
        np.testing.assert_array_equal(adapt.shares_at_hand(clean[:count], TRAINING), TRAINING)
    assert adapt.shares_at_hand(clean, TRAINING)[-2:].sum() == pytest.approx(0)


@pytest.mark.parametrize(("share", "left"), [(0.0, 0), (1.0, 0), (1.5, 0.5), (2.0, 1), (10.0, 1)])
def test_errors_count_from_a_share_on_that_true_poses_seem_to_have(share: float, left: float) -> None:
    far = round(50_000 * share * adapt.FALSE_ALARMS)
    found = adapt.shares_at_hand(np.eye(adapt.COMPONENTS)[[0] * (50_000 - far) + [4] * far], TRAINING)
    assert found.sum() == pytest.approx(1)
    assert found[-2:].sum() == pytest.approx(left * TRAINING[-2:].sum(), abs=2e-3)


def test_nothing_to_go_by_changes_nothing() -> None:
    np.testing.assert_array_equal(adapt.fit_shares(np.zeros((0, adapt.COMPONENTS)), TRAINING), TRAINING)
    assert adapt.training_shares(np.zeros(0), np.zeros(0), CROP) == (0.2,) * 5


def test_the_shares_of_training_are_those_of_the_offsets(rng: np.random.Generator) -> None:
    distances = np.linalg.norm(draw_offsets(rng, np.array([0.5, 0.0, 0.4, 0.0, 0.1]), 20_000), axis=1)
    shares = np.array(adapt.training_shares(distances, np.full(20_000, TOLERANCE), CROP))
    assert shares.min() >= adapt.LEAST_SHARE / 1.03
    np.testing.assert_allclose(shares, [0.5, 0.005, 0.395, 0.03, 0.07], atol=0.04)
