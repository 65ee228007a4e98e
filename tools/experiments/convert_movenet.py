"""Turn MoveNet's published graph, as ONNX, into initial weights for training: ``model.pretrained=thunder.safetensors``.

python -m tools.experiments.convert_movenet movenet-thunder.onnx --out thunder.safetensors
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from posefix.cli.options import PATH, friendly
from posefix.core.errors import InputError
from posefix.core.files import require_outputs, write_atomically
from posefix.models.movenet import CHANNELS, MoveNet


def convert(graph: Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a :class:`~posefix.models.movenet.MoveNet` from a graph; InputError for other graphs."""
    import onnx

    try:
        model = onnx.load(graph).graph
    except Exception as error:  # onnx and protobuf raise many types
        raise InputError(f"{graph}: cannot be read as an ONNX graph ({type(error).__name__})") from None
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.initializer}
    convolutions = [node.input[1:] for node in model.node if node.op_type == "Conv"]
    for channels in CHANNELS.values():
        network = MoveNet(channels)
        modules = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        shapes = [tuple(module.weight.shape) for module in modules]
        if shapes != [constants.get(names[0], np.empty(0)).shape for names in convolutions]:
            continue
        for module, names in zip(modules, convolutions, strict=True):
            module.weight.data = torch.from_numpy(constants[names[0]].copy())
            if module.bias is not None:
                module.bias.data = torch.from_numpy(constants[names[1]].copy())
        return network.state_dict()
    raise InputError(f"{graph}: its {len(convolutions)} convolutions are not those of MoveNet Lightning or Thunder")


@click.command(help=__doc__.splitlines()[0])
@click.argument("graph", type=PATH)
@click.option("--out", type=PATH, required=True, help="safetensors file to write.")
@friendly
def main(graph: Path, out: Path) -> None:
    """Convert one graph."""
    require_outputs([out], (graph,))
    write_atomically(out, save({name: value.contiguous() for name, value in convert(graph).items()}))
    click.echo(f"{out}: written")


if __name__ == "__main__":
    main()
