"""Objects of pose libraries to people and back: nothing is lost, nothing moves but what was moved."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import posefix
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import from_dict, load
from posefix.refine.refiner import Refiner
from tests.library_objects import (
    HEIGHT,
    REAL,
    STAND_INS,
    WIDTH,
    KeyPoints,
    Library,
    NormalizedLandmark,
    PoseLandmarkerResult,
    Results,
    arrays,
    plain,
)
from tests.tiny import COCO

SIZE = (WIDTH, HEIGHT)


CASES = [
    pytest.param(library, count, id=f"{library.name} {count}") for library in STAND_INS for count in library.counts
]
REAL_CASES = [
    pytest.param(library, count, id=f"{library.name} {count}") for library in REAL for count in library.counts
]
NAMES = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco_wholebody133"}


def short(values: np.ndarray) -> np.ndarray:
    """Numbers that every type holds, also as a fraction of the image."""
    return np.round(values * 2) / 2


def made(library: Library, values: tuple[np.ndarray, np.ndarray, np.ndarray]) -> object:
    return library.make(*(array[: library.most] for array in values))


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_unchanged_people_give_an_equal_object(library: Library, count: int, rng: np.random.Generator) -> None:
    given = made(library, arrays(rng, count))
    before = plain(given)
    people = library.take(given)
    again = library.put(people, given)
    assert again is not given
    assert plain(again) == before
    assert plain(given) == before


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_people_say_what_the_object_says(library: Library, count: int, rng: np.random.Generator) -> None:
    keypoints, scores, boxes = arrays(rng, count)
    if "half" in library.name or "bfloat16" in library.name:
        keypoints, boxes = short(keypoints).clip(1, 127), short(boxes).clip(0, 127)
    people = library.take(made(library, (keypoints, scores, boxes)))
    n = len(people)
    assert n == min(len(keypoints), library.most)
    assert people.skeleton == load(NAMES[count])
    assert (people.image_ids == 0).all()
    kept = people.labelled
    assert kept.mean() > 0.8
    np.testing.assert_allclose(people.keypoints[kept], keypoints[:n][kept], rtol=1e-6)
    if "scores" in library.without:
        assert (people.scores == 0.5).all()
    else:
        np.testing.assert_allclose(people.scores[kept], scores[:n][kept], rtol=5e-3)
    if "boxes" in library.without:
        assert (people.boxes == 0).all()
    else:
        np.testing.assert_allclose(people.boxes[:, :2], boxes[:, :2], rtol=1e-5)
        np.testing.assert_allclose(people.boxes[:, 2:], boxes[:, 2:] - boxes[:, :2], rtol=1e-5)
        np.testing.assert_allclose(people.areas, 0.515 * people.boxes[:, 2:].prod(1), rtol=1e-5)
    if "person_scores" in library.without:
        np.testing.assert_allclose(people.person_scores, people.scores.mean(1), rtol=1e-5)
    else:
        np.testing.assert_allclose(people.person_scores, scores[:n].max(1), rtol=5e-3)


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_one_moved_keypoint_is_all_that_changes(library: Library, count: int, rng: np.random.Generator) -> None:
    keypoints, scores, boxes = arrays(rng, count)
    given = made(library, (short(keypoints).clip(1, 127), scores.clip(0.6), boxes))
    before, people = plain(given), library.take(given)
    keypoints = people.keypoints.copy()
    person, keypoint = len(people) - 1, count - 3
    keypoints[person, keypoint] = 64.5, 32.25
    moved = library.put(people.with_keypoints(keypoints), given)
    assert plain(given) == before
    np.testing.assert_array_equal(library.xy(moved), keypoints)
    different = (library.xy(moved) != library.xy(given)).any(-1)
    assert np.argwhere(different).tolist() == [[person, keypoint]]
    back = library.put(library.take(moved).with_keypoints(people.keypoints), moved)
    assert plain(back) == before


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_what_has_no_estimate_stays_as_it_is(library: Library, count: int, rng: np.random.Generator) -> None:
    keypoints, scores, boxes = arrays(rng, count)
    scores = scores.clip(0.6)
    keypoints[:, 2] = 0
    keypoints[:, 4, 1] = np.nan
    keypoints[:, 5] = -np.inf
    missing = [2, 4, 5]
    if "scores" not in library.without:
        scores[:, 6] = 0
        missing.append(6)
    given = made(library, (keypoints, scores, boxes))
    people = library.take(given)
    assert np.flatnonzero(~people.labelled[0]).tolist() == missing
    assert not people.keypoints[:, missing].any()
    assert np.isfinite(people.keypoints).all()
    moved = library.put(people.with_keypoints(people.keypoints + 3), given)
    xy, own = library.xy(moved), library.xy(given)
    np.testing.assert_array_equal(xy[:, missing], own[:, missing])
    rest = np.setdiff1d(np.arange(count), missing)
    assert (xy[:, rest] != own[:, rest]).all()


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_nobody_at_all(library: Library, count: int, refiner: Refiner, image: np.ndarray) -> None:
    given = library.make(np.zeros((0, count, 2)), np.zeros((0, count)), np.zeros((0, 4)))
    people = library.take(given)
    assert len(people) == 0
    refined = refiner(image, people)
    again = library.put(refined, given)
    assert again is not given
    if "rtmlib" in library.name:
        assert again[0].shape == (0, count, 2)
        assert again[1].shape == (0, count)
    else:
        assert plain(again) == plain(given)


@pytest.mark.parametrize(("library", "count"), CASES + REAL_CASES)
def test_only_what_the_refiner_knows_is_refined(
    library: Library, count: int, refiner: Refiner, image: np.ndarray, rng: np.random.Generator
) -> None:
    given = made(library, arrays(rng, count))
    people = library.take(given)
    xy = library.xy(library.put(refiner(image, people), given))
    known = [NAMES[count] == "coco17" or people.skeleton.keypoint_names[k] in COCO.keypoint_names for k in range(count)]
    assert sum(known) == 17
    different = (xy != library.xy(given)).any(-1)
    assert different.any(1).all()
    assert not different[:, ~np.array(known)].any()
    expected = refiner.refine(people.to_skeleton(COCO), {0: image})
    places = [people.skeleton.index(name) for name in COCO.keypoint_names]
    shown = people.labelled[:, places]
    tolerance = 0.5 if "half" in library.name or "bfloat16" in library.name else 1e-4
    np.testing.assert_allclose(xy[:, places][shown], expected.keypoints[shown], atol=tolerance)


def _vitpose(count: int = 17, **more: object) -> dict:
    return {"keypoints": torch.rand(count, 2) + 1, "scores": torch.ones(count), **more}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: posefix.from_supervision(np.zeros((1, 17, 2))), "expected supervision.KeyPoints, got ndarray"),
        (
            lambda: posefix.from_supervision(KeyPoints(np.ones((1, 5, 2)))),
            r"5 keypoints for each person, not one of 17 \(coco17\)",
        ),
        (
            lambda: posefix.from_supervision(KeyPoints(np.ones((17, 2)))),
            r"keypoints of shape \(17, 2\), not \(N, K, 2\)",
        ),
        (
            lambda: posefix.from_supervision(KeyPoints(np.ones((1, 17, 2)), keypoint_confidence=np.ones(17))),
            r"of shape \(17,\), not \(1, 17\)",
        ),
        (lambda: posefix.from_supervision(KeyPoints([["a"]])), "got KeyPoints: could not convert"),
        (lambda: posefix.from_supervision(KeyPoints(np.full((1, 17, 2), 2e6))), "beyond"),
        (lambda: posefix.from_ultralytics([1, 2]), "Results of a pose model for one image, got list"),
        (lambda: posefix.from_ultralytics(np.zeros(3)), "Results of a pose model for one image, got ndarray"),
        (lambda: posefix.from_ultralytics(Results(np.zeros((4, 4, 3)), "", {})), "got Results: .* no attribute"),
        (lambda: posefix.from_mediapipe([], SIZE), "result with pose_landmarks, 33 for each person, got list"),
        (
            lambda: posefix.from_mediapipe(PoseLandmarkerResult(["a"], []), SIZE),
            "got PoseLandmarkerResult: .* no attribute",
        ),
        (
            lambda: posefix.from_mediapipe(PoseLandmarkerResult("a", []), SIZE),
            "got PoseLandmarkerResult: .* no attribute",
        ),
        (
            lambda: posefix.from_mediapipe(PoseLandmarkerResult([[NormalizedLandmark(0, 0)] * 21], []), SIZE),
            "33 for each person, got PoseLandmarkerResult",
        ),
        (
            lambda: posefix.from_mediapipe(PoseLandmarkerResult([[NormalizedLandmark("a", 0)] * 33], []), SIZE),
            "got PoseLandmarkerResult: could not convert",
        ),
        (lambda: posefix.from_mediapipe(PoseLandmarkerResult([], []), (640, 0)), r"\(width, height\).*\(640, 0\)"),
        (lambda: posefix.from_mediapipe(PoseLandmarkerResult([], []), None), "size must be"),
        (lambda: posefix.from_mediapipe(PoseLandmarkerResult([], []), (480, 640, 3)), "size must be"),
        (
            lambda: posefix.from_rtmlib(np.ones((1, 18, 2)), np.ones((1, 18))),
            "18 keypoints for each person, not one of 17",
        ),
        (lambda: posefix.from_rtmlib(np.ones((1, 17, 2)), np.ones((2, 17))), r"\(2, 17\), not \(1, 17\)"),
        (lambda: posefix.from_rtmlib(None, None), r"rtmlib's keypoints and scores, got tuple: keypoints of shape \(\)"),
        (lambda: posefix.from_rtmlib([[1, 2], [3]], []), "rtmlib's keypoints and scores, got tuple"),
        (
            lambda: posefix.from_transformers([[_vitpose()], [_vitpose()]]),
            "gives for one image, a list of dicts, got list",
        ),
        (lambda: posefix.from_transformers({"keypoints": 1}), "a list of dicts, got dict"),
        (
            lambda: posefix.from_transformers([{"boxes": 1, "scores": 2}]),
            "gives for one image, a list of dicts, got list: 'keypoints'",
        ),
        (
            lambda: posefix.from_transformers([_vitpose(labels=torch.zeros(17))]),
            "got list: .*must be of integer",
        ),
        (
            lambda: posefix.from_transformers([_vitpose(labels=torch.zeros(3))]),
            "got list: .*must be of integer",
        ),
        (lambda: posefix.from_transformers([_vitpose(200)]), "out of bounds for axis"),
        (lambda: posefix.from_transformers([_vitpose(labels=torch.arange(17) - 1)]), "a label is -1"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


WITH_OBJECTS = [library for library in STAND_INS if "rtmlib" not in library.name]


@pytest.mark.parametrize("library", WITH_OBJECTS, ids=lambda one: one.name)
def test_other_people_are_not_put_in(library: Library, rng: np.random.Generator) -> None:
    given = made(library, arrays(rng, library.counts[0]))
    people = library.take(given)
    with pytest.raises(InputError, match="cannot take the keypoints of"):
        library.put(people[[0] * (len(people) + 1)], given)
    hand = from_dict({"keypoints": [{"name": n, "sigma": 0.1, "group": "upper"} for n in ("thumb_tip", "palm")]})
    others = People(hand, np.ones((len(people), 2, 2)), np.ones((len(people), 2)), np.zeros(len(people)))
    with pytest.raises(InputError, match="no keypoint of skeleton"):
        library.put(others, given)
    people.keypoints[0, 0] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        library.put(people, given)


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = """if True:
        import sys, posefix
        libraries = ("supervision", "ultralytics", "mediapipe", "rtmlib", "transformers")
        assert not {"torch", "posefix.formats.memory", *libraries} & set(sys.modules)
        posefix.from_rtmlib([], []), posefix.from_transformers([])
        assert not {"torch", *libraries} & set(sys.modules)
        assert all(callable(getattr(posefix, name)) for name in posefix.__all__ if name[:3] in ("fro", "to_"))
        assert not hasattr(posefix, "from_nothing")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refiner_takes_people_as_it_takes_arrays(refiner: Refiner, image: np.ndarray, rng: np.random.Generator) -> None:
    keypoints, scores, boxes = arrays(rng, 17)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    people = People(COCO, keypoints, scores, np.full(3, 7), boxes=xywh, person_scores=[1, 2, 3], extra=[{"a": 1}] * 3)
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    for given in (None, people.boxes + 3):
        expected = refiner(image, triples, people.boxes if given is None else given)
        found = refiner(image, people, given, posefix.RefineSettings(rescore=False))
        np.testing.assert_array_equal(found.keypoints, expected[..., :2])
        for name in ("scores", "boxes", "person_scores", "image_ids", "areas"):
            np.testing.assert_array_equal(getattr(found, name), getattr(people, name))
        assert found.extra == people.extra
    assert (refiner(image, people).keypoints != people.keypoints).any()


def test_refiner_leaves_what_has_no_estimate_in_people(
    refiner: Refiner, image: np.ndarray, rng: np.random.Generator
) -> None:
    keypoints, scores, _ = arrays(rng, 17)
    scores[:, 4] = 0
    people = People(COCO, keypoints, scores, np.zeros(3))
    np.testing.assert_array_equal(refiner(image, people).keypoints[:, 4], people.keypoints[:, 4])


def test_refiner_says_which_people_it_cannot_take(
    refiner: Refiner, image: np.ndarray, rng: np.random.Generator
) -> None:
    people = People(COCO, *arrays(rng, 17)[:2], np.array([1, 1, 2]))
    with pytest.raises(InputError, match="people of 2 images were given with one image"):
        refiner(image, people)
    with pytest.raises(InputError, match="must be a numpy array"):
        refiner(image.astype(float), replace(people, image_ids=np.zeros(3)))
    hand = from_dict({"name": "hand", "keypoints": [{"name": "palm", "sigma": 0.1, "group": "upper"}]})
    with pytest.raises(InputError, match="no keypoint of hand"):
        refiner(image, People(hand, np.ones((1, 1, 2)), np.ones((1, 1)), np.zeros(1)))
