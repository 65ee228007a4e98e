"""Hugging Face transformers: what ``VitPoseImageProcessor.post_process_pose_estimation`` gives for one image.

A list with a dict of tensors for each person, which :mod:`posefix.formats.vitpose` reads as it does their JSON:
``keypoints`` (k, 2) in pixels, ``scores`` (k,), ``labels`` (k,) and ``bbox`` (4,). The skeleton is COCO's 17 keypoints,
or COCO-WholeBody's 133. Source: transformers 5.23.0 and 4.48.3, models/vitpose/image_processing_vitpose.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.formats import vitpose
from posefix.formats.memory.arrays import UNKNOWN_CONFIDENCE, as_array, moved_from, people_from, with_moved

_WHAT = "ViTPose's result"
_BODY, _WHOLE_BODY = "coco17", "coco_wholebody133"


def from_transformers(results: Any) -> People:
    """People of the result for one image: its list of dicts, or a list that holds no other than this.

    Raises:
        InputError: it is something else, or of several images.
    """
    people = [_as_lists(person) for person in _of_one_image(results)]
    layout = vitpose.LAYOUT.person
    try:
        most = max([0, *(label + 1 for person in people for label in person["labels"])])
        skeleton = load(_BODY if most <= len(load(_BODY)) else _WHOLE_BODY)
        triples = np.array([layout.keypoints(person, skeleton) for person in people], np.float64)
        boxes = np.array([layout.box(person) or [0.0] * 4 for person in people]).reshape(-1, 4)
    except (ValueError, TypeError, KeyError) as error:
        said = str(error) if isinstance(error, ValueError) else "has something else than tensors of numbers"
        raise InputError(f"{_WHAT} {said}") from None
    triples = triples.reshape(len(people), len(skeleton), 3)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return people_from(_WHAT, triples[..., :2], triples[..., 2], corners)


def to_transformers(people: People, like: Any) -> list[Any]:
    """A new result of the same form with the people's keypoints, and all else as in ``like``, that they came from."""
    new_xy, moved = moved_from(from_transformers(like), people, _WHAT)
    new = []
    for row, person in enumerate(_of_one_image(like)):
        labels = _as_lists(person)["labels"]
        new.append({**person, "keypoints": with_moved(person["keypoints"], new_xy[row, labels], moved[row, labels])})
    return [new] if len(like) and not isinstance(like[0], Mapping) else new


def _of_one_image(results: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(results, (list, tuple)):
        raise InputError(
            "from_transformers takes what post_process_pose_estimation gives for one image, a list of dicts, "
            f"got {type(results).__name__}"
        )
    if all(isinstance(person, Mapping) for person in results):
        return results
    if len(results) > 1:
        raise InputError(f"from_transformers takes the result of one image, got {len(results)}: give one of them")
    return _of_one_image(results[0])


def _as_lists(person: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A person as JSON has them."""
    if "keypoints" not in person:
        raise InputError(f"{_WHAT} must have keypoints for each person, got {', '.join(map(str, person))}")
    found = {k: as_array(person[k]).tolist() for k in ("keypoints", "scores", "labels", "bbox") if k in person}
    count = len(person["keypoints"])
    return {"scores": [UNKNOWN_CONFIDENCE] * count, "labels": list(range(count)), **found}
