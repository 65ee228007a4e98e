"""What runs the part of a network that costs most: torch, or OpenVINO where it is installed."""

from posefix.engines.registry import ENGINES, accelerate

__all__ = ["ENGINES", "accelerate"]
