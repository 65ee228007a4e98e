"""AlphaPose's ``alphapose-results.json`` in the three forms of its ``--format``.

- default: a list of people, each with ``image_id`` (the file name of the image, ``17.jpg`` for frame 17 of a video; an
  integer in evaluations), ``category_id``, ``keypoints`` (x, y and score of each, one after the other; the number of
  keypoints tells COCO, Halpe's 26, Halpe's 136, ... apart), ``score``, ``box`` (xywh) and ``idx`` (of the track).
- ``cmu``: by image name an object with ``version`` and ``bodies``, each with ``joints``.
- ``open``: the same with ``people`` and ``pose_keypoints_2d``, as in OpenPose.

The latter two have 18 keypoints in the order of OpenPose's COCO model. The neck is made by AlphaPose: halfway between
the shoulders, with their mean score; of models with more than 17 keypoints it is the 18th instead, Halpe's top of the
head. There are no scores of people and no boxes. The files of the folder ``sep-json`` hold one image each and are read,
too. No form has images without people.

The score of a person is the mean of the keypoints' scores, plus 1.25 times the largest, plus the score of the box: it
goes up to 3.25. People from elsewhere keep their score as it is.

Sources: AlphaPose, alphapose/utils/pPose_nms.py (write_json), alphapose/utils/writer.py, alphapose/utils/detector.py,
doc/output.md; https://github.com/MVIG-SJTU/AlphaPose/issues/1007.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_json, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.frames import glance
from posefix.formats.openpose import (
    LOOKED_AT,
    Layout,
    base_name,
    is_alphapose,
    read_layout,
    read_triples,
    write_layout,
    written_triples,
)
from posefix.formats.parsed_file import Format, OnError, ParsedFile, PeopleBuilder, describe_shortly, keep_equal
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "halpe26", "halpe136", "coco_wholebody133", "mpii16", "crowdpose14")
VERSION = "AlphaPose v0.3"


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the default form."""
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: holds {describe_shortly(records)}, expected a list of people")
    image_ids = [record.get("image_id") if isinstance(record, Mapping) else None for record in records]
    known = [value for value in image_ids if _is_image(value)]
    numbered = bool(known) and not any(isinstance(value, str) for value in known)
    keys = [int(value) if numbered else str(value) for value in known]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    people = PeopleBuilder(path, skeleton, on_error, SKELETONS)
    for i, (record, image_id) in enumerate(zip(records, image_ids, strict=True)):
        where = f"record {i}"
        if not isinstance(record, Mapping):
            people.refuse(where, 0, record, f"is {describe_shortly(record)}, expected an object")
            continue
        if not _is_image(image_id):
            found = describe_shortly(image_id) if "image_id" in record else "nothing"
            people.refuse(where, 0, record, f"has {found} as image_id, expected the name of an image")
            continue
        place = places[int(image_id) if numbered else str(image_id)]
        try:
            points, scores = read_triples(record.get("keypoints"), "keypoints")
        except ValueError as error:
            people.refuse(where, place, record, str(error))
            continue
        box = record["box"] if checks.is_box(record.get("box")) else None
        people.add(where, place, record, points, scores, box, record.get("score"))
    # People of no image are kept with the first, of which there has to be one.
    images = list(places) or [""] * bool(records)
    return people.parsed(images, "id" if numbered else "name")


def write(path: Path, content: ParsedFile) -> None:
    """Write the default form, new people image by image."""
    names = _names(content.images)
    new = all(record is None for record in content.records)
    order = np.argsort(content.frames, kind="stable") if new else np.arange(len(content))
    written = []
    for person in order.tolist():
        record, frame = content.records[person], content.frames[person]
        if content.has_no_estimate(person):
            written.append(record)
            continue
        image_id = content.images[frame] if content.kind == "id" else names[frame]
        known = {"image_id": image_id, "category_id": 1} if record is None else record
        numbers = written_triples(known.get("keypoints"), content.keypoints[person], content.scores[person])
        entry = {**known, "keypoints": numbers}
        if record is None or record.get("score") is not None or coco.ORIGINAL_SCORE in record:
            entry["score"] = keep_equal(known.get("score"), np.array(float(content.person_scores[person])), 6)
        if record is None and content.boxes[person].any():
            entry["box"] = np.round(content.boxes[person], 3).tolist()
        written.append(entry)
    write_atomically(path, json.dumps(written) + "\n")


def _is_image(value: Any) -> bool:
    return isinstance(value, str) or checks.is_image_id(value)


def _names(images: Sequence[int | str]) -> list[str]:
    """File names as AlphaPose has them, without folders; with them where they would not be different."""
    names = [base_name(key) for key in images]
    return names if len(set(names)) == len(names) else [str(key) for key in images]


def _looks_like_results(probe: FileProbe) -> bool:
    value = probe.json
    if not isinstance(value, list) or (
        isinstance(probe.first, Mapping) and checks.is_image_id(probe.first.get("image_id"))
    ):
        return False
    return any(map(_is_result, value[:LOOKED_AT]))


def _is_result(record: Any) -> bool:
    if not isinstance(record, Mapping) or not isinstance(record.get("image_id"), str) or "bbox" in record:
        return False
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or not keypoints or len(keypoints) % 3:
        return False
    return all(value is None or isinstance(value, (int, float)) for value in keypoints)


def _looks_like(layout: Layout, probe: FileProbe) -> bool:
    """By image name, or one image alone: then told from OpenPose's by the version."""
    value = probe.json
    if probe.is_folder:
        frames = list(glance(probe))
    elif isinstance(value, Mapping) and not layout.is_frame(value):
        return any(map(layout.is_posed, islice(value.values(), LOOKED_AT)))
    elif value is None:  # too long to be parsed
        start = probe.text.lstrip()[:1000]
        return start.startswith("{") and '"AlphaPose' in start and f'"{layout.people}"' in start
    else:
        frames = [value]
    return any(layout.is_posed(frame) and is_alphapose(frame) for frame in frames)


CMU = Layout(
    people="bodies",
    pose=("joints",),
    skeletons=("openpose18",),
    store="names",
    suffix=".json",
    frame={"version": VERSION, "bodies": []},
    person={"joints": []},
    names=_names,
    empty=False,
)
OPEN = replace(
    CMU,
    people="people",
    pose=("pose_keypoints_2d",),
    frame={"version": VERSION, "people": []},
    person={"pose_keypoints_2d": []},
)

ALPHAPOSE = Format(
    name="alphapose",
    title="AlphaPose",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks_like_results,
    read=read,
    write=write,
    holds=frozenset({"scores", "boxes", "person_scores"}),
)
ALPHAPOSE_CMU, ALPHAPOSE_OPEN = (
    Format(
        name=f"alphapose-{form}",
        title=f"AlphaPose with --format {form}",
        skeletons=layout.skeletons,
        kind="name",
        sniff=partial(_looks_like, layout),
        read=partial(read_layout, layout),
        write=partial(write_layout, layout),
        holds=frozenset({"scores"}),
    )
    for form, layout in (("cmu", CMU), ("open", OPEN))
)
