"""Folding changes how much work is done, not what comes out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posefix.models.fold import fold_batch_norm
from posefix.models.network import PoseFixNetwork
from tests.tiny import COCO, tiny_config


@pytest.mark.parametrize(
    ("backbone", "head", "left"), [("test_resnet", "fpn", 0), ("resnet18", "deconv", 0), ("mobilenetv2_100", "fpn", 0)]
)
def test_the_folded_network_is_the_same_function(backbone: str, head: str, left: int) -> None:
    config = tiny_config(model={"backbone": backbone, "head": head, "head_channels": 16, "input_size": [64, 64]}).model
    torch.manual_seed(0)
    network = PoseFixNetwork(config, COCO, pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.eval()
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    inputs = (crops, torch.rand(2, 17, 2) * 40, torch.ones(2, 17))
    with torch.inference_mode():
        expected = network(*inputs)
    fold_batch_norm(network, *inputs)
    with torch.inference_mode():
        found = network(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == left
