"""Import timm, also beside a torchvision whose compiled operators do not fit the installed torch.

PyPI's torchvision is built against CUDA: beside a CPU-only torch it cannot be imported, which timm does. timm's
networks use none of its operators, so declaring those that its import describes is enough.
"""

from __future__ import annotations

import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for _name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[_name]
    _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for _operator in ("nms", "qnms"):
        _library.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore

import timm

__all__ = ["timm"]
