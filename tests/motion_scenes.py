"""Synthetic videos of walking people, for the tests of what looks at time."""

from __future__ import annotations

import numpy as np

from posefix.core.people import People
from posefix.core.skeleton import load

STANDING = np.array([  # COCO's keypoints of a person 1 high and 0.4 wide, head up
    (0.5, 0.05), (0.52, 0.03), (0.48, 0.03), (0.55, 0.05), (0.45, 0.05), (0.65, 0.2), (0.35, 0.2), (0.7, 0.35),
    (0.3, 0.35), (0.7, 0.5), (0.3, 0.5), (0.6, 0.52), (0.4, 0.52), (0.6, 0.75), (0.4, 0.75), (0.6, 0.97), (0.4, 0.97),
]) - (0.5, 0.5)  # fmt: skip


def walk(start: tuple[float, float], velocity: tuple[float, float], frames: int, height: float = 160) -> np.ndarray:
    """(T, 17, 2) px: a person who moves at so many pixels a frame, swinging arms and legs."""
    t = np.arange(frames)[:, None]
    swing = np.zeros((frames, 17, 2))
    phase = np.sin(2 * np.pi * t / 30)
    swing[:, [9, 16], 0], swing[:, [10, 15], 0] = 0.12 * phase, -0.12 * phase
    centre = np.array(start) + np.array(velocity) * t
    return centre[:, None] + height * (STANDING * (0.6, 1) + swing)


def video(walks: dict[int, np.ndarray], rng: np.random.Generator, noise: float = 2.0) -> People:
    """People of tracks (T, 17, 2) by their id, in all frames, as an estimator gives them, in order of frames."""
    seen = [(i, t) for t in range(max(map(len, walks.values()))) for i in walks if t < len(walks[i])]
    keypoints = np.stack([walks[i][t] for i, t in seen])
    ids, frames = np.array(seen).T
    return People(
        load("coco17"),
        keypoints + rng.normal(0, noise, keypoints.shape),
        rng.uniform(0.3, 1, keypoints.shape[:2]),
        frames,
        person_scores=rng.uniform(0.3, 1, len(ids)),
        track_ids=ids,
    )
