"""Synthesis of pose errors: realistic estimates for people whose true pose is known.

Example::

    from synth import Statistics, neighbours_of, synthesize
    drawn = synthesize(people, neighbours_of(people), Statistics.load("posefix"), np.random.default_rng(0))
    drawn.keypoints, drawn.types  # (N, K, 2) pixels, (N, K) ErrorType
"""

from synth.errors import ErrorType, classify
from synth.fit import Observation, fit_statistics
from synth.neighbours import Neighbours, neighbours_of
from synth.occlusion import leg_regions
from synth.person_errors import invert_limbs, place_faces, take_neighbours, warp_poses
from synth.sampler import Synthesized, synthesize
from synth.scores import claim_certainty, draw_scores
from synth.statistics import Rule, Statistics

__all__ = [
    "ErrorType",
    "Neighbours",
    "Observation",
    "Rule",
    "Statistics",
    "Synthesized",
    "claim_certainty",
    "classify",
    "draw_scores",
    "fit_statistics",
    "invert_limbs",
    "leg_regions",
    "neighbours_of",
    "place_faces",
    "synthesize",
    "take_neighbours",
    "warp_poses",
]
