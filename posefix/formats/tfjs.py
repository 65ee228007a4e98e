"""TensorFlow.js: JSON of what pose-detection's ``detector.estimatePoses()`` returns for an image, and older PoseNet.

An image is a list of poses ``{"score", "keypoints": [{"x", "y", "score", "name"}, ...], "keypoints3D", "id", "box"}``
in pixels. The older package posenet has keypoints ``{"score", "part": "leftEye", "position": {"x", "y"}}``, and returns
one pose by itself where only one is asked for. Keypoints are found by their names, else by their places; without a
score they have 1. MoveNet's ``box`` is in fractions of the image though the keypoints are pixels: it is handed through
and not used, and one beyond that is taken for pixels. New poses get such a box if the image's size is known.

Sources: tfjs-models, pose-detection 2.1.3 (src/types.ts, src/constants.ts, src/movenet/detector.ts) and posenet 2.2.2
(src/types.ts, src/keypoints.ts).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import Frames
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import ParsedFile
from posefix.formats.per_image import Layout, PersonLayout, Triples, json_format, point_triple, put_point
from posefix.formats.records import describe, is_number

SKELETONS = ("coco17", "blazepose33")
_FRACTIONS = 2  # a box within this is in fractions of the image
_SIDES = ("xMin", "yMin", "width", "height")


def _is_pose(value: Any) -> bool:
    return isinstance(value, Mapping) and "keypoints" in value


def _is_image(value: Any) -> bool:
    if isinstance(value, list):
        return not value or (any(map(_is_pose, value)) and not any(isinstance(pose, list) for pose in value))
    return _is_pose(value)


def _keypoint_list(pose: Any) -> list[Any] | None:
    keypoints = pose.get("keypoints") if isinstance(pose, Mapping) else None
    usable = isinstance(keypoints, list) and all(isinstance(keypoint, Mapping) for keypoint in keypoints)
    return keypoints if usable else None


def _name(keypoint: Mapping[str, Any]) -> str:
    name = keypoint.get("name", keypoint.get("part"))
    return name if isinstance(name, str) else ""


def _targets(keypoints: list[Any], order: Mapping[str, int]) -> list[int | None]:
    """The place of each keypoint in the skeleton, by name if any has one; None for others, and for a second one."""
    if not any(map(_name, keypoints)):
        return list(range(len(keypoints)))
    found = [order.get(plain(_name(keypoint))) for keypoint in keypoints]
    return [None if target in found[:i] else target for i, target in enumerate(found)]


def _skeleton_of(path: Path, frames: Frames) -> Skeleton:
    """BlazePose's if any pose has a keypoint that only that has."""
    coco, blazepose = (load(name) for name in SKELETONS)
    only_blazepose = set(places(blazepose)) - set(places(coco))
    for pose in (pose for value in frames.values for pose in _people_in(value)):
        keypoints = _keypoint_list(pose) or []
        named = [plain(name) for name in map(_name, keypoints) if name]
        if only_blazepose & set(named) or (not named and len(keypoints) == len(blazepose)):
            return blazepose
    return coco


def _people_in(value: Any) -> list[Any]:
    return [value] if isinstance(value, Mapping) else value


def _keypoints(pose: Any, skeleton: Skeleton | None) -> Triples:
    skeleton, keypoints = skeleton or load(SKELETONS[0]), _keypoint_list(pose)
    if keypoints is None:
        found = describe(pose.get("keypoints") if isinstance(pose, Mapping) else pose)
        raise ValueError(f"has {found} as keypoints, expected a list of objects with x and y")
    k, named = len(skeleton), any(map(_name, keypoints))
    if not named and len(keypoints) != k:
        raise ValueError(f"has {len(keypoints)} keypoints without names, expected one of the {k} of {skeleton.name}")
    triples: list[Any] = [[None, None, 0.0]] * k
    targets = _targets(keypoints, places(skeleton))
    for keypoint, target in zip(keypoints, targets, strict=True):
        if target is not None:
            triples[target] = point_triple(keypoint, "score")
    if all(target is None for target in targets):
        raise ValueError(f"has no keypoint of the {k} of {skeleton.name}")
    return triples


def _put(pose: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    pairs = zip(pose["keypoints"], _targets(pose["keypoints"], places(skeleton)), strict=True)
    return {**pose, "keypoints": [k if t is None else put_point(k, triples[t], "score") for k, t in pairs]}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    names = [f"mouth_{n.removesuffix('_mouth')}" if n.endswith("_mouth") else n for n in parsed.skeleton.keypoint_names]
    keypoints = [{"y": 0.0, "x": 0.0, "score": 0.0, "name": name} for name in names]
    pose: dict[str, Any] = {"score": 0.0, "keypoints": keypoints}
    image = parsed.listed[parsed.frames[person]]
    size = np.array([image.width, image.height])
    if size.all() and parsed.boxes[person].any():
        low, sides = parsed.boxes[person][:2] / size, parsed.boxes[person][2:] / size
        (x, y), (x2, y2), (w, h) = (np.round(v, 6).tolist() for v in (low, low + sides, sides))
        pose["box"] = {"yMin": y, "xMin": x, "yMax": y2, "xMax": x2, "width": w, "height": h}
    return pose


def _box(pose: Mapping[str, Any]) -> list[Any] | None:
    """xywh of a box in pixels; None of one in fractions of the image, and of what is none."""
    box = pose.get("box")
    sides = [box.get(side) for side in _SIDES] if isinstance(box, Mapping) else [None]
    return sides if all(map(is_number, sides)) and max(map(abs, sides)) > _FRACTIONS else None


def _is_pose_of_points(pose: Any) -> bool:
    keypoints = _keypoint_list(pose)
    return bool(keypoints) and all(value is not None for value in point_triple(keypoints[0], "score")[:2])


def _put_people(value: Any, people: list[Any]) -> Any:
    return people[0] if isinstance(value, Mapping) and len(people) == 1 else people


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_pose_of_points, box=_box, score="score"),
    SKELETONS,
    _is_image,
    people_in=_people_in,
    put_people=_put_people,
    noun="pose",
    store="names",
    skeleton_of=_skeleton_of,
)
FORMAT = json_format(
    "tfjs",
    "TensorFlow.js pose-detection",
    LAYOUT,
    any_file_name=True,
    holds=frozenset({"scores", "person_scores", "empty"}),
)
