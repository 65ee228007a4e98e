"""OpenPose's ``--write_json``: for each image or video frame a file ``NAME_keypoints.json`` with the people in it.

A person's ``pose_keypoints_2d`` (``pose_keypoints`` in early versions) are x, y and confidence of 25 keypoints (model
``BODY_25``) or 18 (model ``COCO``), one after the other; three zeros where one was not detected. There is no score of a
person, and no box. All else is handed through. Coordinates are pixels with ``--keypoint_scale 0``, the default; scales
3 and 4 are fractions of the image and refused. A neck and a middle of the hips that people from elsewhere lack are
written halfway between the shoulders and the hips, as OpenPose was trained.

Sources: openpose, doc/02_output.md, doc/advanced/demo_advanced.md, src/openpose/filestream/fileStream.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.skeleton import Skeleton
from posefix.formats.frames import first_values, read_frames
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import Layout, flat_person, json_format, read_images, write_images
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe

PARTS = ("pose", "face", "hand_left", "hand_right")
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "hip": ("left_hip", "right_hip")}


def people_in_object(people: str, keys: Sequence[str], person: Mapping[str, Any], version: Any) -> Layout:
    """An image is an object with a version and a list of people, each an object with all numbers in one list.

    ``people`` is the key of that list, ``keys`` are those that the numbers can have, the one for new people first;
    ``person`` is a new person without numbers.
    """

    def people_in(image: Mapping[str, Any]) -> list[Any]:
        listed = image[people]
        if not isinstance(listed, list):
            raise ValueError(f"has {describe(listed)} as {people}, expected a list")
        return listed

    return Layout(
        flat_person(
            keys,
            new=lambda parsed, place: person,
            is_person=lambda record: isinstance(record, Mapping) and any(key in record for key in keys),
        ),
        ("body25", "openpose18"),
        is_image=lambda value: isinstance(value, Mapping) and people in value,
        people_in=people_in,
        put_people=lambda value, records: {**value, people: records},
        new_image={"version": version, people: []},
        suffix="_keypoints.json",
    )


LAYOUT = people_in_object(
    "people",
    ("pose_keypoints_2d", "pose_keypoints"),
    {"person_id": [-1]} | {f"{part}_keypoints_{d}d": [] for d in (2, 3) for part in PARTS},
    1.3,
)


def with_middles(parsed: ParsedFile) -> ParsedFile:
    """New people with neck and middle of the hips halfway between the two sides, where not one of them has any."""
    names = parsed.skeleton.keypoint_names
    new = np.array([record is None for record in parsed.records], bool)
    keypoints, scores = parsed.keypoints.copy(), parsed.scores.copy()
    for middle, sides in MIDDLES.items():
        if not {middle, *sides} <= set(names):
            continue
        place, left, right = (names.index(name) for name in (middle, *sides))
        if (scores[new, place] > 0).any():
            continue
        both = new & (scores[:, left] > 0) & (scores[:, right] > 0)
        keypoints[both, place] = (keypoints[both, left] + keypoints[both, right]) / 2
        scores[both, place] = (scores[both, left] + scores[both, right]) / 2
    return replace(parsed, keypoints=keypoints, scores=scores)


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a folder of ``*.json``, or one such file; ``_keypoints`` at the end is not of the image's name."""
    frames = read_frames(path, LAYOUT.is_image, on_error)
    keys = [key if isinstance(key, int) else key.removesuffix("_keypoints") for key in frames.keys]
    return read_images(LAYOUT, path, skeleton, on_error, replace(frames, keys=keys))


def write(path: Path, parsed: ParsedFile) -> None:
    """Write a folder with a file for each image."""
    write_images(LAYOUT, path, with_middles(parsed))


def is_posed(layout: Layout, image: Any) -> bool:
    """Whether a JSON value is an image with a person who has numbers, or one without people that has a version."""
    try:
        people = layout.people_in(image) if layout.is_image(image) else None
    except ValueError:
        return False
    return people is not None and (any(map(layout.person.is_person, people)) if people else "version" in image)


def is_alphapose(image: Mapping[str, Any]) -> bool:
    """Whether an image was written by AlphaPose, whose layout ``open`` is the same but for the version."""
    return str(image.get("version")).startswith("AlphaPose")


def _looks_like_openpose(probe: FileProbe) -> bool:
    value = list(first_values(probe)) if probe.is_folder else probe.json
    images = [image for image in (value if isinstance(value, list) else [value]) if is_posed(LAYOUT, image)]
    return bool(images) and not any(map(is_alphapose, images))


FORMAT = json_format(
    "openpose",
    "OpenPose",
    LAYOUT,
    sniff=_looks_like_openpose,
    read=read,
    write=write,
    pixels_by="--keypoint_scale 0",
    holds=frozenset({"scores"}),
)
