"""Import timm, also beside a torchvision whose compiled operators do not fit the installed torch.

PyPI's torchvision wheels are built against CUDA. Next to a CPU-only torch their operators cannot be loaded, and
importing torchvision (which timm does) fails at the first operator it wants to describe. timm's networks use none of
them, so declaring their signatures is enough.
"""

from __future__ import annotations

import sys

import torch

_declared = []

try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for _name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[_name]
    _library = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _library.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(_library)

import timm  # noqa: E402

__all__ = ["timm"]
