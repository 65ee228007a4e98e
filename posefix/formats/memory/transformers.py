"""Hugging Face transformers: what ``VitPoseImageProcessor.post_process_pose_estimation`` gives for one image.

A list with a dict of tensors for each person, as :mod:`posefix.formats.vitpose` has them in JSON: ``keypoints`` (k, 2)
in pixels, ``scores`` (k,) and ``labels`` (k,), which of COCO's 17 keypoints or COCO-WholeBody's 133 those are. Its
``bbox`` is no box of the image and not used. Source: transformers 5.23.0 and 4.48.3,
models/vitpose/image_processing_vitpose.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefix.core.people import UNKNOWN_CONFIDENCE, People
from posefix.formats.memory.arrays import Converter, as_array, people_from, with_moved


def _is_nested(results: Any) -> bool:
    """Whether it is a list of images, of which there is one."""
    return len(results) == 1 and not isinstance(results[0], Mapping)


def _people_in(results: Any) -> Sequence[Mapping[str, Any]]:
    return results[0] if _is_nested(results) else results


def _labels(person: Mapping[str, Any]) -> np.ndarray:
    return as_array(person["labels"] if "labels" in person else range(len(person["keypoints"])))


def _read(results: Any) -> People:
    people = _people_in(results)
    most = max((int(_labels(person).max(initial=0)) for person in people), default=0)
    triples = np.zeros((len(people), 17 if most < 17 else 133, 3))
    for row, person in enumerate(people):
        labels = _labels(person)
        triples[row, labels, :2] = as_array(person["keypoints"])
        triples[row, labels, 2] = as_array(person.get("scores", UNKNOWN_CONFIDENCE))
    return people_from(triples, triples[..., 2])


def _put(like: Any, keypoints: np.ndarray, moved: np.ndarray) -> list[Any]:
    new = []
    for row, person in enumerate(_people_in(like)):
        labels = _labels(person)
        new.append({**person, "keypoints": with_moved(person["keypoints"], keypoints[row, labels], moved[row, labels])})
    return [new] if _is_nested(like) else new


_CONVERTER = Converter("what post_process_pose_estimation gives for one image, a list of dicts", _read, _put)


def from_transformers(results: Any) -> People:
    """People of the result for one image: its list of dicts, or a list that holds no other; InputError for others."""
    return _CONVERTER.people(results)


def to_transformers(people: People, like: Any) -> list[Any]:
    """A new result of the same form with the people's keypoints, and all else as in ``like``, that they came from."""
    return _CONVERTER.put_back(people, like)
