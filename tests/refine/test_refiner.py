"""The refiner's promises: order, independence from batching, flips, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posefix import formats
from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.neighbours import OtherPeople
from posefix.core.people import MAX_COORDINATE, People
from posefix.formats.registry import FORMATS
from posefix.formats.source import Source
from posefix.models.interface import Evidence, InputPose, Located
from posefix.refine.one_batch import input_pose
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.refine.views import Views
from tests.tiny import fusion_checkpoint, random_people, tiny_checkpoint


@pytest.fixture(scope="module", params=["posefix", "fusion"])
def refiner(request: pytest.FixtureRequest) -> Refiner:
    return Refiner(tiny_checkpoint() if request.param == "posefix" else fusion_checkpoint(), engine="torch")


def images(rng: np.random.Generator, count: int = 3, side: int = 120) -> dict[int, np.ndarray]:
    coarse = {i: rng.integers(0, 256, (6, 6, 3)).astype(np.uint8) for i in range(1, count + 1)}
    return {i: cv2.resize(c, (side, side), interpolation=cv2.INTER_CUBIC) for i, c in coarse.items()}


def test_batch_size_and_workers_change_nothing(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photos = random_people(rng, 11), images(rng)
    expected = refiner.refine(people, photos, RefineSettings(batch_size=11, workers=1)).keypoints
    for batch_size, workers in [(1, 1), (4, 3), (64, 2)]:
        found = refiner.refine(people, photos, RefineSettings(batch_size=batch_size, workers=workers)).keypoints
        np.testing.assert_allclose(found, expected, atol=1e-2)


def test_each_person_is_refined_on_their_own(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photos = random_people(rng, 6), images(rng)
    order = rng.permutation(6)
    together = refiner.refine(people, photos).keypoints
    shuffled = refiner.refine(people[order], photos).keypoints
    np.testing.assert_allclose(shuffled, together[order], atol=1e-2)


def test_a_run_that_starts_later_gives_the_same_batches(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photos = random_people(rng, 10), images(rng)
    settings = RefineSettings(batch_size=3)
    whole = list(refiner.refine_batches(people, photos, settings))
    late = list(refiner.refine_batches(people, photos, settings, refiner.plan(people, settings).part(2)))
    assert [b.rows.tolist() for b in late] == [b.rows.tolist() for b in whole[2:]]
    finished = refiner.plan(people, settings).part(len(whole))
    assert finished.people == 0 and not list(refiner.refine_batches(people, photos, settings, finished))
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(late, whole[2:], strict=True))


def mirrored_keypoints(keypoints: np.ndarray, width: int, flip: np.ndarray) -> np.ndarray:
    """Keypoints (N, K, 2) in the mirrored image of so many pixels, left and right exchanged."""
    return keypoints[:, flip] * [-1, 1] + [width - 1, 0]


@pytest.mark.parametrize("head", ["posefix", "fusion"])
def test_with_flip_test_mirrored_people_are_refined_to_mirrored_poses(head: str, rng: np.random.Generator) -> None:
    checkpoint = tiny_checkpoint() if head == "posefix" else fusion_checkpoint(spread=0.0)  # which knows no sides
    refiner = Refiner(checkpoint, engine="torch")
    people, photos = random_people(rng, 4, images=1), images(rng, 1)
    flip = refiner.skeleton.flip
    boxes = people.boxes.copy()
    boxes[:, 0] = 119 - boxes[:, 0] - boxes[:, 2]
    mirrored = people.with_keypoints(mirrored_keypoints(people.keypoints, 120, flip), people.scores[:, flip])
    mirrored.boxes = boxes
    expected = mirrored_keypoints(refiner.refine(people, photos).keypoints, 120, flip)
    found = refiner.refine(mirrored, {1: np.ascontiguousarray(photos[1][:, ::-1])}).keypoints
    difference = np.abs(found - expected)  # random weights believe in nothing firmly: a few peaks are nearly level
    assert np.quantile(difference, 0.9) < 0.1


def test_a_margin_of_one_moves_nothing(rng: np.random.Generator) -> None:
    people = random_people(rng, 5)
    boxes = geometry.pose_boxes(people.keypoints, people.labelled)
    people.boxes = boxes
    refined = Refiner(tiny_checkpoint(), keep_margin=1.0).refine(people, images(rng))
    np.testing.assert_allclose(refined.keypoints, people.keypoints, atol=1e-4)


@pytest.mark.parametrize("margin", [float("nan"), -0.1, 2, "0.5", True, [0.5]])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(InputError, match="keep_margin must be 0 to 1"):
        Refiner(tiny_checkpoint(), keep_margin=margin)


@pytest.mark.parametrize("settings", [{}, {"flip_test": False}, "fast", 0, RefineSettings])
def test_settings_of_another_type_are_refused(refiner: Refiner, settings: object, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="settings must be posefix"):
        refiner.refine(random_people(rng, 2), images(rng), settings)  # type: ignore[arg-type]


def test_scores_boxes_and_the_rest_come_back_as_they_were(refiner: Refiner, rng: np.random.Generator) -> None:
    people = random_people(rng, 4)
    people.extra = [{"track_id": i} for i in range(4)]
    refined = refiner.refine(people, images(rng), RefineSettings(rescore=False))
    for name in ("scores", "boxes", "person_scores", "areas", "image_ids"):
        assert np.array_equal(getattr(refined, name), getattr(people, name))
    assert refined.extra == people.extra


@pytest.mark.parametrize("case", ["outside", "negative", "origin", "identical", "no scores", "nobody", "far"])
def test_strange_people_give_finite_poses(refiner: Refiner, rng: np.random.Generator, case: str) -> None:
    people = random_people(rng, 0 if case == "nobody" else 4)
    if case in ("outside", "negative"):
        shift = 5000 if case == "outside" else -5000
        people.keypoints += shift
        people.boxes[:, :2] += shift
    if case == "origin":
        people.keypoints[:], people.scores[:], people.boxes[:] = 0, 0, 0
    if case == "identical":
        people = people[[0, 0, 0]]
    if case == "no scores":
        people.scores[:] = 0
    if case == "far":
        people.keypoints[:, 3], people.boxes[:] = 1e6, 0
    refined = refiner.refine(people, images(rng))
    assert np.isfinite(refined.keypoints).all()
    assert len(refined) == len(people)
    if case == "origin":
        assert np.array_equal(refined.keypoints, people.keypoints)
    if case == "identical":
        np.testing.assert_allclose(refined.keypoints[1], refined.keypoints[0], atol=1e-3)


def test_one_image_as_an_array(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photo = random_people(rng, 3, images=1), images(rng, 1)[1]
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    found = refiner(photo, triples, people.boxes)
    np.testing.assert_allclose(found[..., :2], refiner.refine(people, {1: photo}).keypoints, atol=1e-3)
    assert np.array_equal(found[..., 2], people.scores)
    for wrong in (photo.astype(np.float32), photo[..., 0], photo[:0]):
        with pytest.raises(ValueError, match="must be a numpy array"):
            refiner(wrong, triples)
    with pytest.raises(ValueError, match=r"\(N, 17, 3\)"):
        refiner(photo, triples[:, :16])


def test_of_another_skeleton_what_is_shared_is_refined(rng: np.random.Generator) -> None:
    other, people, photos = Refiner(tiny_checkpoint(skeleton="mpii16")), random_people(rng, 2), images(rng)
    refined = other.refine(people, photos)
    known = np.isin(people.skeleton.keypoint_names, other.skeleton.keypoint_names)
    assert refined.skeleton == people.skeleton
    assert np.array_equal(refined.keypoints[:, ~known], people.keypoints[:, ~known])
    assert (refined.keypoints[:, known] != people.keypoints[:, known]).any()
    with pytest.raises(InputError, match=r"mpii16.*not coco17"):
        next(other.refine_batches(people, photos))


def test_an_unusable_image_stops_or_is_handed_through(refiner: Refiner, rng: np.random.Generator) -> None:
    people = random_people(rng, 9)

    class Broken(dict):
        def __getitem__(self, image_id: int) -> np.ndarray:
            if image_id == 2:
                raise InputError("image 2 is broken")
            return super().__getitem__(image_id)

    photos = Broken(images(rng))
    with pytest.raises(InputError, match="image 2 is broken"):
        refiner.refine(people, photos)
    refined = refiner.refine(people, photos, RefineSettings(on_error="skip"))
    skipped = people.image_ids == 2
    rest = refiner.refine(people[~skipped], dict(photos))
    assert np.array_equal(refined.keypoints[skipped], people.keypoints[skipped])
    np.testing.assert_allclose(refined.keypoints[~skipped], rest.keypoints, atol=1e-2)


def test_what_cannot_be_refined_is_said(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photos = random_people(rng, 4, images=2), images(rng, 1)
    people.image_ids[:] = [1, 1, 2, 2]
    with pytest.raises(InputError, match="no image for image_id 2"):
        refiner.refine(people, photos)
    skipped = refiner.refine(people, photos, RefineSettings(on_error="skip")).keypoints
    assert np.array_equal(skipped[2:], people.keypoints[2:])
    with pytest.raises(InputError, match="uint8"):
        refiner.refine(people[:2], {1: photos[1].astype(np.float32) / 255})
    people.keypoints[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        refiner.refine(people, photos)


def test_the_network_sees_the_pose_and_the_image() -> None:
    network = tiny_checkpoint().network
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    poses = torch.rand(2, 17, 2, generator=generator) * 40
    heights = torch.ones(2, 17)
    with torch.inference_mode():
        logits = network(crops, poses, heights)
        assert logits.shape == (2, 17, 16, 16)
        assert (network(crops.flip(0), poses, heights) - logits).abs().max() > 1e-4
        assert (network(crops, poses.flip(0), heights) - logits).abs().max() > 1e-4


@pytest.mark.parametrize("side", [1, -1])
def test_poses_absurdly_far_out_are_refused_in_one_sentence(refiner: Refiner, side: int) -> None:
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 3] = side * 2 * MAX_COORDINATE, 0, 1
    with pytest.raises(ValueError, match="must lie within"):
        refiner(np.zeros((40, 40, 3), np.uint8), keypoints)


def test_people_who_were_refined_before_stay_as_they_are(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photos = random_people(rng, 10), images(rng)
    once = refiner.refine(people, photos)
    assert (once.keypoints != people.keypoints).any()
    twice = refiner.refine(once, photos)
    for name in ("keypoints", "scores", "person_scores"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(once, name))
    some = once[:4].with_keypoints(once[:4].keypoints)
    some.original_scores[0] = np.nan
    again = refiner.refine(some, photos)
    assert (again.keypoints != some.keypoints).any((1, 2)).tolist() == [True, False, False, False]


def test_refined_neighbours_do_not_run_through_the_network_and_steer_nobody(
    refiner: Refiner, rng: np.random.Generator
) -> None:
    people, photos = random_people(rng, 8), images(rng)
    before = np.arange(8) < 4
    marked = replace(people, original_scores=np.where(before, 0.5, np.nan))
    crops = []

    class Counting:
        device, network = refiner.engine.device, refiner.engine.network

        def encode(self, batch: np.ndarray, flip_test: bool) -> Evidence:
            crops.extend(batch)
            return refiner.engine.encode(batch, flip_test)

        def locate(self, evidence: Evidence, pose: InputPose) -> Located:
            return refiner.engine.locate(evidence, pose)

    counting = Refiner(tiny_checkpoint() if refiner.config.head == "deconv" else fusion_checkpoint(), engine=Counting())
    some, everybody = counting.refine(marked, photos), refiner.refine(people, photos)
    assert len(crops) == 4
    np.testing.assert_allclose(some.keypoints[~before], everybody.keypoints[~before], atol=1e-2)
    np.testing.assert_array_equal(some.keypoints[before], people.keypoints[before])
    wild = replace(marked, person_scores=np.where(before, -1e3, people.person_scores))
    np.testing.assert_allclose(
        counting.refine(wild, photos).person_scores[~before], some.person_scores[~before], atol=1e-5
    )


def test_people_say_that_they_were_refined(refiner: Refiner, rng: np.random.Generator) -> None:
    people, photo = random_people(rng, 3, images=1), images(rng, 1)[1]
    for refined in (refiner.refine(people, {1: photo}), refiner(photo, people)):
        np.testing.assert_array_equal(refined.original_scores, people.person_scores)


@pytest.mark.parametrize("head", ["posefix", "fusion"])
def test_out_of_memory_on_a_gpu_names_the_batch_size(head: str, rng: np.random.Generator) -> None:
    checkpoint = tiny_checkpoint() if head == "posefix" else fusion_checkpoint()

    class Full:
        device, network = torch.device("cpu"), checkpoint.network

        def encode(self, crops: np.ndarray, flip_test: bool) -> Evidence:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(InputError, match="--batch_size"):
        Refiner(checkpoint, engine=Full()).refine(random_people(rng, 2), images(rng))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda triples: triples * [1 / 120, 1 / 120, 1], "fractions of the image"),
        (lambda triples: np.where(np.arange(17)[:, None] == 3, np.nan, triples), "left_ear of person 0 is NaN"),
        (lambda triples: np.where(np.arange(51).reshape(17, 3) == 11, np.nan, triples), "left_ear of person 0 is NaN"),
        (lambda triples: triples[:, :16], r"\(N, 17, 3\).*got \(3, 16, 3\)"),
        (lambda triples: triples[0], r"\(N, 17, 3\).*got \(17, 3\)"),
        (lambda triples: [["a"]], "array of numbers"),
        (lambda triples: torch.tensor(triples, requires_grad=True), "detach"),
    ],
)
def test_what_is_wrong_with_arrays_is_said(
    refiner: Refiner, rng: np.random.Generator, spoil: Callable, sentence: str
) -> None:
    people, photo = random_people(rng, 3, images=1), images(rng, 1)[1]
    triples = np.concatenate([people.keypoints, people.scores[..., None]], axis=-1)
    with pytest.raises(InputError, match=sentence):
        refiner(photo, spoil(triples))
    with pytest.raises(InputError, match=r"boxes must be \(N, 4\)"):
        refiner(photo, triples, people.boxes[:, :3])


def test_boxes_given_as_corners_are_refused(refiner: Refiner, rng: np.random.Generator) -> None:
    people = random_people(rng, 20)
    corners = np.concatenate([people.boxes[:, :2], people.boxes[:, :2] + people.boxes[:, 2:]], axis=1)
    with pytest.raises(InputError, match="fit the poses as x0, y0, x1, y1"):
        refiner.refine(replace(people, boxes=corners), images(rng))
    some = np.where(np.arange(20)[:, None] < 12, corners, people.boxes)
    for boxes in (people.boxes, some, np.zeros_like(corners)):  # not if others contradict it
        assert len(refiner.refine(replace(people, boxes=boxes), images(rng))) == 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": None}, "images must give an image by its id.*found NoneType"),
        ({"images": "photos/"}, "images must .*found str"),
        ({"images": np.zeros((9, 9, 3), np.uint8)}, "images must .*found ndarray"),
        ({"images": []}, "no image for image_id 1"),
        ({"people": 3}, "people must be posefix.People.*found int"),
        ({"people": {}}, "people must be .*found dict"),
    ],
)
def test_what_is_no_people_or_no_images_is_said(
    refiner: Refiner, rng: np.random.Generator, change: dict, sentence: str
) -> None:
    given = {"people": random_people(rng, 3, images=1), "images": images(rng, 1), **change}
    with pytest.raises(InputError, match=sentence):
        refiner.refine(given["people"], given["images"])


def test_an_empty_list_of_poses_is_nobody(refiner: Refiner, rng: np.random.Generator) -> None:
    assert refiner(images(rng, 1)[1], []).shape == (0, 17, 3)


def test_missing_keypoints_that_were_placed_have_a_score(refiner: Refiner, rng: np.random.Generator) -> None:
    people = random_people(rng, 3, images=1)
    people.scores[:, 5] = people.keypoints[:, 5] = 0
    refined = refiner.refine(people, images(rng))
    assert (refined.scores[:, 5] > 0).all()
    np.testing.assert_array_equal(np.delete(refined.scores, 5, 1), np.delete(people.scores, 5, 1))


def test_missing_keypoints_stay_missing_where_the_format_cannot_hold_them(
    refiner: Refiner, rng: np.random.Generator, tmp_path: Path
) -> None:
    people, photos = random_people(rng, 3, images=1), images(rng)
    people.scores[:, 5] = people.keypoints[:, 5] = 0
    formats.write(people, tmp_path / "openpose", "openpose")
    read = formats.read(tmp_path / "openpose").to_skeleton(people.skeleton)
    refined = refiner.refine(read, {int(read.image_ids[0]): photos[1]})
    assert not refined.keypoints[:, 5].any()
    assert refiner.refine(people, photos).keypoints[:, 5].any()


def test_confidences_that_a_file_does_not_have_are_unknown_and_others_are_believed(rng: np.random.Generator) -> None:
    people = random_people(rng, 3, images=1)
    people.scores[:] = 1
    people.scores[1] = rng.uniform(0.2, 0.9, people.scores[1].shape)
    views = Views.of(people, np.arange(3), (61, 45), 1.25)

    def told(given: People) -> np.ndarray:
        return input_pose(given, views, OtherPeople(given), torch.device("cpu"), 55.0).scores.numpy()

    np.testing.assert_allclose(told(people), people.scores)
    unscored_format = replace(FORMATS["ultralytics-labels"], holds=frozenset())
    source = Source(unscored_format, None, {})
    unscored = told(replace(people, source=source))
    assert (unscored[[0, 2]] == 0.5).all()
    np.testing.assert_allclose(unscored[1], people.scores[1])
    np.testing.assert_allclose(
        told(replace(people, source=replace(source, format=FORMATS["ultralytics-labels"]))), people.scores
    )
