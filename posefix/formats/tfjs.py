"""TensorFlow.js: JSON of the result of pose-detection's ``detector.estimatePoses()`` for an image, and of PoseNet.

An image is a list of poses ``{"score", "keypoints": [{"x", "y", "score", "name"}, ...], "keypoints3D", "id", "box"}``
in pixels. The older package posenet has keypoints ``{"score", "part": "leftEye", "position": {"x", "y"}}``. Keypoints
are matched by name; their default score is 1. MoveNet's ``box`` is in fractions of the image although its keypoints are
in pixels: it is passed through unused.

Sources: tfjs-models, pose-detection 2.1.3 (src/types.ts, src/constants.ts, src/movenet/detector.ts) and posenet 2.2.2
(src/types.ts, src/keypoints.ts).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import Frames
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import ParsedFile
from posefix.formats.per_image import Layout, PersonLayout, Triples, json_format, point_triple, put_point
from posefix.formats.records import describe

SKELETONS = ("coco17", "blazepose33")


def _is_image(value: Any) -> bool:
    if not isinstance(value, list) or any(isinstance(pose, list) for pose in value):
        return False
    return not value or any(isinstance(pose, Mapping) and "keypoints" in pose for pose in value)


def _names(pose: Any) -> list[str]:
    """Return the plain names of a pose's keypoints, empty where one has none; no names if it has no keypoints."""
    keypoints = pose.get("keypoints") if isinstance(pose, Mapping) else None
    if not isinstance(keypoints, list) or not all(isinstance(keypoint, Mapping) for keypoint in keypoints):
        return []
    return [plain(str(keypoint.get("name", keypoint.get("part", "")))) for keypoint in keypoints]


def _targets(pose: Any, skeleton: Skeleton) -> list[int | None]:
    """Return the index of each keypoint in the skeleton; None for others, and for repeated names."""
    order, names = places(skeleton), _names(pose)
    return [order.get(name) if name not in names[:i] else None for i, name in enumerate(names)]


def _skeleton_of(path: Path, frames: Frames) -> Skeleton:
    """Return BlazePose's skeleton if any pose has a keypoint that only BlazePose has, else COCO's."""
    coco, blazepose = (load(name) for name in SKELETONS)
    only_blazepose = places(blazepose).keys() - places(coco).keys()
    poses = (pose for value in frames.values for pose in value)
    return blazepose if any(only_blazepose & set(_names(pose)) for pose in poses) else coco


def _keypoints(pose: Any, skeleton: Skeleton | None) -> Triples:
    skeleton = skeleton or load(SKELETONS[0])
    targets = _targets(pose, skeleton)
    if all(target is None for target in targets):
        description = describe(pose.get("keypoints") if isinstance(pose, Mapping) else pose)
        raise ValueError(f"has {description} as keypoints, expected objects with x, y and a name of {skeleton.name}'s")
    triples: list[Any] = [[None, None, 0.0]] * len(skeleton)
    for keypoint, target in zip(pose["keypoints"], targets, strict=True):
        if target is not None:
            triples[target] = point_triple(keypoint, "score")
    return triples


def _put(pose: Mapping[str, Any], triples: Triples, skeleton: Skeleton) -> dict[str, Any]:
    pairs = zip(pose["keypoints"], _targets(pose, skeleton), strict=True)
    return {**pose, "keypoints": [k if t is None else put_point(k, triples[t], "score") for k, t in pairs]}


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    names = [f"mouth_{n.removesuffix('_mouth')}" if n.endswith("_mouth") else n for n in parsed.skeleton.keypoint_names]
    return {"score": 0.0, "keypoints": [{"y": 0.0, "x": 0.0, "score": 0.0, "name": name} for name in names]}


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, lambda pose: any(_names(pose)), score="score", track="id"),
    SKELETONS,
    _is_image,
    noun="pose",
    store="names",
    skeleton_of=_skeleton_of,
)
FORMAT = json_format("tfjs", "TensorFlow.js pose-detection", LAYOUT, any_file_name=True)
