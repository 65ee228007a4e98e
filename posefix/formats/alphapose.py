"""AlphaPose's ``alphapose-results.json`` in the three forms of its ``--format``.

- default: a list of people with ``image_id`` (the image's file name, ``17.jpg`` for frame 17 of a video),
  ``category_id``, ``keypoints`` (a flat list of x, y and score), ``score`` (up to 3.25), ``box`` (xywh) and ``idx``
  (the track; 0 for everybody without tracking). Files of AlphaPose's evaluation have integers as ``image_id``: they are
  read as COCO results.
- ``cmu``: a dict from image name to an object with ``version`` and ``bodies``, each with ``joints``.
- ``open``: the same with ``people`` and ``pose_keypoints_2d``, as in OpenPose.

The latter two have OpenPose's 18 keypoints, no boxes and no person scores. ``sep-json`` makes one file per image.

Sources: AlphaPose, alphapose/utils/pPose_nms.py (write_json), alphapose/utils/writer.py, doc/output.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_json, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats.images import base_name
from posefix.formats.openpose import looks_posed, people_in_object
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.people_builder import PeopleBuilder
from posefix.formats.per_image import flat_person, json_format, new_in_list, read_person, write_images, write_person
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe

SKELETONS = ("coco17", "halpe26", "halpe136", "coco_wholebody133", "mpii16", "crowdpose14")
VERSION = "AlphaPose v0.3"


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the default form."""
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: holds {describe(records)}, expected a list of people")
    frames: dict[str, int] = {}
    people = PeopleBuilder(path, skeleton, on_error, SKELETONS)
    for i, record in enumerate(records):
        image = record.get("image_id") if isinstance(record, Mapping) else None
        if isinstance(image, str):
            read_person(PERSON, people, f"record {i}", frames.setdefault(image, len(frames)), record)
        else:  # kept with the first image
            problem = f"has {describe(image)} as image_id" if isinstance(record, Mapping) else f"is {describe(record)}"
            people.refuse(f"record {i}", 0, record, f"{problem}, expected an object with the name of an image")
    return people.parsed(list(frames) or [""] * bool(records), "name")


def write(path: Path, parsed: ParsedFile) -> None:
    """Write the default form, new people image by image."""
    parsed = _without_folders(parsed)
    order = np.argsort(parsed.frames, kind="stable") if parsed.new else np.arange(len(parsed))
    write_atomically(path, json.dumps([write_person(PERSON, parsed, person) for person in order.tolist()]) + "\n")


def _without_folders(parsed: ParsedFile) -> ParsedFile:
    """Strip the folders of new images' names, as AlphaPose does, unless names would collide."""
    names = [base_name(str(key)) for key in parsed.images]
    return replace(parsed, images=names) if parsed.new and len(set(names)) == len(names) else parsed


def _is_result(record: Any) -> bool:
    if not isinstance(record, Mapping) or not isinstance(record.get("image_id"), str) or "bbox" in record:
        return False
    keypoints = record.get("keypoints")
    return isinstance(keypoints, list) and len(keypoints) > 0 and not isinstance(keypoints[0], list)


ESTIMATOR_AP = 73.0
_new = partial(new_in_list, box_key="box")
PERSON = flat_person("keypoints", _new, _is_result, "box", score="score", track="idx", first_track=1)


def _looks_like_results(probe: FileProbe) -> bool:
    return isinstance(probe.json, list) and any(map(_is_result, probe.json))


def _format(form: str, people: str, key: str) -> Format:
    layout = replace(
        people_in_object(people, key, {}, VERSION), skeletons=("openpose18",), store="names", suffix=".json"
    )
    return json_format(
        f"alphapose-{form}",
        f"AlphaPose with --format {form}",
        layout,
        sniff=partial(looks_posed, layout, True),
        write=lambda path, parsed: write_images(layout, path, _without_folders(parsed)),
        estimator_ap=ESTIMATOR_AP,
    )


FORMATS = (
    Format(
        name="alphapose",
        title="AlphaPose",
        skeletons=SKELETONS,
        kind="name",
        sniff=_looks_like_results,
        read=read,
        write=write,
        takes_new="anywhere",
        estimator_ap=ESTIMATOR_AP,
    ),
    _format("cmu", "bodies", "joints"),
    _format("open", "people", "pose_keypoints_2d"),
)
