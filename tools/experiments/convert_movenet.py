"""Turn MoveNet Lightning's ONNX graph into a timm ``mobilenetv2_100`` state dict to start training from.

    python -m tools.experiments.convert_movenet movenet-lightning.onnx --images PHOTOS --out backbone.safetensors

The graph's first 51 convolutions are timm's, in order, with batch norm folded into weight and bias. Training wants
the batch norm back in a sane state: with the mean m and variance v of each convolution's output over real photos,
running mean = m, running variance = v, weight = sqrt(v + eps) and bias = m + folded bias leave the network's function
as it was.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import safetensors.torch
import torch
from torch import nn

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import require_writable, write_atomically
from posefix.media.images import decode
from posefix.models.backbone import create_backbone
from posefix.models.config import ModelConfig
from posefix.models.movenet import onnx_convolutions

SIZE = 192


def calibrate(backbone: nn.Module, folded: list[tuple[np.ndarray, np.ndarray]], photos: torch.Tensor) -> None:
    """Load folded convolutions and express their biases as batch norm, layer by layer, over photos (N, 3, H, W)."""
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    if len(convolutions) > len(folded) or len(convolutions) != len(norms):
        raise InputError(f"{len(folded)} convolutions in the graph do not fit {len(convolutions)} in the backbone")
    with torch.no_grad():
        for convolution, norm, (weight, bias) in zip(convolutions, norms, folded, strict=False):
            if convolution.weight.shape != weight.shape:
                raise InputError(
                    f"a convolution of shape {weight.shape} stands where {convolution.weight.shape} should"
                )
            convolution.weight.copy_(torch.from_numpy(weight.copy()))
            norm.bias.copy_(torch.from_numpy(bias.copy()))

    def measure(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        outputs = inputs[0]
        mean, variance = outputs.mean((0, 2, 3)), outputs.var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    backbone.eval()
    with torch.no_grad():
        backbone(photos)
    for hook in hooks:
        hook.remove()


def load_photos(folder: Path, count: int) -> torch.Tensor:
    """(count, 3, 192, 192) float32 in [-1, 1]: centre squares of the first photos of a folder, by name."""
    squares = []
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = decode(path)
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        squares.append(cv2.resize(image[top : top + side, left : left + side], (SIZE, SIZE)))
    if not squares:
        raise InputError(f"{folder}: no .jpg to calibrate on")
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 127.5 - 1


@click.command(help=__doc__.splitlines()[0])
@click.argument("onnx_file", type=PATH)
@click.option("--images", type=PATH, required=True)
@click.option("--count", default=64, show_default=True, help="Photos to calibrate on.")
@click.option("--out", type=PATH, required=True)
@friendly
def main(onnx_file: Path, images: Path, count: int, out: Path) -> None:
    """Convert, check nothing is left over, write."""
    require_writable(out)
    backbone = create_backbone(ModelConfig(backbone="mobilenetv2_100", pad_type="same"), in_channels=3)
    calibrate(backbone, onnx_convolutions(onnx_file), load_photos(images, count))
    write_atomically(out, safetensors.torch.save(backbone.state_dict()))
    click.echo(f"wrote {out}: {sum(p.numel() for p in backbone.parameters()):,} parameters")


if __name__ == "__main__":
    main()
