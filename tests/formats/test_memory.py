"""Objects of pose libraries to people and back: nothing is lost, nothing moves but what was moved."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

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
    LANDMARKS,
    REAL,
    STAND_INS,
    WIDTH,
    KeyPoints,
    Library,
    NormalizedLandmark,
    PoseLandmarkerResult,
    Results,
    plain,
)
from tests.tiny import COCO, tiny_checkpoint

SIZE = (WIDTH, HEIGHT)
CASES = [
    pytest.param(library, count, id=f"{library.name} {count}") for library in STAND_INS for count in library.counts
]
REAL_CASES = [
    pytest.param(library, count, id=f"{library.name} {count}") for library in REAL for count in library.counts
]
NAMES = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco_wholebody133"}


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner(tiny_checkpoint())


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def arrays(rng: np.random.Generator, count: int, people: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, scores and boxes with numbers as networks give them."""
    keypoints = rng.uniform(1, 127, (people, count, 2))
    scores = rng.uniform(0.5, 1, (people, count))
    return keypoints, scores, np.concatenate([keypoints.min(1) - 5, keypoints.max(1) + 5], axis=1)


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


@pytest.mark.parametrize("nothing", [([], []), (np.array([]), np.array([])), (np.zeros((0, 26, 2)), np.zeros((0, 26)))])
def test_rtmlib_has_several_ways_to_say_nobody(nothing: tuple) -> None:
    assert len(posefix.from_rtmlib(*nothing)) == 0


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


def test_landmarks_of_mediapipe_by_name(rng: np.random.Generator) -> None:
    pose = [NormalizedLandmark(k / 64, k / 128, 0.0, 0.5) for k in range(1, 34)]
    people = posefix.from_mediapipe(PoseLandmarkerResult([pose], []), SIZE)
    coco = people.to_skeleton(COCO)
    for name, (x, y) in zip(COCO.keypoint_names, coco.keypoints[0].tolist(), strict=True):
        number = LANDMARKS.index(name.upper())
        assert (x, y) == pytest.approx(((number + 1) / 64 * WIDTH, (number + 1) / 128 * HEIGHT))
    people.keypoints[0, people.skeleton.index("right_wrist")] += 8
    moved = posefix.to_mediapipe(people, PoseLandmarkerResult([pose], []), SIZE).pose_landmarks[0]
    number = LANDMARKS.index("RIGHT_WRIST")
    assert moved[number].x == pytest.approx(pose[number].x + 8 / WIDTH)
    assert moved[number].y == pytest.approx(pose[number].y + 8 / HEIGHT)
    assert moved[:number] + moved[number + 1 :] == pose[:number] + pose[number + 1 :]


def test_poses_refined_elsewhere_in_another_skeleton_can_be_put_back(rng: np.random.Generator) -> None:
    given = KeyPoints(*[a.astype(np.float32) for a in arrays(rng, 133)[:1]])
    coco = posefix.from_supervision(given).to_skeleton(COCO)
    moved = posefix.to_supervision(coco.with_keypoints(coco.keypoints + 1), given)
    np.testing.assert_array_equal(moved.xy[:, :17], given.xy[:, :17] + 1)
    np.testing.assert_array_equal(moved.xy[:, 17:], given.xy[:, 17:])


def test_mediapipe_landmarks_without_a_visibility_are_not_certain() -> None:
    for visibility, score in ((None, 0.5), (0.0, 0.0), (0.25, 0.25)):
        pose = [NormalizedLandmark(0.5, 0.5, 0, visibility)] * 33
        assert posefix.from_mediapipe(PoseLandmarkerResult([pose], []), SIZE).scores[0, 0] == score


def test_supervision_without_confidences_and_of_three_dimensions() -> None:
    xy = np.arange(2 * 17 * 3).reshape(2, 17, 3)
    given = KeyPoints(xy)
    people = posefix.from_supervision(given)
    assert (people.scores == 0.5).all()
    moved = posefix.to_supervision(people.with_keypoints(people.keypoints + 0.5), given)
    np.testing.assert_array_equal(moved.xy[..., :2], xy[..., :2] + 0.5)
    np.testing.assert_array_equal(moved.xy[..., 2], xy[..., 2])


def test_new_supervision_is_not_asked_for_its_old_names(rng: np.random.Generator) -> None:
    given = KeyPoints(rng.uniform(0, 100, (1, 17, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posefix.to_supervision(posefix.from_supervision(given), given)


def test_a_new_supervision_object_has_data_of_its_own(rng: np.random.Generator) -> None:
    given = KeyPoints(rng.uniform(0, 100, (1, 17, 2)), data={"a": [1]})
    posefix.to_supervision(posefix.from_supervision(given), given).data["b"] = [2]
    assert given.data == {"a": [1]}


def test_ultralytics_forgets_the_old_positions(rng: np.random.Generator) -> None:
    triples = torch.from_numpy(rng.uniform(1, 100, (1, 17, 3))).float()
    given = Results(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "a.jpg", {0: "person"}, keypoints=triples)
    assert given.keypoints.xy[0, 0, 0] == triples[0, 0, 0]
    people = posefix.from_ultralytics(given)
    moved = posefix.to_ultralytics(people.with_keypoints(people.keypoints + 1), given)
    np.testing.assert_allclose(moved.keypoints.xy, triples[..., :2] + 1)
    assert moved.orig_img is given.orig_img


def test_tensors_of_whole_numbers_become_float32() -> None:
    pose = {"keypoints": torch.arange(1, 35).reshape(17, 2), "scores": torch.ones(17)}
    people = posefix.from_transformers([pose])
    moved = posefix.to_transformers(people.with_keypoints(people.keypoints + 0.5), [pose])[0]["keypoints"]
    assert moved.dtype == torch.float32
    np.testing.assert_array_equal(moved, pose["keypoints"] + 0.5)


def test_tensors_that_ask_for_gradients(rng: np.random.Generator) -> None:
    pose = {"keypoints": torch.rand(17, 2, requires_grad=True), "scores": torch.rand(17, requires_grad=True)}
    people = posefix.from_transformers([pose])
    moved = posefix.to_transformers(people.with_keypoints(people.keypoints + 1), [pose])
    np.testing.assert_allclose(moved[0]["keypoints"], (pose["keypoints"] + 1).detach())


def test_people_of_rtmlib_carry_their_own_numbers(rng: np.random.Generator) -> None:
    keypoints, scores, _ = arrays(rng, 26, 4)
    people = posefix.from_rtmlib(keypoints, scores)
    some = people[[3, 1]]
    some.keypoints[0, 5, 0] = 7.5
    expected = keypoints[[3, 1]]
    expected[0, 5, 0] = 7.5
    keypoints[:] = 0  # as a loop may that uses its arrays again
    found, found_scores = posefix.to_rtmlib(some)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_scores, scores[[3, 1]])
    assert found.dtype == np.float64


def test_people_from_elsewhere_become_rtmlibs_arrays(rng: np.random.Generator) -> None:
    given = KeyPoints(rng.uniform(1, 100, (2, 17, 2)).astype(np.float32))
    keypoints, scores = posefix.to_rtmlib(posefix.from_supervision(given))
    np.testing.assert_array_equal(keypoints, given.xy)
    np.testing.assert_array_equal(scores, np.full((2, 17), 0.5))
    wholebody = posefix.from_rtmlib(*arrays(rng, 133)[:2])
    assert posefix.to_rtmlib(wholebody.to_skeleton(COCO))[0].shape == (3, 17, 2)


def test_scores_below_zero_say_that_nothing_was_found(rng: np.random.Generator) -> None:
    keypoints, scores, _ = arrays(rng, 17)
    scores[:, 3] = -0.2
    people = posefix.from_rtmlib(keypoints, scores)
    assert (people.scores[:, 3] == 0).all()
    np.testing.assert_array_equal(posefix.to_rtmlib(people)[1], scores)


def test_rtmos_person_of_zeros_stays_one(refiner: Refiner, image: np.ndarray) -> None:
    zeros = np.zeros((1, 17, 2)), np.zeros((1, 17))
    for found, given in zip(posefix.to_rtmlib(refiner(image, posefix.from_rtmlib(*zeros))), zeros, strict=True):
        np.testing.assert_array_equal(found, given)


def test_labels_say_which_keypoints_are_above_the_threshold() -> None:
    pose = {
        "keypoints": torch.tensor([[1.0, 2], [3, 4], [5, 6]]),
        "scores": torch.tensor([0.5, 0.25, 1]),
        "labels": torch.tensor([12, 0, 5]),
    }
    people = posefix.from_transformers([pose])
    assert people.skeleton == COCO
    assert np.flatnonzero(people.labelled[0]).tolist() == [0, 5, 12]
    assert people.keypoints[0, 12].tolist() == [1, 2]
    people.keypoints += 10
    moved = posefix.to_transformers(people, [pose])[0]
    assert moved["keypoints"].tolist() == [[11, 12], [13, 14], [15, 16]]
    assert moved["labels"] is pose["labels"]


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


def test_real_supervision_draws_what_comes_back(image: np.ndarray, rng: np.random.Generator) -> None:
    sv = pytest.importorskip("supervision")
    given = sv.KeyPoints(xy=rng.uniform(20, 100, (2, 17, 2)).astype(np.float32))
    people = posefix.from_supervision(given)
    assert posefix.to_supervision(people, given) == given
    moved = posefix.to_supervision(people.with_keypoints(people.keypoints + 9), given)
    annotator = sv.VertexAnnotator(radius=2)
    before, after = (annotator.annotate(np.zeros_like(image), one) for one in (given, moved))
    np.testing.assert_array_equal(after[9:, 9:], before[:-9, :-9])
    assert len(posefix.from_supervision(sv.KeyPoints.empty())) == 0


def test_real_ultralytics_keeps_working(image: np.ndarray, rng: np.random.Generator) -> None:
    results = pytest.importorskip("ultralytics.engine.results")
    triples = torch.from_numpy(np.concatenate([rng.uniform(20, 90, (2, 17, 2)), np.ones((2, 17, 1))], -1)).float()
    boxes = torch.tensor([[10.0, 10, 100, 100, 0.9, 0], [12, 12, 99, 99, 0.5, 0]])
    given = results.Results(image, "a.jpg", {0: "person"}, boxes=boxes, keypoints=triples)
    people = posefix.from_ultralytics(given)
    moved = posefix.to_ultralytics(people.with_keypoints(people.keypoints + 4), given)
    assert type(moved) is results.Results
    np.testing.assert_allclose(moved.keypoints.xy, triples[..., :2] + 4)
    np.testing.assert_allclose(moved.keypoints.xyn[..., 0], (triples[..., 0] + 4) / WIDTH)
    np.testing.assert_allclose(given.keypoints.xy, triples[..., :2])
    assert len(moved[:1]) == 1
    assert moved.numpy().keypoints.data.dtype == np.float32
    assert (moved.plot() != given.plot()).any()
    nobody = results.Results(image, "a.jpg", {0: "person"}, boxes=boxes[:0], keypoints=triples[:0])
    assert len(posefix.from_ultralytics(nobody)) == 0


def test_real_rtmlib_decodes_and_draws(refiner: Refiner, image: np.ndarray, rng: np.random.Generator) -> None:
    rtmlib = pytest.importorskip("rtmlib")
    model = rtmlib.RTMPose.__new__(rtmlib.RTMPose)  # without its network
    model.model_input_size = (192, 256)
    simcc = [rng.uniform(-0.2, 0.9, (1, 17, 2 * side)).astype(np.float32) for side in (192, 256)]
    simcc[0][:, 3], simcc[1][:, 3] = -1, -1
    keypoints, scores = model.postprocess(simcc, np.array([100.0, 60]), np.array([75.0, 100]))
    people = posefix.from_rtmlib(keypoints, scores)
    assert people.labelled[0].tolist() == [k != 3 for k in range(17)]
    same = posefix.to_rtmlib(people)
    assert plain(same) == plain((keypoints, scores))
    refined, _ = posefix.to_rtmlib(refiner(image, people))
    assert (refined != keypoints).any()
    np.testing.assert_array_equal(refined[:, 3], keypoints[:, 3])
    assert rtmlib.draw_skeleton(image.copy(), refined, scores, kpt_thr=0.1).shape == image.shape


def test_real_mediapipe_has_the_landmarks_that_we_know() -> None:
    mediapipe = pytest.importorskip("mediapipe")
    try:
        landmarks = mediapipe.tasks.vision.PoseLandmark
    except AttributeError:
        landmarks = mediapipe.solutions.pose.PoseLandmark
    assert [one.name for one in landmarks] == LANDMARKS


def test_real_transformers_gives_what_is_put_back(rng: np.random.Generator) -> None:
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_vitpose")
    processor = vitpose.VitPoseImageProcessor()
    boxes = np.array([[10.0, 20, 60, 90], [100, 5, 40, 90]])  # xywh
    heatmaps = torch.from_numpy(rng.uniform(0, 0.1, (2, 17, 64, 48))).float()
    heatmaps[:, :, 40, 20] = 1
    outputs = SimpleNamespace(heatmaps=heatmaps)
    for threshold in (None, 0.2):
        (given,) = processor.post_process_pose_estimation(outputs, boxes=[boxes], threshold=threshold)
        people = posefix.from_transformers(given)
        assert people.labelled.all()
        assert not people.boxes.any()
        assert plain(posefix.to_transformers(people, given)) == plain(given)
        moved = posefix.to_transformers(people.with_keypoints(people.keypoints + 1), given)
        np.testing.assert_allclose(posefix.from_transformers(moved).keypoints, people.keypoints + 1, rtol=1e-5)
