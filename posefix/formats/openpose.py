"""OpenPose's ``--write_json``: for each image or video frame a file ``NAME_keypoints.json`` with the people in it.

A person's ``pose_keypoints_2d`` (``pose_keypoints`` in early versions) are x, y and confidence of 25 keypoints (model
``BODY_25``) or 18 (model ``COCO``), one after the other; three zeros where one was not detected. There is no score of a
person, and no box. Face, hands, 3D, ``person_id`` and ``part_candidates`` are handed through.

Coordinates are pixels of the source with ``--keypoint_scale 0``, the default. Scales 3 and 4 are fractions of the image
and refused; scales 1 and 2, pixels of other sizes, cannot be told from 0. ``BODY_25B`` has 25 keypoints as well, in
another order: it needs a skeleton of its own.

A neck and a middle of the hips that people from elsewhere lack are written halfway between the shoulders and the hips,
which is where OpenPose has them in its training data.

Sources: openpose, doc/02_output.md, doc/advanced/demo_advanced.md, src/openpose/filestream/fileStream.cpp,
src/openpose/core/keypointScaler.cpp, include/openpose/filestream/wPeopleJsonSaver.hpp; openpose_caffe_train,
src/caffe/openpose/poseModel.cpp.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import files_in, first_repeated, without_gz
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import Frames, Store, glance, read_frames, write_frames
from posefix.formats.images import without_extension
from posefix.formats.parsed_file import (
    Format,
    OnError,
    ParsedFile,
    PeopleBuilder,
    describe_shortly,
    keep_equal,
    numbers,
)
from posefix.formats.per_image import can_be_named
from posefix.formats.probe import FileProbe

SUFFIX = "_keypoints.json"
PARTS = ("pose", "face", "hand_left", "hand_right")
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "hip": ("left_hip", "right_hip")}
LOOKED_AT = 100  # images in a file, to recognise the format
_OTHER_CAMERA = re.compile(r"_keypoints_[0-9]+\.json(\.gz)?$")


@dataclass(frozen=True)
class Layout:
    """How an image's people are laid out: an object with a list of people, each an object with a list of numbers.

    Attributes:
        people: key of the list of people.
        pose: keys that a person's numbers can have; the one for new people first.
        skeletons: names of those that the number of numbers tells apart; the one for new people first.
        store: how new files are stored.
        suffix: what follows an image's name in the name of its file.
        frame: an image without people, as new ones are written.
        person: a person without numbers, as new ones are written.
        names: how images are called in new files, from their names.
        empty: whether new files have images without people.
    """

    people: str
    pose: tuple[str, ...]
    skeletons: tuple[str, ...]
    store: Store
    suffix: str
    frame: Mapping[str, Any]
    person: Mapping[str, Any]
    names: Callable[[Sequence[int | str]], list[str]]
    empty: bool

    def is_frame(self, value: Any) -> bool:
        """Whether a JSON value is an image with its people."""
        return isinstance(value, Mapping) and self.people in value

    def is_posed(self, value: Any) -> bool:
        """Whether a JSON value is an image with a person who has numbers, or with nobody."""
        people = value.get(self.people) if isinstance(value, Mapping) else None
        if not isinstance(people, list):
            return False
        return any(self.pose_of(person) is not None for person in people) if people else "version" in value

    def pose_of(self, person: Any) -> str | None:
        """The key that a person's numbers have."""
        return next((key for key in self.pose if isinstance(person, Mapping) and key in person), None)


@dataclass(frozen=True)
class _Document:
    """How images were stored, and by image key what was there beside people, and the names of files."""

    store: Store
    frames: Mapping[int | str, Mapping[str, Any]]
    files: Mapping[int | str, str]


def read_layout(layout: Layout, path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read images with their people from a file or folder."""
    frames = read_frames(path, layout.is_frame, layout.suffix)
    people = PeopleBuilder(path, skeleton, on_error, layout.skeletons)
    for place, frame in enumerate(frames.values):
        records = frame[layout.people]
        if not isinstance(records, list):
            found = f"has {describe_shortly(records)} as {layout.people}, expected a list"
            subject = f"{frames.where(place)} {found}".strip()
            raise InputError(f"{path}: {subject}")
        for i, record in enumerate(records):
            where, key = f"{frames.where(place)} person {i}".strip(), layout.pose_of(record)
            if not isinstance(record, Mapping):
                people.refuse(where, place, record, f"is {describe_shortly(record)}, expected an object")
            elif key is None:
                people.refuse(where, place, record, f"has no {layout.pose[0]}")
            else:
                try:
                    points, scores = read_triples(record[key], key)
                except ValueError as error:
                    people.refuse(where, place, record, str(error))
                else:
                    people.add(where, place, record, points, scores)
    rest = [{**frame, layout.people: []} for frame in frames.values]
    files = dict(zip(frames.keys, frames.files, strict=True)) if frames.files else {}
    document = _Document(frames.store, dict(zip(frames.keys, rest, strict=True)), files)
    return people.parsed(frames.keys, frames.kind, layout.skeletons[0], document=document)


def write_layout(layout: Layout, path: Path, content: ParsedFile) -> None:
    """Write images with their people, stored as they were."""
    content = with_middles(content)
    document = content.document or _Document(layout.store, {}, {})
    keys: list[int | str] = []
    values, files = [], []
    for key, name, members in zip(content.images, layout.names(content.images), content.people_of(), strict=True):
        if members or layout.empty or key in document.frames:
            frame = document.frames.get(key, layout.frame)
            keys.append(key if key in document.frames else name)
            values.append({**frame, layout.people: [_person(layout, content, member) for member in members]})
            files.append(document.files.get(key) or f"{name}{layout.suffix}")
    store: Store = "folder" if document.store == "file" and len(values) != 1 else document.store
    if store == "folder":
        _require_file_names(path, files)
    write_frames(path, Frames(store, keys, values, tuple(files)), layout.suffix)


def read_triples(values: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, 2) coordinates and (K,) scores from 3 K numbers; ValueError with the rest of a sentence for anything else.

    Coordinates are (0, 0) where the score is 0; None becomes NaN.
    """
    flat = numbers(values, what)
    if flat.ndim != 1 or flat.size % 3 or flat.size == 0:
        found = f"{flat.size} numbers" if flat.ndim == 1 and flat.size else describe_shortly(values)
        raise ValueError(f"has {found} as {what}, expected x, y and score of each keypoint, one after the other")
    triples = flat.reshape(-1, 3)
    return np.where(triples[:, 2:] == 0, 0.0, triples[:, :2]), triples[:, 2]


def written_triples(raw: Any, points: np.ndarray, scores: np.ndarray) -> list:
    """3 K numbers from coordinates and scores, as they came in ``raw`` where they say the same; its inverse.

    Coordinates get 3 decimals, scores 6: AlphaPose has scores of 0.00001.
    """
    same = isinstance(raw, list) and len(raw) == 3 * len(points)
    old = np.array(raw if same else [None] * (3 * len(points)), object).reshape(-1, 3)
    found = numbers(old.tolist(), "")
    without_estimate = ~(np.isfinite(found).all(1) & (found[:, 2] != 0))
    keep = same & without_estimate & (scores == 0)
    xy = keep_equal(old[:, :2].tolist(), points, 3, keep[:, None])
    confidences = keep_equal(old[:, 2].tolist(), scores, 6, keep)
    return np.concatenate([np.array(xy, object), np.array(confidences, object)[:, None]], axis=1).ravel().tolist()


def with_middles(content: ParsedFile) -> ParsedFile:
    """New people with neck and middle of the hips halfway between the two sides, where not one of them has any."""
    names = content.skeleton.keypoint_names
    new = np.array([record is None for record in content.records], bool)
    keypoints, scores = content.keypoints.copy(), content.scores.copy()
    for middle, sides in MIDDLES.items():
        if not {middle, *sides} <= set(names):
            continue
        place, left, right = (names.index(name) for name in (middle, *sides))
        if (scores[new, place] > 0).any():
            continue
        both = new & (scores[:, left] > 0) & (scores[:, right] > 0)
        keypoints[both, place] = (keypoints[both, left] + keypoints[both, right]) / 2
        scores[both, place] = (scores[both, left] + scores[both, right]) / 2
    return replace(content, keypoints=keypoints, scores=scores)


def base_name(key: int | str) -> str:
    """The last part of an image's name, without folders."""
    return re.split(r"[/\\]", str(key))[-1]


def _person(layout: Layout, content: ParsedFile, person: int) -> Any:
    record = content.records[person]
    if content.has_no_estimate(person):
        return record
    known = layout.person if record is None else record
    key = layout.pose_of(known) or layout.pose[0]
    numbers_as_read = None if record is None else known.get(key)
    return {**known, key: written_triples(numbers_as_read, content.keypoints[person], content.scores[person])}


def _names(images: Sequence[int | str]) -> list[str]:
    return [without_extension(base_name(key)) for key in images]


def _require_file_names(path: Path, files: Sequence[str]) -> None:
    if (twice := first_repeated(files)) is not None:
        raise InputError(f"{path}: two images have the same name and would both be written to {twice}")
    if impossible := [name for name in files if not can_be_named(name)]:
        raise InputError(f"{path}: {impossible[0]!r} cannot be the name of a file")


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a folder of ``*_keypoints.json``, or one such file; of ``*.json`` if none is named so."""
    content = read_layout(_layout_of(path), path, skeleton, on_error)
    if path.is_dir():
        _require_one_camera(path)
    found = content.keypoints[content.scores > 0]
    if found.any() and (np.abs(found) <= 1).all():
        scale, low = (3, 0) if (found >= 0).all() else (4, -1)
        raise InputError(
            f"{path}: all coordinates lie between {low} and 1, as written with --keypoint_scale {scale}, expected "
            "pixels: write it with --keypoint_scale 0"
        )
    return content


def write(path: Path, content: ParsedFile) -> None:
    """Write a folder with a file for each image."""
    write_layout(LAYOUT, path, content)


def _layout_of(path: Path) -> Layout:
    named = without_gz(path.name).endswith(SUFFIX)
    if path.is_dir():
        try:
            named = bool(files_in(path, SUFFIX))
        except InputError:
            named = False
    return LAYOUT if named else replace(LAYOUT, suffix=".json")


def _require_one_camera(path: Path) -> None:
    other = min((name for name in os.listdir(path) if _OTHER_CAMERA.search(name)), default=None)
    if other is not None:
        raise InputError(
            f"{path}: holds files of several cameras ({other}); put those of each into a folder of its own, "
            f"named *{SUFFIX}"
        )


def _looks_like_openpose(probe: FileProbe) -> bool:
    value = list(glance(probe)) if probe.is_folder else probe.json
    posed = list(filter(LAYOUT.is_posed, value[:LOOKED_AT] if isinstance(value, list) else [value]))
    return bool(posed) and not any(map(is_alphapose, posed))


def is_alphapose(frame: Mapping[str, Any]) -> bool:
    """Whether an image was written by AlphaPose, whose own layout is the same but for the version."""
    return str(frame.get("version")).startswith("AlphaPose")


LAYOUT = Layout(
    people="people",
    pose=("pose_keypoints_2d", "pose_keypoints"),
    skeletons=("body25", "openpose18"),
    store="folder",
    suffix=SUFFIX,
    frame={"version": 1.3, "people": []},
    person={"person_id": [-1]} | {f"{part}_keypoints_{d}d": [] for d in (2, 3) for part in PARTS},
    names=_names,
    empty=True,
)
OPENPOSE = Format(
    name="openpose",
    title="OpenPose",
    skeletons=LAYOUT.skeletons,
    kind="name",
    sniff=_looks_like_openpose,
    read=read,
    write=write,
    folder=True,
    holds=frozenset({"scores", "empty"}),
)
