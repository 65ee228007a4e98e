"""Hugging Face transformers: what ``VitPoseImageProcessor.post_process_pose_estimation`` gives for one image.

A list with a dict of tensors for each box that the poses were asked for: ``keypoints`` (k, 2) in pixels, ``scores``
(k,), ``labels`` (k,) the places of the keypoints in the skeleton, ``bbox`` (4,). With a ``threshold`` k is the number
of keypoints above it, else that of the skeleton: COCO's 17, or COCO-WholeBody's 133, which begin with the same 17. A
score of 0 or less says that nothing was found. For several images it is a list of such lists. (transformers 5.23.0 and
4.48.3, models/vitpose/image_processing_vitpose.py.)

``bbox`` is not the box. It is made as if from x, y, width and height, of the centre and of the "scale" of the box: its
sides, widened to the network's aspect ratio, times 1.25 / 200. From these the box can be found again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.formats.memory.arrays import as_floats, moved_from, people_from, with_moved
from posefix.formats.vitpose import boxes_of

_WHAT = "ViTPose's result"
_BODY, _WHOLE_BODY = 17, 133  # keypoints


def from_transformers(results: Any) -> People:
    """People of the result for one image: its list of dicts, or a list that holds no other than this.

    Raises:
        InputError: it is something else, or of several images.
    """
    people = _of_one_image(results)
    poses = [_pose(person) for person in people]
    most = max((int(labels.max(initial=-1)) + 1 for _, _, labels in poses), default=0)
    k = _BODY if most <= _BODY else _WHOLE_BODY
    keypoints, scores = np.zeros((len(poses), k, 2)), np.zeros((len(poses), k))
    for row, (xy, confidences, labels) in enumerate(poses):
        keypoints[row, labels], scores[row, labels] = xy, confidences
    boxes = [as_floats(person["bbox"], "ViTPose's bbox").ravel() for person in people if "bbox" in person]
    if any(box.shape != (4,) for box in boxes):
        raise InputError("ViTPose's bbox must be four numbers")
    corners = None
    if boxes and len(boxes) == len(people):
        xywh = boxes_of(np.array(boxes), np.where(scores[..., None] > 0, keypoints, np.nan))
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return people_from(_WHAT, keypoints, scores, corners)


def to_transformers(people: People, like: Any) -> list:
    """A new result of the same form with the people's keypoints, and all else as in ``like``, that they came from.

    Raises:
        InputError: ``like`` is something else, or holds other people.
    """
    own = _of_one_image(like)
    new_xy, moved = moved_from(from_transformers(like), people, _WHAT)
    new = []
    for row, person in enumerate(own):
        labels = _pose(person)[2]
        keypoints = with_moved(person["keypoints"], new_xy[row, labels], moved[row, labels])
        new.append({**person, "keypoints": keypoints})
    return [new] if len(like) and not isinstance(like[0], Mapping) else new


def _of_one_image(results: Any) -> Sequence[Mapping]:
    if isinstance(results, (list, tuple)):
        if all(isinstance(person, Mapping) for person in results):
            return results
        if len(results) > 1:
            raise InputError(f"from_transformers takes the result of one image, got {len(results)}: give one of them")
        if isinstance(results[0], (list, tuple)) and all(isinstance(person, Mapping) for person in results[0]):
            return results[0]
    raise InputError(
        "from_transformers takes what post_process_pose_estimation gives for one image, a list of dicts, "
        f"got {type(results).__name__}"
    )


def _pose(person: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (k, 2), scores (k,) and places (k,) in the skeleton."""
    if "keypoints" not in person:
        raise InputError(f"ViTPose's result must have keypoints for each person, got {', '.join(map(str, person))}")
    xy = as_floats(person["keypoints"], "ViTPose's keypoints")
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise InputError(f"ViTPose's keypoints of a person must be (k, 2), got {xy.shape}")
    count = len(xy)
    scores = as_floats(person["scores"], "ViTPose's scores").ravel() if "scores" in person else np.ones(count)
    labels = as_floats(person["labels"], "ViTPose's labels").ravel() if "labels" in person else np.arange(count)
    places = np.asarray(labels, np.int64)
    if len(scores) != count or len(places) != count:
        raise InputError(f"ViTPose's result has {count} keypoints with {len(scores)} scores and {len(places)} labels")
    if count and (len(np.unique(places)) != count or places.min() < 0 or places.max() >= _WHOLE_BODY):
        raise InputError(f"ViTPose's labels must be different places among {_WHOLE_BODY} keypoints at most")
    return xy, scores, places
