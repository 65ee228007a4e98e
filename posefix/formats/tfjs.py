"""TensorFlow.js: JSON of what pose-detection's ``detector.estimatePoses()`` returns for an image, and older PoseNet.

An image is a list of poses ``{"score", "keypoints": [{"x", "y", "score", "name"}, ...], "keypoints3D", "id", "box"}``
in pixels: MoveNet's and PoseNet's have COCO's 17 keypoints, BlazePose's 33 (with z as well). The older package posenet
has keypoints ``{"score", "part": "leftEye", "position": {"x", "y"}}``, and returns one pose by itself where only one is
asked for. Keypoints are found by their names, else by their places. Those without a score have 1, and a pose without
one has the mean of its keypoints'.

MoveNet's model for several people has ``{"yMin", "xMin", "yMax", "xMax", "width", "height"}`` as the box, in fractions
of the image though the keypoints are pixels: it is handed through and not used. A box beyond that is taken for pixels.
New poses get a box in fractions if the image's size is known. ``keypoints3D`` are handed through.

Sources: tfjs-models, pose-detection/README.md, src/types.ts, src/constants.ts, src/movenet/detector.ts and
src/shared/calculators/interfaces (package @tensorflow-models/pose-detection 2.1.3); posenet/README.md, src/types.ts and
src/keypoints.ts (package @tensorflow-models/posenet 2.2.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton, load
from posefix.formats.frames import frames_of, glance, read_frames, write_frames
from posefix.formats.names import places, plain
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, describe_shortly, keep_equal
from posefix.formats.probe import FileProbe
from posefix.formats.records import is_number

SKELETONS = ("coco17", "blazepose33")
_FRACTIONS = 2  # a box within this is in fractions of the image
_SIDES = ("xMin", "yMin", "width", "height")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the poses of images or frames."""
    frames = read_frames(path, _is_image)
    skeleton = skeleton or _skeleton_of(pose for value in frames.values for pose in _poses_in(value))
    people = PeopleBuilder(path, skeleton, on_error)
    order = places(skeleton)
    for place, value in enumerate(frames.values):
        for i, pose in enumerate(_poses_in(value)):
            _add(people, f"{frames.where(place)} pose {i}".strip(), place, pose, order)
    return people.parsed(frames.keys, frames.kind, document=frames)


def write(path: Path, content: ParsedFile) -> None:
    """Write poses, stored as they were; coordinates with 3 decimals, scores with 6."""
    order = places(content.skeleton)

    def value(old: Any, people: list[int]) -> Any:
        written = [_written(content, person, order) for person in people]
        return written[0] if isinstance(old, Mapping) and len(written) == 1 else written

    write_frames(path, frames_of(content, value))


def _is_image(value: Any) -> bool:
    if isinstance(value, list):
        return not value or (any(map(_is_pose, value)) and not any(isinstance(pose, list) for pose in value))
    return _is_pose(value)


def _is_pose(value: Any) -> bool:
    return isinstance(value, Mapping) and "keypoints" in value


def _poses_in(value: Any) -> list:
    return [value] if isinstance(value, Mapping) else value


def _add(people: PeopleBuilder, where: str, place: int, pose: Any, order: Mapping[str, int]) -> None:
    keypoints = pose.get("keypoints") if isinstance(pose, Mapping) else None
    if not isinstance(keypoints, list) or not all(isinstance(keypoint, Mapping) for keypoint in keypoints):
        found = describe_shortly(keypoints if isinstance(pose, Mapping) else pose)
        people.refuse(where, place, pose, f"has {found} as keypoints, expected a list of objects with x and y")
        return
    found = _found(keypoints, order)
    if len(found) == 0 or (not _is_named(keypoints) and len(keypoints) != len(order)):
        what = (
            "has no keypoint" if _is_named(keypoints) else f"has {len(keypoints)} keypoints without names, expected one"
        )
        people.refuse(where, place, pose, f"{what} of the {len(order)} of {people.skeleton.name}")
        return
    points: list[list] = [[None, None]] * len(order)
    scores: list[Any] = [0.0] * len(order)
    for keypoint, target in found:
        scores[target] = _score(keypoint)
        if scores[target] != 0:
            position = _position(keypoint)
            points[target] = [position.get("x"), position.get("y")]
    people.add(where, place, pose, points, scores, _box(pose.get("box")), pose.get("score"))


def _found(keypoints: list, order: Mapping[str, int]) -> list[tuple[Mapping, int]]:
    """The keypoints that can be used with their places in the skeleton; of several with one name the first."""
    if not _is_named(keypoints):
        return list(zip(keypoints, range(len(order)), strict=False))
    found: dict[int, Mapping] = {}
    for keypoint in keypoints:
        target = order.get(plain(_name(keypoint)))
        if target is not None:
            found.setdefault(target, keypoint)
    return [(keypoint, target) for target, keypoint in found.items()]


def _is_named(keypoints: list) -> bool:
    return any(_name(keypoint) for keypoint in keypoints)


def _name(keypoint: Mapping) -> str:
    name = keypoint.get("name", keypoint.get("part"))
    return name if isinstance(name, str) else ""


def _position(keypoint: Mapping) -> Mapping:
    position = keypoint.get("position")
    return position if isinstance(position, Mapping) else keypoint


def _score(keypoint: Mapping) -> Any:
    score = keypoint.get("score")
    return 1.0 if score is None else score


def _box(box: Any) -> list | None:
    """xywh of a box in pixels; None of one in fractions of the image, and of what is none."""
    sides = [box.get(side) for side in _SIDES] if isinstance(box, Mapping) else [None]
    return sides if all(map(is_number, sides)) and max(map(abs, sides)) > _FRACTIONS else None


def _skeleton_of(poses: Iterable[Any]) -> Skeleton:
    """BlazePose's if any pose has a keypoint that only that has."""
    coco, blazepose = (load(name) for name in SKELETONS)
    own = set(places(blazepose)) - set(places(coco))
    for pose in poses:
        keypoints = pose.get("keypoints") if isinstance(pose, Mapping) else None
        if isinstance(keypoints, list) and all(isinstance(keypoint, Mapping) for keypoint in keypoints):
            if any(plain(_name(keypoint)) in own for keypoint in keypoints):
                return blazepose
            if not _is_named(keypoints) and len(keypoints) == len(blazepose):
                return blazepose
    return coco


def _written(content: ParsedFile, person: int, order: Mapping[str, int]) -> Any:
    pose, scores = content.records[person], content.scores[person]
    if content.has_no_estimate(person):
        return pose
    old = pose.get("keypoints") if isinstance(pose, Mapping) else None
    if not isinstance(old, list):
        return _new(content, person)
    found = [(keypoint, target) for keypoint, target in _found(old, order) if scores[target] > 0]
    targets = np.array([target for _, target in found], np.int64)
    positions = [_position(keypoint) for keypoint, _ in found]
    raw = [[position.get("x"), position.get("y")] for position in positions]
    xy = keep_equal(raw, content.keypoints[person][targets], 3)
    confidences = keep_equal([_score(keypoint) for keypoint, _ in found], scores[targets], 6)
    changed = {
        id(keypoint): _moved(keypoint, position, point, score)
        for (keypoint, _), position, point, score in zip(found, positions, xy, confidences, strict=True)
    }
    written = {**pose, "keypoints": [changed.get(id(keypoint), keypoint) for keypoint in old]}
    if pose.get("score") is not None:
        written["score"] = keep_equal(pose["score"], np.array(content.person_scores[person]), 6)
    return written


def _moved(keypoint: Mapping, position: Mapping, point: list, score: float) -> dict:
    moved = {**position, "x": point[0], "y": point[1]}
    new = moved if position is keypoint else {**keypoint, "position": moved}
    return new if score == _score(keypoint) else {**new, "score": score}


def _new(content: ParsedFile, person: int) -> dict:
    names = [
        "mouth_" + n.removesuffix("_mouth") if n.endswith("_mouth") else n for n in content.skeleton.keypoint_names
    ]
    points, scores = np.round(content.keypoints[person], 3).tolist(), np.round(content.scores[person], 6).tolist()
    pose: dict[str, Any] = {
        "score": round(float(content.person_scores[person]), 6),
        "keypoints": [
            {"y": y, "x": x, "score": score, "name": name}
            for (x, y), score, name in zip(points, scores, names, strict=True)
        ],
    }
    size = None if content.sizes is None else content.sizes[content.frames[person]]
    if size is not None and (size > 0).all() and content.boxes[person].any():
        x, y, w, h = np.round(content.boxes[person] / np.tile(size, 2), 6).tolist()
        high = np.round((content.boxes[person][:2] + content.boxes[person][2:]) / size, 6).tolist()
        pose["box"] = {"yMin": y, "xMin": x, "yMax": high[1], "xMax": high[0], "width": w, "height": h}
    return pose


def _looks_like_tfjs(probe: FileProbe) -> bool:
    for value in glance(probe):
        pose = value[0] if isinstance(value, list) and value else value
        keypoints = pose.get("keypoints") if _is_pose(pose) else None
        if isinstance(keypoints, list) and keypoints and isinstance(keypoints[0], Mapping):
            position = _position(keypoints[0])
            return "x" in position and "y" in position
    return False


TFJS = Format(
    name="tfjs",
    title="TensorFlow.js pose-detection",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks_like_tfjs,
    read=read,
    write=write,
    any_file_name=True,
    holds=frozenset({"scores", "person_scores", "empty"}),
)
