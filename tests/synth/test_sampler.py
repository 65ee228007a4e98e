"""Drawn errors are what the diagnosis says they are, as often as the statistics ask and as far as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from synth import ErrorType, Statistics, classify, neighbours_of, synthesize
from synth.imputation import fit_template
from synth.neighbours import Neighbours
from synth.sampler import ATTEMPTS

COCO = skeletons.load("coco17")
POSEFIX = Statistics.load("posefix")
SHIPPED = ("coco17", "mpii16", "crowdpose14", "halpe26")


def even(**probabilities: float) -> Statistics:
    """The same probability of an error for every keypoint of everybody."""
    return Statistics.from_dict({error: [{"probability": {"default": p}}] for error, p in probabilities.items()})


def crowd(
    rng: np.random.Generator, n: int, per_image: int, spread: float, unlabelled: float = 0.2, skeleton=COCO
) -> People:
    """Poses of all sizes close together, some of their keypoints not annotated."""
    k = len(skeleton)
    areas = rng.uniform(20**2, 200**2, n)
    shapes = COCO.template if skeleton == COCO else rng.normal(0, 0.4, (k, 2))
    keypoints = (
        rng.normal(300, spread, (n, 1, 2)) + (shapes + rng.normal(0, 0.15, (n, k, 2))) * np.sqrt(areas)[:, None, None]
    )
    scores = 2 * (rng.random((n, k)) >= unlabelled)
    return People(skeleton, keypoints, scores, np.arange(n) // per_image, areas=areas)


def couple(rng: np.random.Generator, images: int, unlabelled: float = 0.0) -> People:
    """Two people side by side in each image, near enough to swap and far enough for every error to have room."""
    areas = np.full(2 * images, 100.0**2)
    offset = np.tile([[0.0, 0.0], [55.0, 30.0]], (images, 1))[:, None]
    keypoints = 300 + offset + COCO.template * 100 + rng.normal(0, 2, (2 * images, 17, 2))
    scores = 2 * (rng.random((2 * images, 17)) >= unlabelled)
    return People(COCO, keypoints, scores, np.arange(2 * images) // 2, areas=areas)


def exponents(points: np.ndarray, centres: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """-ln KS of points (N, K, 2) to centres (N, K, 2)."""
    distance2 = ((points.astype(np.float64) - centres) ** 2).sum(-1)
    return distance2 / (2 * areas[:, None] * (2 * sigmas) ** 2)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    per_image=st.sampled_from([1, 2, 5, 12]),
    spread=st.sampled_from([0.0, 20.0, 150.0]),
    unlabelled=st.sampled_from([0.0, 0.3, 0.9]),
    name=st.sampled_from(SHIPPED),
)
def test_the_type_drawn_is_the_type_diagnosed(seed, per_image, spread, unlabelled, name):
    rng = np.random.default_rng(seed)
    people = crowd(rng, 24, per_image, spread, unlabelled, skeletons.load(name))
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, even(jitter=0.2, inversion=0.2, swap=0.2, miss=0.2), rng, impute=0.0)
    diagnosed, _ = classify(drawn.keypoints, people, neighbours)
    np.testing.assert_array_equal(drawn.types, diagnosed)
    np.testing.assert_array_equal(drawn.types == ErrorType.UNLABELLED, ~people.labelled)
    np.testing.assert_array_equal(drawn.scores > 0, people.labelled)


def test_the_type_drawn_is_the_type_diagnosed_on_real_poses(data_root, rng):
    with np.load(data_root / "coco" / "poses_train2017.npz") as archive:
        keypoints, boxes, image_ids = (archive[n][:5000] for n in ("keypoints", "bbox", "image_id"))
    areas = 0.515 * boxes[:, 2:].astype(np.float64).prod(1)
    people = People(COCO, keypoints[..., :2], keypoints[..., 2], image_ids, boxes, areas=areas)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, POSEFIX, rng, impute=0.0)
    np.testing.assert_array_equal(drawn.types, classify(drawn.keypoints, people, neighbours)[0])
    assert set(np.unique(drawn.types)) == set(ErrorType)


def assert_frequencies(types: np.ndarray, probability: np.ndarray, error: ErrorType) -> None:
    """Counts of an error within 4.5 standard deviations of the binomial with the given probabilities (any shape)."""
    expected, variance = probability.sum(), (probability * (1 - probability)).sum()
    assert abs((types == error).sum() - expected) <= 4.5 * np.sqrt(variance) + 0.5, (error, expected)


@pytest.mark.parametrize("visible", [(1, 5), (6, 10), (11, 17)])
@pytest.mark.parametrize("overlaps", [0, 1, 3])
@pytest.mark.parametrize("group", ["face", "upper", "lower"])
def test_requested_frequencies_come_back(visible, overlaps, group, rng):
    """Published table, each error type x keypoint group x condition; impossible errors renormalised away."""
    people = couple(rng, 2500)
    counts = rng.integers(visible[0], visible[1] + 1, (len(people), 1))
    people.scores = (rng.random((len(people), 17)).argsort(1) < counts).astype(np.float32)
    neighbours = neighbours_of(people)
    neighbours.overlaps[:] = overlaps
    drawn = synthesize(people, neighbours, POSEFIX, rng)

    requested = POSEFIX.probabilities(people.labelled.sum(1), neighbours.overlaps, COCO)
    counterpart = people.labelled[:, COCO.flip] & (COCO.flip != np.arange(17))
    near = neighbours.labelled[:, 0] | neighbours.labelled[:, 0][:, COCO.flip]
    requested[..., ErrorType.INVERSION] *= counterpart
    requested[..., ErrorType.SWAP] *= near
    requested /= requested.sum(-1, keepdims=True)
    chosen = people.labelled & COCO.group(group)
    for error in (ErrorType.GOOD, ErrorType.JITTER, ErrorType.INVERSION, ErrorType.SWAP, ErrorType.MISS):
        assert_frequencies(drawn.types[chosen], requested[chosen][:, error], error)


def test_drawn_errors_lie_in_their_rings(rng):
    people = crowd(rng, 3000, 4, 100.0, 0.0)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, even(jitter=0.2, inversion=0.2, swap=0.2, miss=0.2), rng)
    to_own, to_counterpart = (
        exponents(drawn.keypoints, people.keypoints[:, order], people.areas, COCO.sigmas)
        for order in (slice(None), COCO.flip)
    )
    to_others = np.stack(
        [
            exponents(drawn.keypoints, neighbours.keypoints[:, m][:, order], neighbours.areas[:, m], COCO.sigmas)
            for m in range(3)
            for order in (slice(None), COCO.flip)
        ]
    )
    good, half, tenth = -np.log([0.85, 0.5, 0.1]) * (1 + 1e-4)
    nearest = np.minimum(np.minimum(to_own, to_counterpart), to_others.min(0))
    of = {error: drawn.types == error for error in ErrorType}
    assert (to_own[of[ErrorType.GOOD]] <= good).all()
    assert ((to_own >= good * 0.999) & (to_own <= half))[of[ErrorType.JITTER]].all()
    assert (to_counterpart[of[ErrorType.INVERSION]] <= half).all()
    assert (to_others.min(0)[of[ErrorType.SWAP]] <= half).all()
    assert ((nearest >= half * 0.999) & (nearest <= tenth))[of[ErrorType.MISS]].all()


def test_distances_are_uniform_between_the_radii(rng):
    """A keypoint without any other candidate has nothing rejected: Kolmogorov-Smirnov at about 1 in 10,000."""
    people = People(
        COCO, np.full((4000, 17, 2), 200.0), np.eye(17)[np.zeros(4000, int)], np.arange(4000), areas=np.full(4000, 1e4)
    )
    neighbours = neighbours_of(people)
    for error, low, high in (("jitter", 0.85, 0.5), ("miss", 0.5, 0.1)):
        drawn = synthesize(people, neighbours, even(**{error: 1.0}), rng)
        radius = np.sqrt(exponents(drawn.keypoints, people.keypoints, people.areas, COCO.sigmas)[:, 0])
        inner, outer = np.sqrt(-np.log(low)), np.sqrt(-np.log(high))
        share = np.sort((radius - inner) / (outer - inner))
        assert abs(share - (np.arange(4000) + 0.5) / 4000).max() < 2.2 / np.sqrt(4000)


def test_the_same_seed_gives_the_same_result():
    people = crowd(np.random.default_rng(3), 700, 3, 80.0)
    neighbours = neighbours_of(people)
    first, again, other = (
        synthesize(people, neighbours, POSEFIX, np.random.default_rng(seed), dropout=0.1) for seed in (5, 5, 6)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.keypoints != other.keypoints).any()


def test_people_are_not_changed(rng):
    people = crowd(rng, 40, 4, 50.0)
    before = people.keypoints.copy(), people.scores.copy()
    synthesize(people, neighbours_of(people), POSEFIX, rng, dropout=0.5)
    np.testing.assert_array_equal(people.keypoints, before[0])
    np.testing.assert_array_equal(people.scores, before[1])


def test_impossible_errors_give_their_probability_back_in_proportion(rng):
    """Alone and without annotated counterparts, Inversion and Swap cannot be; the others keep their proportions."""
    people = couple(rng, 4000)[::2]
    people.scores[:, [2, 4, 6, 8, 10, 12, 14, 16]] = 0
    drawn = synthesize(people, neighbours_of(people), even(jitter=0.1, inversion=0.3, swap=0.3, miss=0.2), rng)
    types = drawn.types[people.labelled]
    assert not np.isin(types, [ErrorType.INVERSION, ErrorType.SWAP]).any()
    for error, probability in ((ErrorType.GOOD, 0.25), (ErrorType.JITTER, 0.25), (ErrorType.MISS, 0.5)):
        assert_frequencies(types, np.full(types.shape, probability), error)


def test_an_error_that_has_no_room_gives_its_probability_back(rng):
    """Twins on top of each other: nothing is nearer to the other than to oneself, so nothing can be a Swap."""
    one = couple(rng, 1)[:1]
    keypoints = np.repeat(one.keypoints, 2000, axis=0)
    people = People(COCO, keypoints, np.full((2000, 17), 2), np.arange(2000) // 2, areas=np.full(2000, 1e4))
    drawn = synthesize(people, neighbours_of(people), even(jitter=0.2, swap=0.6), rng)
    assert not (drawn.types == ErrorType.SWAP).any()
    for error in (ErrorType.GOOD, ErrorType.JITTER):
        assert_frequencies(drawn.types, np.full(drawn.types.shape, 0.5), error)


def test_where_no_error_can_be_the_keypoint_is_good_and_without_room_it_is_its_truth(rng):
    """A larger twin on top of a smaller one is nearer to every point but the truth itself."""
    people = couple(rng, 10)
    people.keypoints[1::2] = people.keypoints[::2]
    people.areas[1::2] *= 2
    drawn = synthesize(people, neighbours_of(people), even(jitter=1.0), rng)
    small = slice(None, None, 2)
    np.testing.assert_array_equal(drawn.keypoints[small], people.keypoints[small])
    assert (drawn.types[small] == ErrorType.GOOD).all()
    assert (drawn.types[1::2] == ErrorType.JITTER).all()
    people.areas[:] = 1e4
    assert (synthesize(people, neighbours_of(people), even(swap=1.0), rng).types == ErrorType.GOOD).all()


def test_swaps_stay_within_reach(rng):
    people, swapping = couple(rng, 50), even(swap=1.0)
    assert (synthesize(people, neighbours_of(people), swapping, rng).types == ErrorType.SWAP).all()
    people.keypoints[1::2] += 1000
    assert not (synthesize(people, neighbours_of(people), swapping, rng).types == ErrorType.SWAP).any()


def test_dropout_withholds_inputs_and_keeps_types(rng):
    people = couple(rng, 1000, unlabelled=0.3)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, POSEFIX, rng, dropout=0.25, impute=0.0)
    withheld = people.labelled & (drawn.scores == 0)
    share = withheld.sum() / people.labelled.sum()
    assert abs(share - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / people.labelled.sum())
    assert (drawn.keypoints[drawn.scores == 0] == 0).all()
    assert (drawn.types[withheld] >= 0).all()
    assert not synthesize(people, neighbours, POSEFIX, rng, dropout=1.0).scores.any()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), mirrored=st.booleans(), size=st.floats(10, 500))
def test_the_template_finds_its_own_images_under_similarity(seed, mirrored, size):
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.9) * size
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose = (COCO.template * ([-1, 1] if mirrored else [1, 1])) @ turn.T + rng.uniform(0, 500, 2)
    weights = np.zeros((1, 17))
    weights[0, rng.choice(17, 5, replace=False)] = rng.uniform(0.5, 2, 5)
    hidden_moved = np.where(weights[..., None] > 0, pose, 1e4)
    fitted = fit_template(hidden_moved, weights, COCO.template, np.array([size]))
    np.testing.assert_allclose(fitted[0], pose, atol=1e-4 * size)


def test_imputed_keypoints_complete_the_pose(rng):
    people = couple(rng, 1000, unlabelled=0.4)
    drawn = synthesize(people, neighbours_of(people), even(), rng, impute=1.0)
    hidden = ~people.labelled
    assert (drawn.types[hidden] == ErrorType.UNLABELLED).all()
    assert drawn.scores.all()
    distance = np.linalg.norm(drawn.keypoints - people.keypoints, axis=-1)[hidden] / 100
    assert 0.1 < np.sqrt((distance**2).mean() / 2) < 0.12  # the noise and little else, by coordinate
    half = synthesize(people, neighbours_of(people), even(), rng, impute=0.5)
    some = hidden.any(1)
    assert abs((half.scores[some].all(1)).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(some.sum())


def test_too_little_to_fit_a_template_to_gives_no_input(rng):
    keypoints = rng.uniform(0, 300, (4, 17, 2))
    scores = np.zeros((4, 17))
    scores[1, 3] = 2  # one keypoint
    scores[2] = 2  # nothing to impute
    scores[3, :9] = 2
    keypoints[3] = 40.3  # coincident keypoints
    people = People(COCO, keypoints, scores, np.arange(4), areas=np.full(4, 1e4))
    drawn = synthesize(people, neighbours_of(people), POSEFIX, rng, impute=1.0)
    np.testing.assert_array_equal(drawn.scores > 0, people.labelled)
    assert np.isfinite(drawn.keypoints).all()


def test_skeletons_without_a_template_get_no_imputed_input(rng):
    bare = skeletons.from_dict({**COCO.to_dict(), "template": None})
    people = crowd(rng, 30, 3, 50.0, 0.4)
    people = People(bare, people.keypoints, people.scores, people.image_ids, areas=people.areas)
    drawn = synthesize(people, neighbours_of(people), POSEFIX, rng, impute=1.0)
    np.testing.assert_array_equal(drawn.scores > 0, people.labelled)


def test_nobody_and_unknown_areas(rng):
    nobody = People.empty(COCO)
    drawn = synthesize(nobody, neighbours_of(nobody), POSEFIX, rng)
    assert drawn.keypoints.shape == (0, 17, 2) and drawn.types.shape == drawn.scores.shape == (0, 17)
    people = crowd(rng, 60, 3, 20.0)
    people.areas[:] = np.where(np.arange(60) % 2, 0, np.nan)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, POSEFIX, rng, impute=0.0)
    diagnosed, similarity = classify(drawn.keypoints, people, neighbours)
    np.testing.assert_array_equal(drawn.types, diagnosed)
    assert np.isfinite(similarity).all() and np.isfinite(drawn.keypoints).all()


def test_synthesis_commutes_with_maps_of_the_image(rng):
    """Types drawn in crop coordinates are the types diagnosed there: neighbours travel with each person's own map."""
    people = crowd(rng, 60, 3, 60.0)
    angle, scale = rng.uniform(-0.7, 0.7, 60), rng.uniform(0.3, 3, 60)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrices = np.stack([np.stack([cos, -sin, rng.uniform(-9, 9, 60)], -1), np.stack([sin, cos, np.zeros(60)], -1)], 1)
    neighbours = neighbours_of(people)
    moved = np.einsum("nij,nkj->nki", matrices[..., :2], people.keypoints) + matrices[:, None, :, 2]
    cropped = People(COCO, moved, people.scores, people.image_ids, areas=people.areas * scale**2)
    inside = Neighbours(
        geometry.transform(neighbours.keypoints, matrices).astype(np.float32),
        neighbours.labelled,
        neighbours.areas * (scale[:, None] ** 2).astype(np.float32),
        neighbours.overlaps,
    )
    points = people.keypoints + rng.normal(0, 15, people.keypoints.shape)
    points_moved = np.einsum("nij,nkj->nki", matrices[..., :2], points) + matrices[:, None, :, 2]
    (types, similarity), (types_moved, similarity_moved) = (
        classify(points, people, neighbours),
        classify(points_moved, cropped, inside),
    )
    np.testing.assert_allclose(similarity, similarity_moved, atol=1e-3)
    edge = np.abs(similarity[..., None] - [0.5, 0.85]).min(-1) < 1e-3
    assert ((types == types_moved) | edge).mean() > 0.999


def test_rounds_of_rejection_are_bounded():
    assert sum(ATTEMPTS) <= 256


def test_clean_people_have_no_error_and_half_of_them_no_noise(rng):
    people = couple(rng, 1000, unlabelled=0.2)
    neighbours = neighbours_of(people)
    often = even(jitter=0.2, inversion=0.2, swap=0.2, miss=0.35)
    drawn = synthesize(people, neighbours, often, rng, impute=0.0, clean=0.3)
    np.testing.assert_array_equal(drawn.types, classify(drawn.keypoints, people, neighbours)[0])
    labelled = people.labelled
    clean = ((drawn.types == ErrorType.GOOD) | ~labelled).all(1)
    offsets = np.linalg.norm(np.where(labelled[..., None], drawn.keypoints - people.keypoints, 0), axis=-1)
    assert clean.mean() == pytest.approx(0.3, abs=4.5 * np.sqrt(0.21 / len(people)))
    assert (offsets[clean].max(1) == 0).mean() == pytest.approx(0.5, abs=4.5 * np.sqrt(0.25 / clean.sum()))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 20.0]))
def test_clean_people_in_a_crowd_are_diagnosed_as_good(seed, spread):
    rng = np.random.default_rng(seed)
    people = crowd(rng, 24, 12, spread)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, even(miss=0.9), rng, impute=0.0, clean=1.0)
    np.testing.assert_array_equal(drawn.types, classify(drawn.keypoints, people, neighbours)[0])
