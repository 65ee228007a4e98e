"""Synthetic videos of walking people, for the tests of what looks at time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.motion.mocap import JOINTS, MotionCapture
from posefix.training.run_folder import MODEL_FILE
from posefix.training.sequence_trainer import SequenceExperiment, SequenceTrainer

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


def standing(frames: int = 200) -> MotionCapture:
    """A person who faces along z (left is +x), sways, and bends the left elbow."""
    joints = np.zeros((frames, len(JOINTS), 3))
    places = {
        "neck": (0, 0.5, 0),
        "head": (0, 0.6, 0),
        "head_end": (0, 0.8, 0),
        "shoulder": (0.18, 0.45, 0),
        "elbow": (0.2, 0.2, 0),
        "wrist": (0.2, -0.05, 0),
        "hip": (0.1, 0, 0),
        "knee": (0.1, -0.45, 0),
        "ankle": (0.1, -0.9, 0),
        "pelvis": (0, 0, 0),
    }
    for i, name in enumerate(JOINTS):
        x, y, z = places[name.removeprefix("left_").removeprefix("right_")]
        joints[:, i] = (-x if name.startswith("right_") else x), y, z
    time = np.arange(frames) / 50
    angle = 1 + np.sin(2 * np.pi * time)
    elbow, wrist = JOINTS.index("left_elbow"), JOINTS.index("left_wrist")
    joints[:, wrist] = joints[:, elbow] + 0.25 * np.stack([0 * angle, -np.cos(angle), np.sin(angle)], axis=1)
    root = np.stack([0.1 * np.sin(time), 0 * time, 0.1 * np.cos(time)], axis=1).astype(np.float32)
    head = np.tile(np.eye(3), (frames, 1, 1))
    return MotionCapture(joints, root, head, np.array([0, frames]), 50.0)


def saved(capture: MotionCapture, folder: Path) -> Path:
    """The file of a motion capture."""
    path = folder / "capture.npz"
    arrays = {"joints": capture.joints, "root": capture.root, "head_rotation": capture.head_rotation}
    np.savez(path, **arrays, starts=capture.starts, fps=50, joint_names=np.array(JOINTS))
    return path


def resumed(trainer: type[SequenceTrainer], experiment: SequenceExperiment, folder: Path) -> None:
    """Check that a training in parts ends in the weights of one as a whole."""
    device = torch.device("cpu")
    assert trainer(experiment, folder / "whole", device).fit()
    assert not trainer(experiment, folder / "parts", device).fit(minutes=1e-9)
    parts = trainer(experiment, folder / "parts", device)
    assert parts.resume()
    assert 0 < parts.step < experiment.steps
    assert parts.fit()
    one, other = (trainer.checkpoint.load(folder / name / MODEL_FILE).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
