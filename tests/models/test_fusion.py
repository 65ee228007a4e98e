"""The fusion head: a posterior for each keypoint, from evidence and input alone, one person at a time."""

from __future__ import annotations

import pytest
import torch

from posefix.models.fusion import PoseFusion
from posefix.models.interface import InputPose, take
from posefix.models.movenet import Evidence
from tests.tiny import COCO

SIZE = (16, 12)
K = len(COCO)


@pytest.fixture(scope="module")
def head() -> PoseFusion:
    torch.manual_seed(0)
    fusion = PoseFusion(COCO, SIZE, channels=16)
    with torch.no_grad():  # it starts with the same weights for everybody
        for layer in (fusion.weights, fusion.person):
            layer.weight.normal_(0, 0.5)
    return fusion.eval()


@pytest.fixture
def scene() -> tuple[Evidence, InputPose]:
    generator = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    evidence = Evidence(4 * uniform(5, K, *SIZE) - 4, 45 * uniform(5, 4, K, 2), uniform(5, 4))
    scores = (uniform(5, 3, K) > 0.3).float()
    boxes = torch.cat([10 * uniform(5, 2), 30 + 15 * uniform(5, 2)], dim=1)
    boxes[2] = 0
    scales = 2 + 4 * uniform(5, K)
    others = 45 * uniform(5, 3, K, 2)
    pose = InputPose(45 * uniform(5, K, 2), uniform(5, K), scales, others, scores, boxes, uniform(5))
    return evidence, pose


def tensors(head: PoseFusion, evidence: Evidence, pose: InputPose) -> list[torch.Tensor]:
    output = head(evidence, pose)
    return [output.log_posterior, *output.quality]


@torch.inference_mode()
def test_each_map_is_a_distribution(head: PoseFusion, scene: tuple[Evidence, InputPose]) -> None:
    found = head(*scene).log_posterior
    assert found.shape == (5, K, *SIZE)
    torch.testing.assert_close(found.exp().sum((2, 3)), torch.ones(5, K))


@torch.inference_mode()
def test_coordinates_without_an_estimate_say_nothing(head: PoseFusion, scene: tuple[Evidence, InputPose]) -> None:
    evidence, pose = scene
    absent = torch.arange(K) % 3 == 0
    pose = pose._replace(scores=pose.scores.masked_fill(absent, 0))
    others = pose.others + 7 * (pose.other_scores == 0)[..., None]
    moved = pose._replace(keypoints=pose.keypoints + 9 * absent[:, None], others=others)
    for before, after in zip(tensors(head, evidence, pose), tensors(head, evidence, moved), strict=True):
        torch.testing.assert_close(after, before)


@torch.inference_mode()
def test_the_order_of_other_people_and_of_the_batch_does_not_matter(
    head: PoseFusion, scene: tuple[Evidence, InputPose]
) -> None:
    evidence, pose = scene
    turned = pose._replace(others=pose.others.flip(1), other_scores=pose.other_scores.flip(1))
    alone = Evidence(*(tensor[3:4] for tensor in evidence)), take(pose, torch.tensor([3]))
    scenes = (scene, (evidence, turned), alone)
    for whole, other, single in zip(*(tensors(head, *given) for given in scenes), strict=True):
        torch.testing.assert_close(other, whole)
        torch.testing.assert_close(single, whole[3:4], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("part", ["heatmaps", "poses", "keypoints", "scores", "others", "boxes", "accuracy"])
def test_all_that_is_known_has_a_say(head: PoseFusion, scene: tuple[Evidence, InputPose], part: str) -> None:
    evidence, pose = scene
    changed = [
        given._replace(**{part: getattr(given, part).flip(0)}) if part in given._fields else given for given in scene
    ]
    assert (head(*changed).log_posterior - head(evidence, pose).log_posterior).abs().max() > 1e-3
    assert (head(*changed).quality.person - head(evidence, pose).quality.person).abs().max() > 1e-6


def test_mirroring_a_pose_twice_gives_it_back(scene: tuple[Evidence, InputPose]) -> None:
    pose, flip = scene[1], torch.as_tensor(COCO.flip)
    for before, after in zip(pose, pose.mirrored(flip, 45).mirrored(flip, 45), strict=True):
        torch.testing.assert_close(after, before)
