"""What runs a network: one protocol, one file for each engine, one registry."""

from posefix.engines.base import Engine
from posefix.engines.registry import ENGINES, create_engine

__all__ = ["ENGINES", "Engine", "create_engine"]
