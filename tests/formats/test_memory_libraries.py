"""What is particular to the objects of one pose library, stand-ins and, where it is installed, the real ones."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import posefix
from posefix.refine.refiner import Refiner
from tests.library_objects import (
    HEIGHT,
    LANDMARKS,
    WIDTH,
    KeyPoints,
    NormalizedLandmark,
    PoseLandmarkerResult,
    Results,
    arrays,
    plain,
)
from tests.tiny import COCO

SIZE = (WIDTH, HEIGHT)


@pytest.mark.parametrize("nothing", [([], []), (np.array([]), np.array([])), (np.zeros((0, 26, 2)), np.zeros((0, 26)))])
def test_rtmlib_has_several_ways_to_say_nobody(nothing: tuple) -> None:
    assert len(posefix.from_rtmlib(*nothing)) == 0


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
