"""The closed loop: what is fitted to drawn errors is what they were drawn from; and drawn errors are like the real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.evaluation.diagnosis import diagnose
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import coco
from synth import (
    ErrorType,
    Observation,
    Statistics,
    classify,
    distribution,
    fit_statistics,
    neighbours_of,
    pool,
    synthesize,
)
from synth.confidence import Confidence
from synth.correlation import Together
from synth.divergence import divergences, jensen_shannon
from synth.frequencies import evidence
from synth.kinds import Kinds
from synth.statistics import ERRORS

COCO = skeletons.load("coco17")
ESTIMATORS = ("movenet-lightning", "posenet", "blazepose-full")


def groups_of_three(rng: np.random.Generator, images: int) -> People:
    """Three people side by side in each image, with from three to all keypoints annotated."""
    n = 3 * images
    areas = np.full(n, 100.0**2)
    offset = np.tile([[0.0, 0.0], [60.0, 20.0], [-70.0, 10.0]], (images, 1))[:, None]
    keypoints = 300 + offset + COCO.template * 100 + rng.normal(0, 3, (n, 17, 2))
    shown = rng.integers(3, 18, (n, 1))
    scores = 2 * (rng.random((n, 17)).argsort(1) < shown)
    return People(COCO, keypoints, scores, np.arange(n) // 3, areas=areas)


def drawn_from(people: People, statistics: Statistics, rng: np.random.Generator) -> Observation:
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, statistics, rng, impute=1.0)
    scores = None if statistics.confidence is None else drawn.scores
    return Observation.of(people, drawn.keypoints, neighbours, scores)


@pytest.fixture(scope="module")
def loop() -> tuple[Observation, Statistics, Observation, Statistics]:
    """A fit of people drawn from the pooled statistics, people drawn from that fit, and a fit of those."""
    rng = np.random.default_rng(5)
    first_people, second_people = groups_of_three(rng, 1600), groups_of_three(rng, 1600)
    first = drawn_from(first_people, Statistics.load("pooled"), rng)
    fitted = fit_statistics(first)
    second = drawn_from(second_people, fitted, rng)
    return first, fitted, second, fit_statistics(second)


def test_the_table_comes_back(loop) -> None:
    """Every cell within 4.5 standard errors of both fits, errors of one person counting as if they were three times
    as few (they go together)."""
    first, fitted, second, again = loop
    rows = {cell: np.flatnonzero(second.cells() == cell) for cell in np.unique(second.cells())}
    assert len(rows) >= 3
    for cell, people in rows.items():
        asked, got = (
            s.probabilities(second.visible[people[:1]], second.overlaps[people[:1]], COCO)[0] for s in (fitted, again)
        )
        counts = [((seen.types >= 0) & (seen.cells() == cell)[:, None]).sum(0)[:, None] for seen in (first, second)]
        error = np.sqrt(3 * asked * (1 - asked) * sum(1 / np.maximum(count, 1) for count in counts))
        assert (np.abs(asked - got) <= 4.5 * error + 0.005).all(), cell


def test_frequencies_of_each_error_come_back_within_sampling_error(loop) -> None:
    """Each error type of each body group and condition: as many as asked for, of those that could happen."""
    _, fitted, second, _ = loop
    kinds = fitted.kinds
    expected = np.zeros(second.possible.shape)
    for c, share in enumerate(kinds.shares):
        table = fitted.probabilities_by_kind(second.visible, second.overlaps, COCO, np.full(len(second.types), c))
        weights = table * second.possible
        expected += share * weights / weights.sum(-1, keepdims=True)
    known = second.types >= 0
    for cell in np.unique(second.cells()):
        for group in ("face", "upper", "lower"):
            chosen = known & COCO.group(group) & (second.cells() == cell)[:, None]
            people = chosen.any(1)
            for error in ErrorType:
                if error == ErrorType.UNLABELLED:
                    continue
                off = ((second.types == error) - expected[..., error]) * chosen
                spread = off.sum(1)[people].std() * np.sqrt(people.sum())
                assert abs(off.sum()) <= 4.5 * spread + 1, (cell, group, error)


def test_displacements_come_back(loop) -> None:
    _, fitted, second, again = loop
    for kind, asked in fitted.displacement.items():
        got = again.displacement[kind]
        for name in ("face", "upper", "lower"):
            drawn = second.distance[:, COCO.group(name)][second.types[:, COCO.group(name)] == kind]
            if len(drawn) < 150:
                continue
            below = (drawn[:, None] <= np.array(asked.distance[name])[1:-1]).mean(0)
            level = distribution.LEVELS[1:-1]
            error = np.sqrt(3 * level * (1 - level) / len(drawn))  # those of one person go together
            assert (np.abs(below - level) <= 4.5 * error + 0.02).all(), (kind, name)
            assert got.inward[name] == pytest.approx(asked.inward[name], abs=0.25), (kind, name)
        for aspect in ("distance_together", "direction_together"):
            for level in ("person", "group", "limb"):
                before, after = getattr(getattr(asked, aspect), level), getattr(getattr(got, aspect), level)
                assert after == pytest.approx(before, abs=0.15), (kind, aspect, level)


def test_confidences_come_back(loop) -> None:
    _, fitted, _, again = loop
    asked, got = fitted.confidence, again.confidence
    for kind in ErrorType:
        np.testing.assert_allclose(got.score[kind]["upper"][2:-2], asked.score[kind]["upper"][2:-2], atol=0.08)
    assert got.with_distance == pytest.approx(asked.with_distance, abs=0.05)
    for level in ("person", "group", "limb"):
        assert getattr(got.together, level) == pytest.approx(getattr(asked.together, level), abs=0.08)


def test_people_differ_as_much_as_they_did(loop) -> None:
    first, fitted, second, again = loop
    found = divergences(first, second)
    assert found["wrong keypoints of a person"] < 2
    assert found["same error on a limb"] < 4
    assert found["types"] < 0.002
    assert again.same_on_limb == pytest.approx(fitted.same_on_limb, abs=0.12)
    assert again.same_neighbour == pytest.approx(fitted.same_neighbour, abs=0.15)
    alike = fit_statistics(second, kinds=False)
    assert alike.kinds is None


def test_the_published_statistics_are_found_to_have_no_kinds_and_no_togetherness(rng: np.random.Generator) -> None:
    people = groups_of_three(rng, 1500)
    published = Statistics.load("posefix")
    fitted = fit_statistics(drawn_from(people, published, rng), kinds=False)
    assert fitted.same_on_limb < 0.12 and fitted.confidence is None
    for kind in (ErrorType.GOOD, ErrorType.JITTER, ErrorType.MISS):
        found = fitted.displacement[kind]
        assert abs(found.inward["default"]) < 0.12
        assert found.direction_together.limb < 0.1 and found.distance_together.limb < 0.1
    asked = published.probabilities(np.array([14]), np.array([2]), COCO)[0]
    assert np.abs(fitted.probabilities(np.array([14]), np.array([2]), COCO)[0] - asked).max() < 0.05


@pytest.mark.parametrize("name", ["pooled", "movenet_lightning", "posenet", "blazepose_full"])
def test_the_type_drawn_is_the_type_diagnosed_with_fitted_statistics(name, rng) -> None:
    people = groups_of_three(rng, 150)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, Statistics.load(name), rng, impute=0.0)
    given = drawn.scores > 0
    np.testing.assert_array_equal(drawn.types[given], classify(drawn.keypoints, people, neighbours)[0][given])
    assert not drawn.keypoints[~given].any() and not given[~people.labelled].any()
    assert given[people.labelled].mean() > 0.98 and (drawn.scores <= 1).all()


def test_the_same_seed_draws_the_same_and_clean_people_have_no_error() -> None:
    people = groups_of_three(np.random.default_rng(1), 40)
    neighbours, statistics = neighbours_of(people), Statistics.load("pooled")
    one, other = (synthesize(people, neighbours, statistics, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    clean = synthesize(people, neighbours, statistics, np.random.default_rng(7), clean=1.0)
    assert (clean.types[people.labelled] == ErrorType.GOOD).all()


@pytest.mark.parametrize("name", ["pooled", "movenet_lightning", "posenet", "blazepose_full"])
def test_shipped_statistics_are_written_as_they_are_read(name, tmp_path) -> None:
    statistics = Statistics.load(name)
    statistics.save(tmp_path / "again.yaml")
    assert Statistics.load(tmp_path / "again.yaml").to_dict() == statistics.to_dict()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6))
def test_kinds_mix_to_the_table(seed, count) -> None:
    rng = np.random.default_rng(seed)
    factors = np.exp(rng.normal(0, 1.5, (count, 3, 5)))
    factors[..., 0] = 1
    kinds = Kinds(rng.dirichlet(np.ones(count)), factors)
    table = rng.dirichlet([6, 1, 1, 1, 1], (4, 17))
    table[0, :, ErrorType.SWAP] = 0
    table /= table.sum(-1, keepdims=True)
    split = kinds.split(table, COCO)
    np.testing.assert_allclose(split.sum(-1), 1, atol=1e-9)
    np.testing.assert_allclose(np.tensordot(kinds.shares, split, 1), table, atol=1e-4)
    odds = split[..., 1:] / split[..., :1]
    ratio = odds[:, 1:, :, [0, 1, 3]] / odds[:1, 1:, :, [0, 1, 3]]
    asked = kinds.of_keypoints(COCO)
    asked = (asked / asked[:1])[:, None, :, [1, 2, 4]]
    np.testing.assert_allclose(ratio, np.broadcast_to(asked, ratio.shape), rtol=1e-6)


BAD_SECTIONS = {
    "people without share": ({"people": [{"jitter": {}}]}, "people.0"),
    "a factor below 0": (
        {"people": [{"share": 1.0, **{e.name.lower(): {"face": -1, "upper": 1, "lower": 1} for e in ERRORS}}]},
        "face",
    ),
    "same_on_limb over 1": ({"same_on_limb": 1.5}, "same_on_limb"),
    "displacement of one type only": ({"displacement": {"good": {}}}, "displacement"),
    "a NaN": ({"same_neighbour": float("nan")}, "same_neighbour"),
    "scores that fall": (
        {"confidence": {"score": {"good": {"default": [float(i) for i in range(15, 0, -1)]}}}},
        "confidence",
    ),
}


@pytest.mark.parametrize(("section", "named"), BAD_SECTIONS.values(), ids=BAD_SECTIONS)
def test_bad_sections_are_named(section, named) -> None:
    with pytest.raises(InputError, match=named):
        Statistics.from_dict({"jitter": [{"probability": {"default": 0.1}}], **section}, "mine.yaml")


def test_a_keypoint_that_nobody_knows_is_named() -> None:
    spec = Statistics.load("pooled").to_dict()
    spec["displacement"]["miss"]["inward"]["tail"] = 0.3
    with pytest.raises(InputError, match="'tail' is no keypoint"):
        Statistics.from_dict(spec, "mine.yaml")


def test_there_is_nothing_to_fit_without_keypoints(rng) -> None:
    people = groups_of_three(rng, 3)
    people.scores[:] = 0
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_statistics(drawn_from(people, Statistics.load("posefix"), rng))


def test_evidence_counts_everything_once(rng) -> None:
    seen = drawn_from(groups_of_three(rng, 60), Statistics.load("pooled"), rng)
    found = evidence(seen)
    parts = [part for row in found["frequencies"] for part in row["percent"].values()]
    assert sum(part["keypoints"] for part in parts) == found["keypoints"] == (seen.types >= 0).sum()
    for part in parts:
        types = [part[kind.name.lower()] for kind in ErrorType if kind != ErrorType.UNLABELLED]
        assert sum(share for share, _, _ in types) == pytest.approx(100, abs=0.3)
        assert all(low <= share <= high for share, low, high in types)


def test_keypoints_that_were_withheld_are_no_misses(rng) -> None:
    """Withholding a third of the keypoints changes how many there are, and nothing else."""
    people = groups_of_three(rng, 700)
    whole = drawn_from(people, Statistics.load("pooled"), rng)
    neighbours = neighbours_of(people)
    drawn = synthesize(people, neighbours, Statistics.load("pooled"), rng, impute=1.0)
    gone = (rng.random(drawn.scores.shape) < 1 / 3) | (drawn.scores == 0)
    keypoints, scores = np.where(gone[..., None], 0, drawn.keypoints), np.where(gone, 0, drawn.scores)
    held = Observation.of(people, keypoints, neighbours, scores)
    assert not (held.types[gone] >= 0).any()
    fitted, reference = fit_statistics(held, kinds=False), fit_statistics(whole, kinds=False)
    assert fitted.withheld["default"] == pytest.approx(1 / 3, abs=0.02) and reference.withheld["default"] < 0.01
    distances = [s.displacement[ErrorType.MISS].distance["default"] for s in (fitted, reference)]
    np.testing.assert_allclose(*np.array(distances)[:, 2:-3], rtol=0.12)
    again = synthesize(people, neighbours, fitted, rng, impute=1.0)
    assert (again.scores == 0).mean() == pytest.approx(1 / 3, abs=0.02)
    assert not again.keypoints[again.scores == 0].any()
    ranked = pool([held, held])
    np.testing.assert_array_equal(ranked.scores == 0, np.concatenate([gone, gone]))


@pytest.mark.parametrize("kind", ["continuous", "half at a floor", "most at the top", "three levels"])
def test_tied_scores_are_no_correlation(kind, rng) -> None:
    """Scores that are drawn apart are found to be apart, however many are the same."""
    people = groups_of_three(rng, 500)
    seen = drawn_from(people, Statistics.load("posefix"), rng)
    scores = rng.uniform(0.001, 1, seen.types.shape)
    scores = {
        "continuous": scores,
        "half at a floor": np.maximum(scores, 0.5),
        "most at the top": np.minimum(scores * 3, 1),
        "three levels": np.ceil(scores * 3) / 3,
    }[kind]
    fitted = fit_statistics(replace(seen, scores=scores.astype(np.float32)), kinds=False).confidence
    assert max(fitted.together.person, fitted.together.limb) < 0.08 and abs(fitted.with_distance) < 0.05


@pytest.mark.parametrize("top", [1.0, 0.6])
def test_correlated_scores_come_back_even_when_tied(top, rng) -> None:
    people = groups_of_three(rng, 700)
    confidence = Confidence(
        {kind: {"default": tuple(np.minimum(np.linspace(0.1, 1, 15), top))} for kind in ErrorType},
        Together(0.2, 0.4, 0.7),
    )
    published = Statistics.load("posefix")
    fitted = fit_statistics(drawn_from(people, replace(published, confidence=confidence), rng), kinds=False).confidence
    found = fitted.together
    assert [found.person, found.group, found.limb] == pytest.approx([0.2, 0.4, 0.7], abs=0.06)


def test_the_factors_of_people_must_be_able_to_make_the_table() -> None:
    spec = Statistics.load("posefix").to_dict()
    never = {e.name.lower(): {"face": 0, "upper": 0, "lower": 0} for e in ERRORS}
    statistics = Statistics.from_dict(spec | {"people": [{"share": 1.0, **never}]}, "mine.yaml")
    with pytest.raises(InputError, match=r"mine.yaml: no probabilities have both"):
        statistics.probabilities_by_kind(np.array([5]), np.array([0]), COCO, np.array([0]))


def test_pooling_ranks_scores_within_each_estimator(rng) -> None:
    people = groups_of_three(rng, 40)
    first = drawn_from(people, Statistics.load("pooled"), rng)
    second = Observation.of(people, people.keypoints, neighbours_of(people), 1000 * rng.random(people.scores.shape))
    together = pool([first, second])
    assert len(together.types) == 2 * len(people)
    for half in (together.scores[: len(people)], together.scores[len(people) :]):
        assert half.max() == 1 and half.mean() == pytest.approx(0.5, abs=0.01)


def test_jensen_shannon_is_a_divergence_of_at_most_a_bit() -> None:
    assert jensen_shannon(np.array([3.0, 1]), np.array([6.0, 2])) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.0, 5])) == pytest.approx(1)
    assert jensen_shannon(np.array([3.0, 1]), np.array([1.0, 1])) == pytest.approx(
        jensen_shannon(np.array([1.0, 1]), np.array([3.0, 1]))
    )


def test_nothing_diverges_from_itself(rng) -> None:
    seen = drawn_from(groups_of_three(rng, 300), Statistics.load("pooled"), rng)
    assert all(value == pytest.approx(0, abs=1e-9) or np.isnan(value) for value in divergences(seen, seen).values())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fitted_synthesis_is_nearer_to_a_real_estimator_than_the_published(data_root, name, rng) -> None:
    folder = data_root / "coco"
    results = coco.read(folder / "results" / "train" / f"{name}.json", COCO)
    found = diagnose(GroundTruth.read(folder / "annotations" / "person_keypoints_train.json"), results)
    real = found.observation()
    rows = np.flatnonzero(found.found)
    neighbours = found.neighbours.take(rows)
    distance = {}
    for statistics in ("posefix", name.replace("-", "_")):
        drawn = synthesize(real.truth, neighbours, Statistics.load(statistics), rng)
        seen = Observation.of(real.truth, drawn.keypoints, neighbours, drawn.scores)
        distance[statistics] = divergences(real, seen)
    published, fitted = distance.values()
    nearer = ["types", "wrong keypoints of a person", "same error on a limb", "good distance", "jitter distance"]
    nearer += ["miss distance", "miss direction", "jitter on a limb", "miss on a limb", "scores"]
    assert all(fitted[what] < 0.6 * published[what] for what in nearer), (fitted, published)
