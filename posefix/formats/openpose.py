"""OpenPose's ``--write_json``: a file ``NAME_keypoints.json`` with the people of each image or video frame.

A person's ``pose_keypoints_2d`` is a flat list of x, y and confidence of 25 keypoints (model ``BODY_25``) or 18 (model
``COCO``); three zeros for undetected ones. There are no person scores and no boxes. Everything else is passed through.
Coordinates are pixels with ``--keypoint_scale 0``, the default; scales 3 and 4 are fractions of the image and refused.

Sources: openpose, doc/02_output.md, doc/advanced/demo_advanced.md, src/openpose/filestream/fileStream.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from posefix.core.skeleton import Skeleton
from posefix.formats.frames import first_values, read_frames
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import Layout, flat_person, json_format, read_images
from posefix.formats.probe import FileProbe

PARTS = ("pose", "face", "hand_left", "hand_right")


def people_in_object(people: str, key: str, person: Mapping[str, Any], version: Any) -> Layout:
    """Describe images as objects with a version and a list of people, each an object with a flat list of numbers.

    ``people`` is the key of the list, ``key`` that of the numbers; ``person`` is a new person without numbers.
    """

    return Layout(
        flat_person(
            key,
            new=lambda parsed, index: person,
            is_person=lambda record: isinstance(record, Mapping) and key in record,
            track="person_id",
        ),
        ("body25", "openpose18"),
        is_image=lambda value: isinstance(value, Mapping) and isinstance(value.get(people), list),
        people_in=lambda value: value[people],
        put_people=lambda value, records: {**value, people: records},
        new_image={"version": version, people: []},
        suffix="_keypoints.json",
    )


LAYOUT = people_in_object(
    "people",
    "pose_keypoints_2d",
    {"person_id": [-1]} | {f"{part}_keypoints_{d}d": [] for d in (2, 3) for part in PARTS},
    1.3,
)


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a folder of ``*.json``, or one such file; ``_keypoints`` at the end is not part of the image's name."""
    frames = read_frames(path, LAYOUT.is_image, on_error)
    keys = [key if isinstance(key, int) else key.removesuffix("_keypoints") for key in frames.keys]
    return read_images(LAYOUT, path, skeleton, on_error, replace(frames, keys=keys))


def looks_posed(layout: Layout, by_alphapose: bool, probe: FileProbe) -> bool:
    """Whether images have people with numbers, or nobody and a version, by which AlphaPose and OpenPose differ."""
    posed = []
    for value in first_values(probe):
        people = layout.people_in(value) if layout.is_image(value) else None
        if any(map(layout.person.is_person, people or ())) or (people == [] and "version" in value):
            posed.append(value)
    return bool(posed) and by_alphapose == any(str(image.get("version")).startswith("AlphaPose") for image in posed)


FORMAT = json_format(
    "openpose",
    "OpenPose",
    LAYOUT,
    sniff=partial(looks_posed, LAYOUT, False),
    read=read,
    pixels_by="--keypoint_scale 0",
    estimator_ap=62.0,
)
