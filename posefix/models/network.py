"""The refinement networks: PoseFix's own, and the fusion of MoveNet's output with a pose."""

from __future__ import annotations

from typing import NamedTuple

import torch

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.models import decode, movenet
from posefix.models.backbone import DeconvHead, create_backbone, load_pretrained, load_pretrained_head, render_heatmaps
from posefix.models.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from posefix.models.fusion import FusionOutput, PoseFusion
from posefix.models.interface import InputPose, NetworkOutput, Quality, RefinementNetwork


def build_network(config: ModelConfig, skeleton: Skeleton, pretrained: bool = False) -> PoseFixNetwork | FusionNetwork:
    """Build the network that a configuration describes.

    Args:
        config: architecture of the network.
        skeleton: of the poses.
        pretrained: load the initial weights ``config.pretrained``, if set.

    Raises:
        InputError: when the network cannot be built, or its initial weights cannot be loaded.
    """
    kind = FusionNetwork if config.head == "fusion" else PoseFixNetwork
    network = kind(config, skeleton)
    if pretrained and config.pretrained:
        load_pretrained(network.backbone, config.backbone, config.pretrained)
        if config.pretrained_head:
            load_pretrained_head(network.head, config.pretrained)
    return network


class Crops(NamedTuple):
    """Evidence of a network that needs the pose from its first layer on: the crops themselves."""

    images: torch.Tensor  # (N, V, 3, H, W) uint8; V is 1, or 2 with the mirrored crops


class PoseFixNetwork(RefinementNetwork):
    """PoseFix (CVPR 2019, section 4): the input pose enters as K extra channels of the first convolution."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: ModelConfig, skeleton: Skeleton) -> None:
        super().__init__()
        self.config, k = config, len(skeleton)
        self.heatmap_size = config.input_size[0] // 4, config.input_size[1] // 4
        self.backbone = create_backbone(config.backbone, 3 + k)
        self.head = DeconvHead(self.backbone.feature_info.channels()[-1], config.head_channels, k)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("flip", torch.as_tensor(skeleton.flip), persistent=False)

    def encode(self, crops: torch.Tensor, flip_test: bool) -> Crops:
        """Stack the crops (N, 3, H, W) uint8 and, with ``flip_test``, the mirrored crops."""
        return Crops(torch.stack([crops, crops.flip(3)] if flip_test else [crops], dim=1))

    def predict(self, evidence: Crops, pose: InputPose) -> NetworkOutput:
        """Run the network, and average with the prediction for the mirrored crops if there are any."""
        amplitudes = (pose.scores > 0).float()
        posterior = decode.spatial_softmax(self(evidence.images[:, 0], pose.keypoints, amplitudes))
        if evidence.images.shape[1] > 1:
            mirrored = pose.mirrored(self.flip, self.config.input_size[1])
            logits = self(evidence.images[:, 1], mirrored.keypoints, amplitudes[:, self.flip])
            posterior = (posterior + decode.flip_maps(decode.spatial_softmax(logits), self.flip)) / 2
        return NetworkOutput(posterior)

    def forward(self, crops: torch.Tensor, keypoints: torch.Tensor, amplitudes: torch.Tensor) -> torch.Tensor:
        """Predict heatmap logits.

        Args:
            crops: (N, 3, H, W) uint8 or float in [0, 255], RGB.
            keypoints: (N, K, 2) float32 input pose in pixels of the crop.
            amplitudes: (N, K) float32, height of each input Gaussian; 0 for keypoints without input.

        Returns:
            (N, K, H/4, W/4) logits of the spatial softmax.
        """
        poses = render_heatmaps(keypoints, amplitudes, self.config.input_size, self.config.sigma)
        image = (crops.to(poses.dtype).contiguous(memory_format=torch.channels_last) - self.mean) / self.std
        logits: torch.Tensor = self.head(self.backbone(torch.cat([image, poses], dim=1))[-1])
        return logits


class FusionNetwork(RefinementNetwork):
    """MoveNet runs on the image alone; a small network then weighs its output against the input pose.

    MoveNet's output does not depend on the pose: it can be cached for training, and further passes cost little.
    """

    backbone: movenet.MoveNet

    def __init__(self, config: ModelConfig, skeleton: Skeleton) -> None:
        super().__init__()
        if skeleton.keypoint_names != movenet.KEYPOINTS:
            raise InputError(f"the fusion head knows COCO's 17 keypoints, not those of {skeleton.name}")
        self.config = config
        self.heatmap_size = config.input_size[0] // movenet.STRIDE, config.input_size[1] // movenet.STRIDE
        self.backbone = movenet.MoveNet(movenet.CHANNELS[config.backbone])
        self.backbone.heads[movenet.OFFSETS].requires_grad_(False)  # not used by the fusion
        self.head = PoseFusion(skeleton, self.heatmap_size, config.head_channels)
        self.register_buffer("flip", torch.as_tensor(skeleton.flip), persistent=False)

    def encode(self, crops: torch.Tensor, flip_test: bool) -> movenet.Evidence:
        """Run the backbone on crops (N, 3, H, W) uint8; ``flip_test`` averages with the mirrored crops."""
        images = self._images(crops)
        if not flip_test:
            return movenet.evidence(self.backbone, self.backbone.features(images))
        features = self.backbone.features(torch.cat([images, movenet.mirror(images)]))
        return movenet.evidence(self.backbone, features, self.flip)

    def encode_both(self, crops: torch.Tensor) -> tuple[movenet.Evidence, movenet.Evidence]:
        """Compute the evidence without and with the flip test."""
        images = self._images(crops)
        features = self.backbone.features(torch.cat([images, movenet.mirror(images)]))
        straight = movenet.evidence(self.backbone, features[: images.shape[0]])
        return straight, movenet.evidence(self.backbone, features, self.flip)

    def encode_stages(self, crops: torch.Tensor) -> movenet.Stages:
        """Run the backbone's first stages."""
        return self.backbone.stages(self._images(crops))

    def finish(self, stages: movenet.Stages) -> movenet.Evidence:
        """Run the rest of the backbone after :meth:`encode_stages`, without the flip test."""
        return movenet.evidence(self.backbone, self.backbone.features_of(stages))

    def predict(self, evidence: movenet.Evidence, pose: InputPose) -> NetworkOutput:
        """Weigh the evidence against a pose."""
        fused = self(evidence, pose)
        return NetworkOutput(fused.log_posterior.exp(), Quality(*(logits.sigmoid() for logits in fused.quality)))

    def estimate(self, crops: torch.Tensor) -> torch.Tensor:
        """Estimate the central person of each crop by MoveNet alone: (N, K, 3) x, y in frame pixels and score."""
        poses = movenet.single_poses(self.backbone(self._images(crops)))
        return torch.cat([poses[..., :2] - self.config.frame_margin, poses[..., 2:]], dim=-1)

    def _images(self, crops: torch.Tensor) -> torch.Tensor:
        return (crops.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def forward(self, evidence: movenet.Evidence, pose: InputPose) -> FusionOutput:
        """Run the head alone, as in training."""
        output: FusionOutput = self.head(evidence, pose)
        return output
