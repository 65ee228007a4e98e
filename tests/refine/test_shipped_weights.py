"""The weights in the package do on real photos what the README says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix import formats
from posefix.core import geometry, resources
from posefix.core import skeleton as skeletons
from posefix.core.people import People
from posefix.engines import create_engine
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import keypoint_similarity, match_people, oks
from posefix.lifting.network import LIFTING
from posefix.media.images import ImageFolder
from posefix.models.checkpoint import load_checkpoint
from posefix.motion.network import MOTION
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

COCO = skeletons.load("coco17")
NAMES = sorted(
    path.stem
    for path in resources.weights_dir().glob("*.safetensors")
    if not (MOTION.holds(path) or LIFTING.holds(path))
)
MIN_GAIN = {"posefix-base": (0.03, 0.05), "posefix-small": (0.006, 0.015)}  # of mean OKS, and of the share above 0.75
MAX_TORN = {"posefix-base": 0, "posefix-small": 1}  # of 51 people


@pytest.fixture(scope="module", params=NAMES)
def refiner(request: pytest.FixtureRequest) -> Refiner:
    """In float32, so that the bounds below do not depend on the CPU; in bf16 one of 51 people is torn."""
    checkpoint = load_checkpoint(request.param)
    return Refiner(checkpoint, engine=create_engine("auto", checkpoint.network, "cpu", precision="f32"))


@pytest.fixture(scope="module")
def photos(data_root: Path) -> tuple[People, ImageFolder, People]:
    """Annotated people of 30 photos that no training saw, and MoveNet Lightning's results there, row by row."""
    annotations = GroundTruth.read(data_root / "coco/annotations/person_keypoints_val.json", COCO)
    found = formats.read(data_root / "coco/results/val/movenet-lightning.json", default=COCO)
    truth = annotations.people
    first = np.unique(truth.image_ids)[:30]
    truth = truth[np.isin(truth.image_ids, first) & (truth.labelled.sum(1) >= 5)]
    matched = match_people(truth, found)
    kept = matched >= 0
    return truth[kept], ImageFolder(data_root / "coco/val", annotations.images), found[matched[kept]]


def similarity(people: People, truth: People) -> np.ndarray:
    return oks(people.keypoints, truth.keypoints, truth.labelled, truth.areas, COCO.sigmas)


def as_results(truth: People) -> People:
    return truth.with_keypoints(truth.keypoints, truth.labelled.astype(np.float32))


def test_estimated_poses_become_better(refiner: Refiner, photos: tuple, request: pytest.FixtureRequest) -> None:
    truth, images, found = photos
    refined = refiner.refine(found, images)
    before, after = similarity(found, truth), similarity(refined, truth)
    mean, share = MIN_GAIN[request.node.callspec.params["refiner"]]
    assert after.mean() > before.mean() + mean
    assert (after > 0.75).mean() > (before > 0.75).mean() + share


def test_right_poses_stay_right_one_image_at_a_time(refiner: Refiner, photos: tuple) -> None:
    truth, images, _ = photos
    given = as_results(truth)
    alone = np.concatenate(
        [
            refiner.refine(given[given.image_ids == image_id], images).keypoints
            for image_id in dict.fromkeys(given.image_ids.tolist())
        ]
    )
    order = np.concatenate([np.flatnonzero(given.image_ids == i) for i in dict.fromkeys(given.image_ids.tolist())])
    together = refiner.refine(given, images).keypoints
    np.testing.assert_allclose(alone, together[order], atol=0.05)
    kept = keypoint_similarity(together, truth.keypoints, truth.areas, COCO.sigmas)[truth.labelled]
    assert (kept > 0.85).mean() > 0.995


def test_right_poses_are_the_safer_the_better_the_estimator_is_said_to_be(refiner: Refiner, photos: tuple) -> None:
    """Give true poses with an estimator's confidences, by which nobody can tell that they are right."""
    truth, images, found = photos
    given = found.with_keypoints(np.where(truth.labelled[..., None], truth.keypoints, found.keypoints))
    kept = [
        (similarity(refiner.refine(given, images, RefineSettings(estimator_ap=ap)), truth) > 0.9).mean()
        for ap in (30, 60, 95)
    ]
    assert kept[0] + 0.2 < kept[1] < kept[2]


def test_a_box_alone_is_enough(refiner: Refiner, photos: tuple) -> None:
    truth, images, found = photos
    empty = replace(truth.with_keypoints(0 * truth.keypoints, 0 * truth.scores), person_scores=np.ones(len(truth)))
    estimated = similarity(refiner.refine(empty, images), truth)
    assert estimated.mean() > similarity(found, truth).mean() - 0.03


def test_a_person_moves_as_a_whole_or_stays_as_a_whole(
    refiner: Refiner, photos: tuple, request: pytest.FixtureRequest
) -> None:
    """Give people each other's boxes: afterwards nobody is half at the box's person and half at the pose's."""
    truth, images, _ = photos
    rows, others = [], []
    for image_id in np.unique(truth.image_ids):
        here = np.flatnonzero(truth.image_ids == image_id)
        for i, j in zip(here, np.roll(here, 1), strict=True):
            if i != j and geometry.iou(truth.boxes[i], truth.boxes[j]) == 0:
                rows.append(i)
                others.append(j)
    assert len(rows) > 20
    given = replace(as_results(truth[rows]), boxes=truth.boxes[others])
    refined = refiner.refine(given, images)
    pose, box = (
        keypoint_similarity(refined.keypoints, people.keypoints, people.areas, COCO.sigmas) > 0.5
        for people in (truth[rows], truth[others])
    )
    both = truth.labelled[rows] & truth.labelled[others]
    at_pose, at_box = ((near & both).sum(1) / np.maximum(both.sum(1), 1) for near in (pose, box))
    torn = (np.minimum(at_pose, at_box) > 0.25) & (both.sum(1) >= 4)
    assert torn.sum() <= MAX_TORN[request.node.callspec.params["refiner"]]


def test_scores_tell_good_people_from_bad_ones(refiner: Refiner, photos: tuple) -> None:
    truth, images, found = photos
    given = replace(found, person_scores=np.ones(len(found)))
    refined = refiner.refine(given, images, RefineSettings(keypoint_scores=True))
    assert np.corrcoef(refined.person_scores, similarity(refined, truth))[0, 1] > 0.5
    known = keypoint_similarity(refined.keypoints, truth.keypoints, truth.areas, COCO.sigmas)
    labelled = truth.labelled
    assert np.corrcoef(refined.scores[labelled], known[labelled])[0, 1] > 0.4
    assert refined.scores[labelled].mean() > refined.scores[~labelled].mean() + 0.2
