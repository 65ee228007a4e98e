"""ViTPose in HuggingFace transformers: JSON of ``image_processor.post_process_pose_estimation()``.

For each image a list of people ``{"keypoints": [[x, y], ...], "scores": [...], "labels": [...], "bbox": [4 numbers]}``
in pixels, tensors as lists. Labels are indices of the model's keypoints. There are no person scores, and ``bbox`` is
passed through: it is not a box in the image, but made of the centre and the scale of the crop.

Source: transformers 5.23.0, models/vitpose/image_processing_vitpose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import Frames
from posefix.formats.parsed_file import ParsedFile
from posefix.formats.per_image import Layout, PersonLayout, Triples, json_format, pairs_with_scores
from posefix.formats.records import describe, require_object

SKELETONS = ("coco17", "halpe26", "coco_wholebody133")


def _is_person(value: Any) -> bool:
    return isinstance(value, Mapping) and "keypoints" in value and "scores" in value


def _is_image(value: Any) -> bool:
    return isinstance(value, list) and (not value or any(map(_is_person, value)))


def _labels(person: Mapping[str, Any]) -> Any:
    """Return the indices of a person's keypoints; by default all in order."""
    labels = person.get("labels")
    return list(range(len(person["keypoints"]))) if labels is None else labels


def _skeleton_of(path: Path, frames: Frames) -> Skeleton:
    """Return the smallest of the format's skeletons that has all labels."""
    people = (person for people in frames.values for person in people if _is_person(person))
    listed = (_labels(person) for person in people if isinstance(person["keypoints"], list))
    largest = max(
        (label for labels in listed if isinstance(labels, list) for label in labels if type(label) is int), default=0
    )
    return load(next((name for name in SKELETONS if len(load(name)) > largest), SKELETONS[-1]))


def _keypoints(person: Any, skeleton: Skeleton | None) -> Triples:
    require_object(person, "keypoints", "scores")
    k, triples = len(skeleton or ()), pairs_with_scores(person["keypoints"], person["scores"], "scores")
    labels = _labels(person)
    if not isinstance(labels, list) or len(labels) != len(triples):
        raise ValueError(f"has {len(triples)} keypoints and {describe(labels)} as labels")
    if not all(type(label) is int and 0 <= label < k for label in labels) or len(set(labels)) != len(labels):
        raise ValueError(f"has labels that are not different numbers from 0 to {k - 1}")
    all_triples: list[Any] = [[None, None, 0.0]] * k
    for label, triple in zip(labels, triples, strict=True):
        all_triples[label] = triple
    return all_triples


def _put(person: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    chosen = [triples[label] for label in _labels(person)]
    return {**person, "keypoints": [[x, y] for x, y, _ in chosen], "scores": [score for _, _, score in chosen]}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    return {"keypoints": [], "scores": [], "labels": np.flatnonzero(parsed.scores[person] > 0).tolist()}


def _is_labelled_person(value: Any) -> bool:
    return _is_person(value) and isinstance(value.get("labels"), list) and isinstance(value["keypoints"], list)


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_labelled_person),
    SKELETONS,
    _is_image,
    store="names",
    skeleton_of=_skeleton_of,
)
FORMAT = json_format(
    "vitpose", "ViTPose (transformers)", LAYOUT, skeletons=("coco17",), any_file_name=True, estimator_ap=76.0
)
