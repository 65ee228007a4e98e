"""ViTPose in HuggingFace transformers: JSON of what ``image_processor.post_process_pose_estimation()`` returns.

For each image a list of people ``{"keypoints": [[x, y], ...], "scores": [...], "labels": [...], "bbox": [4 numbers]}``
in pixels, tensors as lists. Labels say which of the model's keypoints those are: with a threshold only those above it
are there. The order is COCO's for up to 17 keypoints. There is no score of a person.

The box is not the one that the model was given. It is that box, widened to the shape of the model's input, as centre x
and y and then centre + size / 160 - 1: the processor takes its own centre and scale (of 200 pixels, padded by 1.25) for
xywh and makes corners of them. Boxes that small beside the pose are turned back, others are read as corners. New people
get their box in the processor's way, though not widened; keypoints without estimate are left out, as below a threshold.

Source: transformers, models/vitpose/image_processing_vitpose.py (post_process_pose_estimation, box_to_center_and_scale,
coco_to_pascal_voc), version 5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import frames_of, glance, read_frames, write_frames
from posefix.formats.parsed_file import (
    Format,
    OnError,
    ParsedFile,
    PeopleBuilder,
    describe_shortly,
    keep_equal,
    numbers,
)
from posefix.formats.probe import FileProbe
from posefix.formats.records import is_box

SKELETONS = ("coco17", "halpe26", "coco_wholebody133")
SIDE_PER_SCALE = 200 / 1.25  # px: a side of the box for a scale of 1
_SMALL, _LARGEST_SCALE = 0.25, 30.0  # a box below this part of the pose's extent, or of a point, is centre and scale


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in images or frames."""
    frames = read_frames(path, _is_image)
    people = PeopleBuilder(path, skeleton or _skeleton_of(p for value in frames.values for p in value), on_error)
    for place, value in enumerate(frames.values):
        for i, person in enumerate(value):
            _add(people, f"{frames.where(place)} person {i}".strip(), place, person)
    return people.parsed(frames.keys, frames.kind, document=frames)


def write(path: Path, content: ParsedFile) -> None:
    """Write people, stored as they were; coordinates with 3 decimals, scores with 6."""
    write_frames(path, frames_of(content, lambda _, people: [_written(content, person) for person in people]))


def _is_image(value: Any) -> bool:
    return isinstance(value, list) and (not value or any(map(_is_person, value)))


def _is_person(value: Any) -> bool:
    return isinstance(value, Mapping) and "keypoints" in value and "scores" in value


def _skeleton_of(people: Iterable[Any]) -> Skeleton:
    """The smallest of the format's skeletons that has all labels."""
    most = 0
    for person in people:
        if _is_person(person):
            labels = _labels(person)
            most = max([most, *(label + 1 for label in labels or () if type(label) is int)])
    return load(next((name for name in SKELETONS if len(load(name)) >= most), SKELETONS[-1]))


def _labels(person: Mapping) -> list | None:
    """Which keypoints a person has; None where that cannot be told."""
    labels, keypoints = person.get("labels"), person["keypoints"]
    if labels is None and isinstance(keypoints, list):
        return list(range(len(keypoints)))
    return labels if isinstance(labels, list) else None


def _add(people: PeopleBuilder, where: str, place: int, person: Any) -> None:
    k = len(people.skeleton)
    points, scores, box = np.full((k, 2), np.nan), np.zeros(k), None
    try:
        if not _is_person(person):
            found = f"an object without {'scores' if 'keypoints' in person else 'keypoints'}"
            raise ValueError(f"is {found if isinstance(person, Mapping) else describe_shortly(person)}")
        labels = _labels(person)
        xy, confidences = numbers(person["keypoints"], "keypoints"), numbers(person["scores"], "scores")
        if labels is None or len(labels) != len(xy) or len(confidences) != len(xy):
            sizes = [describe_shortly(person.get(key)) for key in ("keypoints", "scores", "labels")]
            raise ValueError("has {} as keypoints, {} as scores and {} as labels".format(*sizes))
        if len(xy) and (xy.ndim != 2 or xy.shape[1] != 2 or confidences.ndim != 1):
            raise ValueError(f"has keypoints of shape {xy.shape} and scores of shape {confidences.shape}")
        if not all(type(label) is int and 0 <= label < k for label in labels) or len(set(labels)) != len(labels):
            raise ValueError(f"has labels that are not different numbers from 0 to {k - 1}, of {people.skeleton.name}")
        if labels:
            points[labels], scores[labels] = np.where(confidences[:, None] == 0, np.nan, xy), confidences
        if person.get("bbox") is not None:
            box = _box(numbers(person["bbox"], "a box"), points)
    except (ValueError, TypeError) as error:
        people.refuse(where, place, person, str(error))
        return
    people.add(where, place, person, points, scores, box)


def _box(numbers_read: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """xywh of a box that is a centre and a scale, or corners if it is too large for that; None if it is none."""
    if not is_box(numbers_read.tolist()):
        return None
    box = boxes_of(numbers_read[None], points[None])[0]
    return box if is_box(box.tolist()) and (box[2:] > 0).all() else None


def boxes_of(numbers_read: np.ndarray, points: np.ndarray) -> np.ndarray:
    """xywh (N, 4) of what the processor gives as ``bbox`` (N, 4), with keypoints (N, K, 2), NaN where there is none.

    It is a centre and a scale, or corners if it is too large for that beside the pose.
    """
    start, sides = numbers_read[:, :2], numbers_read[:, 2:] - numbers_read[:, :2]
    known = np.isfinite(points).all(-1, keepdims=True)
    extent = np.where(known, points, -np.inf).max(1) - np.where(known, points, np.inf).min(1)
    extent = np.where(known.any(1), extent, 0).max(1)
    most = np.where(extent > 1, _SMALL * extent, _LARGEST_SCALE)
    widened = (sides + 1) * SIDE_PER_SCALE
    centred = np.concatenate([start - widened / 2, widened], axis=1)
    return np.where(((sides + 1).max(1) < most)[:, None], centred, np.concatenate([start, sides], axis=1))


def _written(content: ParsedFile, person: int) -> Any:
    record, scores = content.records[person], content.scores[person]
    if content.has_no_estimate(person):
        return record
    if not _is_person(record):
        return _new(content, person)
    labels = _labels(record)
    keep = scores[labels] == 0
    return {
        **record,
        "keypoints": keep_equal(record["keypoints"], content.keypoints[person][labels], 3, keep[:, None]),
        "scores": keep_equal(record["scores"], scores[labels], 6, keep),
    }


def _new(content: ParsedFile, person: int) -> dict:
    labels = np.flatnonzero(content.scores[person] > 0)
    x, y, w, h = content.boxes[person].tolist()
    centre, scale = np.array([x + w / 2, y + h / 2]), np.array([w, h]) / SIDE_PER_SCALE
    written = {
        "keypoints": np.round(content.keypoints[person][labels], 3).tolist(),
        "scores": np.round(content.scores[person][labels], 6).tolist(),
        "labels": labels.tolist(),
    }
    return {**written, "bbox": np.round(np.concatenate([centre, centre + scale - 1]), 6).tolist()} if w > 0 else written


def _looks_like_vitpose(probe: FileProbe) -> bool:
    for value in glance(probe):
        person = value[0] if isinstance(value, list) and value else None
        if _is_person(person) and isinstance(person.get("labels"), list):
            keypoints = person["keypoints"]
            return isinstance(keypoints, list) and all(isinstance(point, list) for point in keypoints)
    return False


VITPOSE = Format(
    name="vitpose",
    title="ViTPose (transformers)",
    skeletons=("coco17",),
    kind="name",
    sniff=_looks_like_vitpose,
    read=read,
    write=write,
    any_file_name=True,
    holds=frozenset({"scores", "boxes", "empty"}),
)
