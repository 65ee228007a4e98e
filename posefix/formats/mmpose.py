"""MMPose's predictions: JSON with the instances of an image, or of each frame of a video.

``MMPoseInferencer`` writes ``NAME.json`` for an image ``NAME.jpg``, a list of instances ::

    [{"keypoints": [[x, y], ...], "keypoint_scores": [0.9, ...], "bbox": [[x1, y1, x2, y2]], "bbox_score": 0.9}]

and for a video a list of ``{"frame_id": 0, "instances": [...]}`` that counts frames from 0. The demo scripts write
``results_NAME.json``: ``{"meta_info": {...}, "instance_info": [...]}``, with the instances of an image, or the frames
of a video counted from 1. A list of lists of instances is read as images in order.

Source: MMPose 1.3.2, mmpose/structures/utils.py, mmpose/apis/inferencers/base_mmpose_inferencer.py, demo/*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import first_repeated
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import first_values, numbered, read_frames
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import (
    Layout,
    PersonLayout,
    Triples,
    from_corners,
    is_list_of_people,
    json_format,
    looks_like,
    pairs_with_scores,
    read_images,
    to_corners,
)
from posefix.formats.probe import FileProbe
from posefix.formats.records import require_object

SKELETONS = ("coco17", "halpe26", "coco_wholebody133", "mpii16", "crowdpose14", "halpe136")
DEMO_PREFIX = "results_"  # of the demo scripts' files


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the instances of images, or of a video's frames by their ``frame_id``.

    Image names lose the prefix of the demo scripts.
    """
    frames = read_frames(path, _is_image, on_error, inside="instance_info")
    if frames.store == "list" and frames.values and all(isinstance(value, Mapping) for value in frames.values):
        frames = numbered(path, frames, "frame_id", first=1 if frames.outer else 0)
    else:
        pairs = zip(frames.keys, frames.values, strict=True)
        keys = [str(key).removeprefix(DEMO_PREFIX) if isinstance(value, Mapping) else key for key, value in pairs]
        if (repeated := first_repeated(keys)) is not None:
            raise InputError(f"{path}: two of its files are of the image {repeated!r}")
        frames = replace(frames, keys=keys)
    return read_images(LAYOUT, path, skeleton, on_error, frames)


def _is_image(value: Any) -> bool:
    listed: Any = value.get("instance_info") if isinstance(value, Mapping) else value
    return _is_frame(value) or (is_list_of_people(listed) and not any(map(_is_frame, listed)))


def _is_frame(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("instances"), list)


def _instances_key(value: Mapping[str, Any]) -> str:
    return "instances" if "instances" in value else "instance_info"


def _keypoints(instance: Any, skeleton: Skeleton | None) -> Triples:
    require_object(instance, "keypoints", "keypoint_scores")
    return pairs_with_scores(instance["keypoints"], instance["keypoint_scores"], "keypoint_scores")


def _put(instance: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    pairs, scores = [[x, y] for x, y, _ in triples], [score for _, _, score in triples]
    return {**instance, "keypoints": pairs, "keypoint_scores": scores}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    box = [np.round(to_corners(parsed, person), 3).tolist()]
    return {"keypoints": [], "keypoint_scores": [], "bbox": box, "bbox_score": 0.0}


def _is_instance(value: Any) -> bool:
    return isinstance(value, Mapping) and {"keypoints", "keypoint_scores"} <= value.keys() and "image_id" not in value


LAYOUT = Layout(
    PersonLayout(
        _keypoints,
        _put,
        _new,
        _is_instance,
        box=lambda instance: from_corners(instance.get("bbox")),
        score="bbox_score",
        decimals=(3, 4),
    ),
    SKELETONS,
    _is_image,
    people_in=lambda value: value[_instances_key(value)] if isinstance(value, Mapping) else value,
    put_people=lambda value, people: {**value, _instances_key(value): people} if isinstance(value, Mapping) else people,
    noun="instance",
)


def _looks_like_mmpose(probe: FileProbe) -> bool:
    objects = (value for value in first_values(probe) if isinstance(value, Mapping))
    distinctive = any(isinstance(value.get("instance_info"), list) or "frame_id" in value for value in objects)
    return distinctive or looks_like(LAYOUT, probe)


FORMAT = json_format("mmpose", "MMPose's predictions", LAYOUT, sniff=_looks_like_mmpose, read=read, estimator_ap=72.0)
