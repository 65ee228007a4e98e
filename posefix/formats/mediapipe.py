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
from posefix.formats.frames import Frames, frames_of, glance, read_frames, write_frames
from posefix.formats.parsed_file import (
    Format,
    ImageKind,
    OnError,
    ParsedFile,
    PeopleBuilder,
    describe_shortly,
    keep_equal,
)
from posefix.formats.probe import FileProbe

SKELETONS = ("blazepose33",)
DECIMALS = 6
_PEOPLE = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")  # keys that lead to landmarks
_WORLD = ("pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks")
_FRAME = ("frame", "frame_id", "frame_idx", "frame_index", "frame_number")
_IMAGE = ("image", "image_name", "image_path", "file_name", "filename")
_PIXELS = 10  # no landmark that means something lies so many widths of the image away


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the landmarks of images or frames."""
    frames = read_frames(path, _is_image, is_inner=_is_image_in_others)
    keys, kind = _keys(frames)
    people = PeopleBuilder(path, skeleton, on_error, SKELETONS)
    for place, value in enumerate(frames.values):
        try:
            records, _ = _people_in(value)
        except ValueError as error:
            people.refuse(f"{frames.where(place)} what is said of the image".strip(), place, value, str(error))
            continue
        for i, record in enumerate(records):
            _add(people, f"{frames.where(place)} person {i}".strip(), place, record)
    found = people.parsed(keys, kind, SKELETONS[0], relative=True, document=replace(frames, keys=keys))
    require_fractions(path, found)
    return found


def write(path: Path, content: ParsedFile) -> None:
    """Write landmarks, stored as they were; x, y and visibility with 6 decimals."""

    def value(old: Any, people: list[int]) -> Any:
        written = [_written(content, person) for person in people]
        if old is None and not people:
            return None if content.document else {"pose_landmarks": []}
        return _put(old, written)

    write_frames(path, frames_of(content, value))


def require_fractions(path: Path, content: ParsedFile) -> None:
    """Raise InputError if coordinates that are to be fractions of the image are pixels."""
    known = np.abs(content.keypoints[content.scores > 0])
    if known.size and np.median(known) > _PIXELS:
        raise InputError(
            f"{path}: half of all coordinates are beyond {np.median(known):.0f}, so they are pixels; MediaPipe's are "
            "fractions of the image's width and height"
        )


def _is_image(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(key in value for key in _PEOPLE)
    return isinstance(value, list) and (not value or any(map(_is_landmark, value)))


def _is_image_in_others(value: Any) -> bool:
    return value is None or _is_image(value) or (isinstance(value, list) and all(map(_may_be_person, value)))


def _may_be_person(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, Mapping) and "landmark" in value)


def _is_landmark(value: Any) -> bool:
    return isinstance(value, Mapping) and "x" in value and "y" in value


def _people_in(value: Any, depth: int = 2) -> tuple[list, bool]:
    """The people in what is said of an image, and whether it has room for several; ValueError for no list of them."""
    if value is None:
        return [], False
    key = _key_of(value)
    if key is not None and depth:
        return _people_in(value[key], depth - 1)
    if not isinstance(value, list):
        raise ValueError(f"has {describe_shortly(value)}, expected a list of landmarks")
    return (value, True) if not value or any(map(_may_be_person, value)) else ([value], False)


def _put(value: Any, people: list) -> Any:
    """What is said of an image with other people in it."""
    if value is None:
        return {"pose_landmarks": people}
    try:
        _, several = _people_in(value)
    except ValueError:
        return value
    if not several and len(people) > 1:
        return {**value, _key_of(value): people} if isinstance(value, Mapping) else {"pose_landmarks": people}
    return _put_in(value, people if several else people[0] if people else None)


def _put_in(value: Any, people: Any) -> Any:
    key = _key_of(value)
    return people if key is None else {**value, key: _put_in(value[key], people)}


def _key_of(value: Any) -> str | None:
    return next((key for key in _PEOPLE if key in value), None) if isinstance(value, Mapping) else None


def _add(people: PeopleBuilder, where: str, place: int, record: Any) -> None:
    landmarks = _landmarks_of(record)
    if not isinstance(landmarks, list) or not all(isinstance(landmark, Mapping) for landmark in landmarks):
        people.refuse(where, place, record, f"is {describe_shortly(landmarks)}, expected a list of 33 landmarks")
        return
    points = [[landmark.get("x"), landmark.get("y")] for landmark in landmarks]
    scores = [_visibility(landmark) for landmark in landmarks]
    people.add(
        where, place, record, [[None, None] if s == 0 else p for p, s in zip(points, scores, strict=True)], scores
    )


def _landmarks_of(record: Any) -> Any:
    return record.get("landmark") if isinstance(record, Mapping) else record


def _visibility(landmark: Mapping) -> Any:
    visibility = landmark.get("visibility")
    return 1.0 if visibility is None else visibility


def _written(content: ParsedFile, person: int) -> Any:
    record = content.records[person]
    if content.has_no_estimate(person):
        return record
    points, scores = content.keypoints[person], content.scores[person]
    old = _landmarks_of(record)
    if not isinstance(old, list) or len(old) != len(points):
        new = np.column_stack([np.round(points, DECIMALS), np.zeros(len(points)), np.round(scores, DECIMALS)])
        return [dict(zip(("x", "y", "z", "visibility"), landmark, strict=True)) for landmark in new.tolist()]
    known = np.flatnonzero(scores > 0)
    landmarks = [old[k] for k in known.tolist()]
    xy = keep_equal([[landmark.get("x"), landmark.get("y")] for landmark in landmarks], points[known], DECIMALS)
    visibilities = keep_equal([_visibility(landmark) for landmark in landmarks], scores[known], DECIMALS)
    new = list(old)
    for k, landmark, (x, y), visibility in zip(known.tolist(), landmarks, xy, visibilities, strict=True):
        said = {} if visibility == _visibility(landmark) else {"visibility": visibility}
        new[k] = {**landmark, "x": x, "y": y, **said}
    return {**record, "landmark": new} if isinstance(record, Mapping) else new


def _keys(frames: Frames) -> tuple[list[int | str], ImageKind]:
    """What images are called: in a list, by their numbers or names if every frame has its own."""
    if frames.store == "list" and all(isinstance(value, Mapping) for value in frames.values):
        for names, kind, cls in ((_IMAGE, "name", str), (_FRAME, "index", int)):
            for name in names:
                keys = [value.get(name) for value in frames.values]
                fine = all(type(key) is cls and (cls is str or 0 <= key < 2**53) for key in keys)
                if keys and fine and len(set(keys)) == len(keys):
                    return keys, kind
    return frames.keys, frames.kind


def _looks_like_mediapipe(probe: FileProbe) -> bool:
    for value in glance(probe):
        if isinstance(value, Mapping) and "keypoints" not in value:
            if any(key in value for key in (*_PEOPLE[:2], *_WORLD)) and _is_image(value):
                return True
            value = next((value[key] for key in _PEOPLE if key in value), None)
        person = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
        person = _landmarks_of(person)
        if isinstance(person, list) and len(person) == 33 and all(map(_is_landmark, person)):
            return True
    return False


MEDIAPIPE = Format(
    name="mediapipe",
    title="MediaPipe Pose",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks_like_mediapipe,
    read=read,
    write=write,
    any_file_name=True,
    relative=True,
    holds=frozenset({"scores", "empty"}),
)
