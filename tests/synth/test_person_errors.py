"""Errors of whole persons: they touch whom they should, whole, and as often as asked."""

from __future__ import annotations

import numpy as np

from synth import claim_certainty, draw_scores, invert_limbs, place_faces, take_neighbours, warp_poses
from tests.tiny import COCO, random_people

FACE = np.flatnonzero(COCO.group("face"))


def test_inverted_limbs_are_exchanged_with_their_scores_and_a_third_each(rng: np.random.Generator) -> None:
    people = random_people(rng, 3000)
    scores = rng.random(people.scores.shape)
    keypoints, found = invert_limbs(people.keypoints, scores, COCO, rng, 0.6)
    exchanged = (found != scores) & (COCO.flip != np.arange(17))
    np.testing.assert_array_equal(keypoints[exchanged], people.keypoints[:, COCO.flip][exchanged])
    np.testing.assert_array_equal(found[exchanged], scores[:, COCO.flip][exchanged])
    legs, arms = (exchanged[:, COCO.group(part)].all(1) for part in ("lower", "upper"))
    assert set(map(bytes, np.stack([legs | arms, exchanged.any(1)], 1)[exchanged.any(1)])) == {bytes([1, 1])}
    for share in ((legs & ~arms).mean(), (arms & ~legs).mean(), (legs & arms).mean()):
        assert abs(share - 0.2) < 0.04


def test_warped_poses_keep_their_shape_and_the_others_everything(rng: np.random.Generator) -> None:
    people = random_people(rng, 400)
    warped = warp_poses(people.keypoints, people.labelled, people.areas, rng, 0.5)
    changed = (warped != people.keypoints).any((1, 2))
    assert 0.4 < changed.mean() < 0.6

    def lengths(points: np.ndarray) -> np.ndarray:
        first, second = np.triu_indices(17, 1)
        return np.linalg.norm(points[:, first] - points[:, second], axis=-1)

    ratio = lengths(warped[changed]) / lengths(people.keypoints[changed])
    np.testing.assert_allclose(ratio, np.median(ratio, axis=1, keepdims=True) * np.ones_like(ratio), rtol=0.05)


def test_a_neighbours_pose_is_taken_as_a_whole_where_there_is_a_neighbour(rng: np.random.Generator) -> None:
    people, others = random_people(rng, 300), random_people(rng, 300)
    scores = rng.random((300, 1, 17)) * (np.arange(300) < 200)[:, None, None]
    keypoints, found = take_neighbours(people.keypoints, people.scores, others.keypoints[:, None], scores, rng, 0.5)
    taken = (keypoints == others.keypoints).all((1, 2))
    assert not taken[200:].any()
    assert 0.35 < taken[:200].mean() < 0.65
    np.testing.assert_array_equal(keypoints[~taken], people.keypoints[~taken])
    np.testing.assert_array_equal(found[taken], scores[taken, 0])


def test_placeholders_are_near_the_face_and_hardly_confident(rng: np.random.Generator) -> None:
    people = random_people(rng, 400)
    scores, scales = np.ones((400, 17)), np.sqrt(people.areas)[:, None] * 2 * COCO.sigmas
    keypoints, found = place_faces(people.keypoints, scores, scales, COCO, rng, 0.5)
    placed = (found < 0.5).any(1)
    assert 0.4 < placed.mean() < 0.6
    assert (found[placed][:, FACE] < 0.05).all()
    assert (found[placed][:, 5:] == 1).all()
    np.testing.assert_array_equal(keypoints[:, 5:], people.keypoints[:, 5:])
    distance = np.linalg.norm(keypoints[placed][:, FACE].mean(1) - people.keypoints[placed][:, FACE].mean(1), axis=-1)
    assert (distance < 25 * scales[placed][:, FACE].mean(1)).all()


def test_scores_go_with_similarity_on_the_whole_and_some_people_have_none(rng: np.random.Generator) -> None:
    similarity = rng.random((4000, 17))
    scores = draw_scores(similarity, rng)
    silent = (scores == 0.5).all(1)
    assert 0.2 < silent.mean() < 0.3
    assert ((scores > 0) & (scores < 0.999)).all()
    spoken = scores[~silent]
    assert 0.2 < np.corrcoef(spoken.ravel(), similarity[~silent].ravel())[0, 1] < 0.9


def test_mostly_right_people_are_called_certain_and_have_what_is_annotated(rng: np.random.Generator) -> None:
    similarity = np.where(rng.random((4000, 1)) < 0.5, 0.95, rng.random((4000, 17)))
    scores = rng.uniform(0.1, 0.9, similarity.shape)
    labelled = rng.random(similarity.shape) < 0.8
    claimed = claim_certainty(similarity, scores, labelled, rng)
    certain = (claimed == labelled).all(1)
    right = (similarity == 0.95).all(1)
    assert 0.35 < certain[right].mean() < 0.45
    assert certain[~right].mean() < 0.03
    np.testing.assert_array_equal(claimed[~certain], scores[~certain].astype(np.float32))
