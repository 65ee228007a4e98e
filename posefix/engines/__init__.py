"""Engines that run networks: protocol, implementations, registry."""

from posefix.engines.base import Engine
from posefix.engines.registry import ENGINES, create_engine

__all__ = ["ENGINES", "Engine", "create_engine"]
