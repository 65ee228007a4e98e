"""Checkpoints of the lifting network."""

from __future__ import annotations

from posefix.lifting.network import LiftingConfig, LiftingNetwork
from posefix.models.sequence_checkpoint import SequenceCheckpoint

DEFAULT = "posefix-lift"
LIFTING = SequenceCheckpoint(LiftingNetwork, LiftingConfig, "lifting", "the lifting network", DEFAULT)
