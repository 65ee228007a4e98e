"""MediaPipe Pose: JSON of what its ``Pose`` solution and ``PoseLandmarker`` task return for an image.

Each person is a list of 33 landmarks ``{"x", "y", "z", "visibility", "presence"}``, x and y as fractions of the image's
width and height, beyond 0 and 1 where a landmark lies outside. MediaPipe itself writes no files; the forms that its
results take when they are dumped are read:

- the task's in Python, ``{"pose_landmarks": [[33 landmarks], ...], "pose_world_landmarks": ...}``, and on the web,
  ``{"landmarks": [[33 landmarks], ...], "worldLandmarks": ...}``;
- the solution's for its one person, ``{"pose_landmarks": [33 landmarks]}``, on the web ``poseLandmarks``, or, by
  ``MessageToDict``, ``{"landmark": [33 landmarks]}``, also inside of the first; null where there is nobody;
- the list of 33 landmarks by itself.

Images are stored as told in :mod:`posefix.formats.frames`; a list of lists of landmarks is one of frames with a person
each. Where every frame in a list has its number as ``frame``, or the name of its image, that counts and not its place.
Visibility is the score of a landmark, and 1 where it is not given; there is no score of a person, and no box. z,
presence and world landmarks are handed through. What comes from elsewhere is written as the task in Python has it, z as
0.

Sources: mediapipe, tasks/python/vision/pose_landmarker.py, tasks/python/components/containers/landmark.py,
tasks/web/vision/pose_landmarker/pose_landmarker_result.d.ts, framework/formats/landmark.proto and
python/solutions/pose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import Frames, first_values, read_frames
from posefix.formats.parsed_file import OnError, ParsedFile, describe_shortly
from posefix.formats.per_image import (
    Layout,
    PersonLayout,
    Triples,
    json_format,
    looks_like,
    point_triple,
    put_point,
    read_images,
)
from posefix.formats.probe import FileProbe

SKELETONS = ("blazepose33",)
_PEOPLE = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")  # keys that lead to landmarks
_WORLD = ("pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks")
_FRAME = ("frame", "frame_id", "frame_idx", "frame_index", "frame_number")
_IMAGE = ("image", "image_name", "image_path", "file_name", "filename")
_PIXELS = 10  # no landmark that means something lies so many widths of the image away


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the landmarks of images or frames."""
    frames = read_frames(path, _is_image, is_inner=_is_image_among_others, on_error=on_error)
    parsed = read_images(LAYOUT, path, skeleton, on_error, replace(frames, keys=_keys(frames)))
    known = np.abs(parsed.keypoints[parsed.scores > 0])
    if known.size and np.median(known) > _PIXELS:
        raise InputError(
            f"{path}: half of all coordinates are beyond {np.median(known):.0f}, so they are pixels; MediaPipe's are "
            "fractions of the image's width and height"
        )
    return replace(parsed, relative=True)


def _is_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(key in value for key in _PEOPLE)
    return isinstance(value, list) and (not value or any(map(_is_landmark, value)))


def _is_image_among_others(value: Any) -> bool:
    return value is None or _is_image(value) or (isinstance(value, list) and all(map(_may_be_person, value)))


def _may_be_person(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, Mapping) and "landmark" in value)


def _is_landmark(value: Any) -> bool:
    return isinstance(value, Mapping) and "x" in value and "y" in value


def _key_of(value: Any) -> str | None:
    return next((key for key in _PEOPLE if key in value), None) if isinstance(value, Mapping) else None


def _people_in(value: Any) -> list[Any]:
    return _people_and_room(value)[0]


def _people_and_room(value: Any, depth: int = 2) -> tuple[list[Any], bool]:
    """The people in the value of an image, and whether it has room for several; ValueError for no list of them."""
    if value is None:
        return [], False
    key = _key_of(value)
    if key is not None and depth:
        return _people_and_room(value[key], depth - 1)
    if not isinstance(value, list):
        raise ValueError(f"has {describe_shortly(value)}, expected a list of landmarks")
    return (value, True) if not value or any(map(_may_be_person, value)) else ([value], False)


def _put_people(value: Any, people: list[Any]) -> Any:
    if value is None:
        return {"pose_landmarks": people} if people else None
    if _people_and_room(value)[1]:
        return _put_innermost(value, people)
    if len(people) <= 1:
        return _put_innermost(value, people[0] if people else None)
    return {**value, _key_of(value): people} if isinstance(value, Mapping) else {"pose_landmarks": people}


def _put_innermost(value: Any, people: Any) -> Any:
    key = _key_of(value)
    return people if key is None else {**value, key: _put_innermost(value[key], people)}


def _landmarks_of(record: Any) -> list[Any] | None:
    landmarks = record.get("landmark") if isinstance(record, Mapping) else record
    usable = isinstance(landmarks, list) and all(isinstance(landmark, Mapping) for landmark in landmarks)
    return landmarks if usable else None


def _keypoints(record: Any, skeleton: Skeleton | None) -> Triples:
    landmarks = _landmarks_of(record)
    if landmarks is None:
        raise ValueError(f"is {describe_shortly(record)}, expected a list of 33 landmarks")
    return [point_triple(landmark, "visibility") for landmark in landmarks]


def _put(record: Any, triples: Triples, skeleton: Skeleton) -> Any:
    pairs = zip(_landmarks_of(record) or (), triples, strict=True)
    landmarks = [put_point(landmark, triple, "visibility") for landmark, triple in pairs]
    return {**record, "landmark": landmarks} if isinstance(record, Mapping) else landmarks


def _new(parsed: ParsedFile, person: int) -> list[Any]:
    return [{"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.0} for _ in parsed.skeleton.keypoint_names]


def _is_person(record: Any) -> bool:
    landmarks = _landmarks_of(record)
    return landmarks is not None and len(landmarks) == 33 and all(map(_is_landmark, landmarks))


def _keys(frames: Frames) -> list[int | str]:
    """What images are called: in a list, by their numbers or names if every frame has one of its own."""
    if frames.store == "list" and all(isinstance(value, Mapping) for value in frames.values):
        for name in (*_IMAGE, *_FRAME):
            keys = [value.get(name) for value in frames.values]
            kind = str if name in _IMAGE else int
            fine = all(type(key) is kind and (kind is str or 0 <= key < 2**53) for key in keys)
            if keys and fine and len(set(keys)) == len(keys):
                return keys
    return frames.keys


LAYOUT = Layout(
    PersonLayout(_keypoints, _put, _new, _is_person, decimals=(6, 6)),
    SKELETONS,
    _is_image,
    is_inner=_is_image_among_others,
    people_in=_people_in,
    put_people=_put_people,
    new_image={"pose_landmarks": []},
    store="names",
)


def _looks_like_mediapipe(probe: FileProbe) -> bool:
    telling = {*_PEOPLE[:2], *_WORLD}
    for value in first_values(probe):
        if isinstance(value, Mapping) and "keypoints" not in value and telling & value.keys() and _is_image(value):
            return True
    return looks_like(LAYOUT, probe)


MEDIAPIPE = json_format(
    "mediapipe",
    "MediaPipe Pose",
    LAYOUT,
    sniff=_looks_like_mediapipe,
    read=read,
    any_file_name=True,
    relative=True,
    holds=frozenset({"scores", "empty"}),
)
