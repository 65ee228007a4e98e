"""Convert objects of pose libraries to people and back, without files.

    keypoints = posefix.to_supervision(refiner(image, posefix.from_supervision(keypoints)), keypoints)

None of the libraries is imported: objects are recognised by their attributes. All people get image id 0, and boxes and
scores of people where the library has them; else a person's score is the mean of the keypoints'. A keypoint at (0, 0),
one that is not finite and one without any confidence has score 0 in :class:`~posefix.People`: there is no estimate.
Each ``from_...`` raises :class:`~posefix.InputError` for other objects and keypoints of no known skeleton. Each
``to_...`` gives a new object like the one that the people came from, in which only keypoints that moved differ; it
raises InputError if the people are others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from posefix.core.people import UNKNOWN_CONFIDENCE, People
from posefix.formats.converter import Converter, as_array, people_from, with_moved

# ---- Roboflow's supervision 0.25.1 to 0.31.2, key_points/core.py


def from_supervision(keypoints: Any) -> People:
    """Convert a ``supervision.KeyPoints`` to people."""
    return _SUPERVISION.people(keypoints)


def to_supervision(people: People, like: Any) -> Any:
    """Return a copy of ``like``, from which the people came, with their keypoints."""
    return _SUPERVISION.put_back(people, like)


def _read_supervision(keypoints: Any) -> People:
    names = ("keypoint_confidence", "confidence")  # before 0.29; asked for the old one, new versions warn
    scores = next((getattr(keypoints, name) for name in names if hasattr(keypoints, name)), None)
    return people_from(keypoints.xy, scores, person_scores=getattr(keypoints, "detection_confidence", None))


def _put_supervision(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    new = copy.copy(like)
    new.xy = with_moved(like.xy, keypoints, moved)
    if isinstance(getattr(like, "data", None), dict):
        new.data = dict(like.data)
    return new


_SUPERVISION = Converter("supervision.KeyPoints", _read_supervision, _put_supervision)

# ---- Ultralytics 8.0.200 to 8.4.190, engine/results.py


def from_ultralytics(result: Any) -> People:
    """Convert the ``Results`` of a pose model for one image to people."""
    return _ULTRALYTICS.people(result)


def to_ultralytics(people: People, like: Any) -> Any:
    """Return a copy of ``like``, from which the people came, with their keypoints."""
    return _ULTRALYTICS.put_back(people, like)


def _read_ultralytics(result: Any) -> People:
    triples, boxes = as_array(result.keypoints.data), getattr(result, "boxes", None)
    scores = triples[..., 2] if triples.shape[2:] == (3,) else None
    return people_from(triples, scores, getattr(boxes, "xyxy", None), getattr(boxes, "conf", None))


def _put_ultralytics(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    """Put keypoints into new ``Keypoints``, since these cache ``xy`` and ``xyn``."""
    new, old = copy.copy(like), like.keypoints
    new.keypoints = type(old)(with_moved(old.data, keypoints, moved), old.orig_shape)
    return new


_ULTRALYTICS = Converter("the Results of a pose model for one image", _read_ultralytics, _put_ultralytics)

# ---- MediaPipe 0.10.21 to 1.2.2, tasks/python/vision/{pose,holistic}_landmarker.py


def from_mediapipe(result: Any, size: tuple[int, int]) -> People:
    """Convert a result with ``pose_landmarks`` to people; ``size`` is the (width, height) of the image in pixels."""
    return _mediapipe(size).people(result)


def to_mediapipe(people: People, like: Any, size: tuple[int, int]) -> Any:
    """Return a copy of ``like``, from which the people came, with their keypoints.

    ``size`` is the (width, height) of the image in pixels.
    """
    return _mediapipe(size).put_back(people, like)


def _poses(landmarks: Any) -> Any:
    """Return the landmarks of each person: the pose task has a list of them, the holistic task a single person's."""
    return [landmarks] if landmarks and hasattr(landmarks[0], "x") else landmarks


def _read_mediapipe(size: Any, result: Any) -> People:
    scale = np.array(size, np.float64)
    if scale.shape != (2,) or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"size must be the image's (width, height) in pixels, got {size!r}")
    poses = _poses(result.pose_landmarks)
    rows = [[(landmark.x, landmark.y, landmark.visibility) for landmark in pose] for pose in poses]
    triples = np.array(rows, np.float64).reshape(-1, 33, 3)  # None becomes NaN
    scores = np.where(np.isnan(triples[..., 2]), UNKNOWN_CONFIDENCE, triples[..., 2])
    return people_from(triples[..., :2] * scale, scores)


def _put_mediapipe(size: Any, like: Any, keypoints: np.ndarray, moved: np.ndarray) -> Any:
    fractions, landmarks = keypoints / np.array(size, np.float64), copy.deepcopy(like.pose_landmarks)
    poses = _poses(landmarks)
    for person, keypoint, axis in np.argwhere(moved).tolist():
        setattr(poses[person][keypoint], "xy"[axis], float(fractions[person, keypoint, axis]))
    new: Any = copy.copy(like)
    new.pose_landmarks = landmarks
    return new


def _mediapipe(size: Any) -> Converter:
    expected = "MediaPipe's result with pose_landmarks, 33 for each person"
    return Converter(expected, partial(_read_mediapipe, size), partial(_put_mediapipe, size))


# ---- rtmlib 0.0.16, tools/solution/*.py and tools/pose_estimation/*.py

_ORIGINAL = "rtmlib"  # key in ``People.extra`` of a person's original keypoints (K, 2) and scores (K,)


def from_rtmlib(keypoints: Any, scores: Any) -> People:
    """Convert the output of an rtmlib solution to people: keypoints (N, K, 2) and scores (N, K), or empty lists."""
    return _RTMLIB.people((keypoints, scores))


def to_rtmlib(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (N, K, 2) and scores (N, K) as rtmlib does, in their original types.

    For people from :func:`from_rtmlib`, only changed keypoints differ, and scores are theirs; for others, all is new.
    """
    if not len(people) or any(_ORIGINAL not in record for record in people.extra):
        return people.keypoints, people.scores
    keypoints, scores = (np.stack(arrays) for arrays in zip(*(r[_ORIGINAL] for r in people.extra), strict=True))
    if keypoints.shape != people.keypoints.shape:
        return people.keypoints, people.scores
    pair: tuple[np.ndarray, np.ndarray] = _RTMLIB.put_back(people, (keypoints, scores))
    return pair


def _read_rtmlib(pair: tuple[Any, Any]) -> People:
    keypoints, scores = map(as_array, pair)
    people = people_from(np.zeros((0, 0, 2)) if keypoints.shape == (0,) else keypoints, scores)
    if len(people):
        people.extra = [{_ORIGINAL: arrays} for arrays in zip(keypoints.copy(), scores.copy(), strict=True)]
    return people


_RTMLIB = Converter(
    "rtmlib's keypoints and scores", _read_rtmlib, lambda pair, new, moved: (with_moved(pair[0], new, moved), pair[1])
)

# ---- Hugging Face transformers 4.48.3 to 5.23.0, models/vitpose/image_processing_vitpose.py


def from_transformers(results: Any) -> People:
    """Convert the output of ``post_process_pose_estimation`` for one image, a list of dicts, to people."""
    return _TRANSFORMERS.people(results)


def to_transformers(people: People, like: Any) -> list[Any]:
    """Return a copy of ``like``, from which the people came, with their keypoints."""
    results: list[Any] = _TRANSFORMERS.put_back(people, like)
    return results


def _labels(person: Mapping[str, Any]) -> np.ndarray:
    """Return (k,) indices of a person's keypoints among COCO's 17 or COCO-WholeBody's 133; ValueError if negative."""
    labels = as_array(person["labels"] if "labels" in person else range(len(person["keypoints"])))
    if labels.min(initial=0) < 0:
        raise ValueError(f"a label is {labels.min()}, expected the index of a keypoint")
    return labels


def _read_transformers(people: Sequence[Mapping[str, Any]]) -> People:
    largest = max((int(_labels(person).max(initial=0)) for person in people), default=0)
    triples = np.zeros((len(people), 17 if largest < 17 else 133, 3))
    for row, person in enumerate(people):
        labels = _labels(person)
        triples[row, labels, :2] = as_array(person["keypoints"])
        triples[row, labels, 2] = as_array(person.get("scores", UNKNOWN_CONFIDENCE))
    return people_from(triples, triples[..., 2])


def _put_transformers(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> list[Any]:
    new = []
    for row, person in enumerate(like):
        labels = _labels(person)
        new.append({**person, "keypoints": with_moved(person["keypoints"], keypoints[row, labels], moved[row, labels])})
    return new


_TRANSFORMERS = Converter(
    "what post_process_pose_estimation gives for one image, a list of dicts", _read_transformers, _put_transformers
)
