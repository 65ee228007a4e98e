"""The diagnosis of a keypoint, against a slow and literal reading of the rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core import skeleton as skeletons
from posefix.core.people import People
from synth import ErrorType, classify, neighbours_of

COCO = skeletons.load("coco17")


def reference(point, person: int, j: int, people: People) -> tuple[ErrorType, float]:
    """Type and best similarity of a point detected as keypoint j of a person: every candidate, one at a time."""
    if not people.labelled[person, j]:
        return ErrorType.UNLABELLED, math.nan
    flip = int(people.skeleton.flip[j])

    def similarity(other: int, keypoint: int) -> float:
        x, y = people.keypoints[other, keypoint].astype(float)
        k = 2 * people.skeleton.sigmas[j]
        return math.exp(-((point[0] - x) ** 2 + (point[1] - y) ** 2) / (2 * float(people.areas[other]) * k**2))

    candidates = [(similarity(person, j), "own")]
    if flip != j and people.labelled[person, flip]:
        candidates.append((similarity(person, flip), "counterpart"))
    for other in range(len(people)):
        if other != person and people.image_ids[other] == people.image_ids[person]:
            candidates += [(similarity(other, i), "other") for i in {j, flip} if people.labelled[other, i]]
    best = max(ks for ks, _ in candidates)
    whose = next(w for w in ("own", "counterpart", "other") if (best, w) in candidates)
    if best < 0.5:
        return ErrorType.MISS, best
    if whose == "own":
        return (ErrorType.GOOD if best > 0.85 else ErrorType.JITTER), best
    return (ErrorType.INVERSION if whose == "counterpart" else ErrorType.SWAP), best


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), per_image=st.integers(1, 5), spread=st.sampled_from([0.0, 5.0, 40.0]))
def test_classify_is_the_rules_read_literally(seed, per_image, spread):
    rng = np.random.default_rng(seed)
    n = 6
    areas = rng.uniform(30**2, 150**2, n)
    keypoints = rng.normal(200, spread, (n, 1, 2)) + COCO.template * np.sqrt(areas)[:, None, None]
    scores = rng.integers(0, 3, (n, 17))
    people = People(COCO, keypoints, scores, rng.permutation(np.arange(n) // per_image), areas=areas)
    noise = rng.normal(0, 0.12, (n, 17, 2)) * np.sqrt(areas)[:, None, None]
    side = np.where(rng.random((n, 17)) < 0.5, np.arange(17), COCO.flip)
    detected = (people.keypoints[rng.integers(0, n, (n, 1)), side] + noise).astype(np.float32)

    types, similarity = classify(detected, people, neighbours_of(people))
    assert types.dtype == np.int8
    for person in range(n):
        for j in range(17):
            expected, best = reference(detected[person, j].astype(float), person, j, people)
            if expected == ErrorType.UNLABELLED:
                assert types[person, j] == expected
                continue
            assert similarity[person, j] == pytest.approx(best, abs=1e-4)
            at_an_edge = min(abs(best - 0.5), abs(best - 0.85)) < 1e-4
            assert types[person, j] == expected or at_an_edge


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        (0.999, ErrorType.GOOD),
        (0.851, ErrorType.GOOD),
        (0.849, ErrorType.JITTER),
        (0.501, ErrorType.JITTER),
        (0.499, ErrorType.MISS),
        (0.001, ErrorType.MISS),
    ],
)
def test_thresholds(similarity, expected):
    areas = np.array([50.0**2])
    people = People(COCO, np.zeros((1, 17, 2)), np.eye(1, 17), [1], areas=areas)  # the nose alone
    distance = np.sqrt(-2 * areas[0] * (2 * COCO.sigmas[0]) ** 2 * np.log(similarity))
    types, found = classify(np.full((1, 17, 2), distance / np.sqrt(2)), people, neighbours_of(people))
    assert types[0, 0] == expected
    assert found[0, 0] == pytest.approx(similarity, abs=1e-4)
    assert (types[0, 1:] == ErrorType.UNLABELLED).all()


def test_truth_is_good_and_ties_go_to_the_own_truth():
    """Identical people on top of each other, and left on right: the truth still is Good."""
    keypoints = np.full((3, 17, 2), 77.7)
    people = People(COCO, keypoints, np.ones((3, 17)), [5, 5, 5], areas=[900, 900, 900])
    types, similarity = classify(people.keypoints, people, neighbours_of(people))
    assert (types == ErrorType.GOOD).all() and (similarity == 1).all()


def test_a_neighbour_is_measured_with_its_own_area():
    """Half way between two noses, the larger person's is the more similar one."""
    keypoints = np.zeros((2, 17, 2))
    keypoints[1, :, 0] = 10
    people = People(COCO, keypoints, np.eye(1, 17).repeat(2, 0), [1, 1], areas=[100**2, 300**2])
    types, _ = classify(np.full((2, 17, 2), (5.0, 0.0)), people, neighbours_of(people))
    assert types[0, 0] == ErrorType.SWAP and types[1, 0] == ErrorType.GOOD


def test_exchanging_left_and_right_of_a_pose_inverts_it(rng):
    people = People(COCO, 300 + 100 * COCO.template[None], np.full((1, 17), 2), [1], areas=[1e4])
    types, _ = classify(people.keypoints[:, COCO.flip], people, neighbours_of(people))
    paired = COCO.flip != np.arange(17)
    assert (types[0, paired] == ErrorType.INVERSION).all() and types[0, 0] == ErrorType.GOOD


def test_mirrored_people_get_mirrored_types(rng):
    n = 40
    areas = rng.uniform(900, 90000, n)
    keypoints = rng.normal(200, 30, (n, 1, 2)) + COCO.template * np.sqrt(areas)[:, None, None]
    people = People(COCO, keypoints, rng.integers(0, 3, (n, 17)), np.arange(n) // 4, areas=areas)
    detected = people.keypoints + rng.normal(0, 12, keypoints.shape).astype(np.float32)
    sign = np.array([-1, 1], np.float32)
    mirrored = People(
        COCO, (people.keypoints * sign)[:, COCO.flip], people.scores[:, COCO.flip], people.image_ids, areas=areas
    )
    types, similarity = classify(detected, people, neighbours_of(people))
    types_m, similarity_m = classify((detected * sign)[:, COCO.flip], mirrored, neighbours_of(mirrored))
    np.testing.assert_array_equal(types[:, COCO.flip], types_m)
    np.testing.assert_array_equal(similarity[:, COCO.flip], similarity_m)
