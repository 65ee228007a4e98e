"""Weights out of ONNX files: anything that is no MoveNet is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.models.movenet import WIDTHS, MoveNet, onnx_convolutions

onnx = pytest.importorskip("onnx")


def graph(constant: bool, weight: np.ndarray) -> bytes:
    """A network of one convolution without bias, its weight stored in it or an input of it."""
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    x, w, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xwy")
    stored = [onnx.numpy_helper.from_array(weight, "w")] if constant else []
    built = onnx.helper.make_graph([node], "g", [x] if constant else [x, w], [y], stored)
    return onnx.helper.make_model(built).SerializeToString()


def test_convolutions_come_out_with_a_bias(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    path = tmp_path / "g.onnx"
    path.write_bytes(graph(True, weight))
    [(read, bias)] = onnx_convolutions(path)
    np.testing.assert_array_equal(read, weight)
    np.testing.assert_array_equal(bias, np.zeros(4))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"junk" * 100, "cannot be read as an ONNX graph"),
        (b"", "its 0 convolutions are not those"),
        (graph(True, np.zeros((4, 3, 3, 3), np.float32)), "its 1 convolutions are not those"),
        (graph(False, np.zeros((4, 3, 3, 3), np.float32)), "weights of convolution 'first' are not stored"),
    ],
)
def test_what_is_no_movenet_graph_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "movenet.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"movenet\.onnx.*{said}"):
        MoveNet(WIDTHS["movenet_lightning"]).load_onnx(path)
