"""Checkpoints of the sequence denoiser."""

from __future__ import annotations

from posefix.models.sequence_checkpoint import SequenceCheckpoint
from posefix.motion.network import MotionConfig, MotionNetwork

DEFAULT = "posefix-motion"
MOTION = SequenceCheckpoint(MotionNetwork, MotionConfig, "motion", "the sequence denoiser", DEFAULT)
