"""Numbers that keypoints share are correlated as asked, and distributions are what their quantiles say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import skeleton as skeletons
from synth import distribution
from synth.correlation import (
    LEVELS,
    Together,
    correlations,
    limbs_of,
    normal_cdf,
    normal_quantile,
    pairs_of,
    shared_normals,
)
from synth.displacement import inwardness_of

COCO = skeletons.load("coco17")
unit_interval = st.floats(0, 1)


@given(unit_interval, unit_interval, unit_interval)
def test_weights_are_those_of_unit_normals(a, b, c):
    together = Together.nested(a, b, c)
    assert 0 <= together.person <= together.group <= together.limb <= 1
    assert (together.weights() ** 2).sum() == pytest.approx(1, abs=1e-5)


def test_unknown_correlations_are_those_of_the_level_outside():
    assert Together.nested(0.2, float("nan"), 0.5) == Together(0.2, 0.2, 0.5)
    assert Together.nested(float("nan"), -0.3, float("nan")) == Together(0, 0, 0)


@pytest.mark.parametrize("together", [Together(), Together(0.1, 0.4, 0.8), Together(0.5, 0.5, 0.5), Together(1, 1, 1)])
def test_shared_normals_are_correlated_as_asked(together, rng):
    normals = np.einsum("w,wnk->nk", together.weights(), shared_normals(rng, 20000, COCO)[..., 0])
    assert normals.std(0) == pytest.approx(1, abs=0.03)
    found = correlations(normals, np.ones(normals.shape, bool), COCO)
    assert found == pytest.approx([together.person, together.group, together.limb], abs=0.02)


def test_every_pair_of_keypoints_is_of_one_level():
    pairs = np.concatenate(list(pairs_of(COCO).values()))
    assert len(np.unique(pairs, axis=0)) == len(pairs) == 17 * 16 // 2
    limbs = limbs_of(COCO)
    arm = [COCO.index(f"left_{part}") for part in ("shoulder", "elbow", "wrist")]
    assert len(set(limbs[arm])) == 1 and limbs[arm[0]] != limbs[COCO.index("right_wrist")]
    assert len(set(limbs[COCO.group("face")])) == 1
    assert list(pairs_of(COCO)) == list(LEVELS)


def test_limbs_have_one_side_whatever_the_order_of_keypoints():
    names = ["right_hip", "right_knee", "left_hip", "left_knee", "left_big_toe", "right_big_toe"]
    entries = [{"name": name, "sigma": 0.1, "group": "lower"} for name in names]
    limbs = limbs_of(skeletons.from_dict({"name": "legs", "keypoints": entries}))
    assert [limbs[0]] * 2 == [limbs[1], limbs[5]] and [limbs[2]] * 2 == [limbs[3], limbs[4]] and limbs[0] != limbs[2]


def test_a_value_that_many_have_lies_in_the_middle_of_its_share():
    quantiles = np.array(distribution.measured(np.r_[np.zeros(60), np.linspace(0, 1, 41)[1:]], None))[None]
    assert distribution.share_of(quantiles, np.array([0.0]))[0] == pytest.approx(0.3, abs=0.06)
    constant = np.ones((1, len(distribution.LEVELS)))
    assert distribution.share_of(constant, np.array([1.0]))[0] == pytest.approx(0.5)


def test_normal_ranks_and_shares_are_inverse():
    shares = np.linspace(0.001, 0.999, 200)
    np.testing.assert_allclose(normal_cdf(normal_quantile(shares)), shares, atol=1e-6)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.floats(0.02, 0.98))
def test_a_share_of_a_distribution_comes_back(values, share):
    quantiles = np.array(distribution.measured(np.array(values), None))[None]
    value = distribution.at(quantiles, np.array([share]))
    again = distribution.share_of(quantiles, value)
    np.testing.assert_allclose(distribution.at(quantiles, again), value, rtol=1e-3, atol=1e-3)


def test_values_drawn_from_measured_quantiles_have_the_measured_distribution(rng):
    values = rng.exponential(2.0, 50000)
    quantiles = np.array(distribution.measured(values, None))
    drawn = distribution.at(np.repeat(quantiles[None], 50000, 0), rng.random(50000))
    np.testing.assert_allclose(np.quantile(drawn, distribution.LEVELS[1:-1]), quantiles[1:-1], rtol=0.03)


def test_few_values_are_drawn_towards_the_wider_distribution():
    wider = (0.0,) * len(distribution.LEVELS)
    few = np.array(distribution.measured(np.ones(2), wider))
    many = np.array(distribution.measured(np.ones(2000), wider))
    np.testing.assert_allclose(few, 2 / 22, rtol=1e-3)
    np.testing.assert_allclose(many, 2000 / 2020, rtol=1e-3)
    assert distribution.measured(np.zeros(0), wider) == wider


@pytest.mark.parametrize("strength", [-3.0, -0.5, 0.0, 0.3, 1.0, 4.0])
def test_inwardness_is_what_gives_the_mean_cosine(strength, rng):
    points = rng.standard_normal((200000, 2)) + np.array([strength, 0])
    cosine = (points[:, 0] / np.linalg.norm(points, axis=1)).mean()
    assert inwardness_of(np.array(cosine)) == pytest.approx(strength, abs=0.06)
