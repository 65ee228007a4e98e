"""ViTPose in HuggingFace transformers: JSON of what ``image_processor.post_process_pose_estimation()`` returns.

For each image a list of people ``{"keypoints": [[x, y], ...], "scores": [...], "labels": [...], "bbox": [4 numbers]}``
in pixels, tensors as lists. Labels say which of the model's keypoints those are. There is no score of a person.

``bbox`` is not the box that the model was given, but centre x and y and then centre + size / 160 - 1: the processor
takes its own centre and scale (of 200 pixels, padded by 1.25) for xywh and makes corners of them. Boxes much
smaller than the pose are turned back, others are read as corners. New people get their box in the processor's way.

Source: transformers 5.23.0, models/vitpose/image_processing_vitpose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import Frames
from posefix.formats.parsed_file import ParsedFile, numbers
from posefix.formats.per_image import Layout, PersonLayout, Triples, json_format, pairs_with_scores
from posefix.formats.records import describe, is_box, require_object

SKELETONS = ("coco17", "halpe26", "coco_wholebody133")
SIDE_PER_SCALE = 200 / 1.25  # px: a side of the box for a scale of 1
_SMALL, _LARGEST_SCALE = 0.25, 30.0  # a box below this part of the pose's extent, or of a point, is centre and scale


def _is_person(value: Any) -> bool:
    return isinstance(value, Mapping) and "keypoints" in value and "scores" in value


def _is_image(value: Any) -> bool:
    return isinstance(value, list) and (not value or any(map(_is_person, value)))


def _labels(person: Mapping[str, Any]) -> Any:
    """Which keypoints a person has; all in order where it does not say so."""
    labels = person.get("labels")
    return list(range(len(person["keypoints"]))) if labels is None else labels


def _skeleton_of(path: Path, frames: Frames) -> Skeleton:
    """The smallest of the format's skeletons that has all labels."""
    people = (person for people in frames.values for person in people if _is_person(person))
    listed = (_labels(person) for person in people if isinstance(person["keypoints"], list))
    most = max(
        (label for labels in listed if isinstance(labels, list) for label in labels if type(label) is int), default=0
    )
    return load(next((name for name in SKELETONS if len(load(name)) > most), SKELETONS[-1]))


def _keypoints(person: Any, skeleton: Skeleton | None) -> Triples:
    require_object(person, "keypoints", "scores")
    k, triples = len(skeleton or ()), pairs_with_scores(person["keypoints"], person["scores"], "scores")
    labels = _labels(person)
    if not isinstance(labels, list) or len(labels) != len(triples):
        raise ValueError(f"has {len(triples)} keypoints and {describe(labels)} as labels")
    if not all(type(label) is int and 0 <= label < k for label in labels) or len(set(labels)) != len(labels):
        raise ValueError(f"has labels that are not different numbers from 0 to {k - 1}")
    everything: list[Any] = [[None, None, 0.0]] * k
    for label, triple in zip(labels, triples, strict=True):
        everything[label] = triple
    return everything


def _put(person: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    shown = [triples[label] for label in _labels(person)]
    return {**person, "keypoints": [[x, y] for x, y, _ in shown], "scores": [score for _, _, score in shown]}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    x, y, w, h = parsed.boxes[person].tolist()
    centre, scale = np.array([x + w / 2, y + h / 2]), np.array([w, h]) / SIDE_PER_SCALE
    box = {"bbox": np.round(np.concatenate([centre, centre + scale - 1]), 6).tolist()} if w > 0 else {}
    return {"keypoints": [], "scores": [], "labels": np.flatnonzero(parsed.scores[person] > 0).tolist(), **box}


def _box(person: Mapping[str, Any]) -> list[float] | None:
    """xywh of a box that is a centre and a scale, or corners if it is too large for that; None if it is none."""
    if person.get("bbox") is None:
        return None
    values = numbers(person["bbox"], "a box")
    if not is_box(values.tolist()):
        return None
    points, scores = numbers(person["keypoints"], "keypoints"), numbers(person["scores"], "scores")
    known = points.reshape(-1, 2)[np.isfinite(points).all(-1) & (scores != 0)]
    extent = float(np.ptp(known, axis=0).max()) if len(known) else 0.0
    start, sides = values[:2], values[2:] - values[:2]
    if (sides + 1).max() < (_SMALL * extent if extent > 1 else _LARGEST_SCALE):
        sides = (sides + 1) * SIDE_PER_SCALE
        start = start - sides / 2
    box = [*start.tolist(), *sides.tolist()]
    return box if is_box(box) and (sides > 0).all() else None


def _is_labelled_person(value: Any) -> bool:
    return _is_person(value) and isinstance(value.get("labels"), list) and isinstance(value["keypoints"], list)


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_labelled_person, box=_box),
    SKELETONS,
    _is_image,
    store="names",
    skeleton_of=_skeleton_of,
)
FORMAT = json_format(
    "vitpose",
    "ViTPose (transformers)",
    LAYOUT,
    skeletons=("coco17",),
    any_file_name=True,
    holds=frozenset({"scores", "boxes", "empty"}),
)
