"""OpenPifPaf's predictions: a JSON file for each image, or a line for each frame of a video.

``openpifpaf.predict --json-output`` writes ``IMAGE.jpg.predictions.json`` for ``IMAGE.jpg``: a list of annotations ::

    {"keypoints": [x, y, confidence, ...], "bbox": [x, y, w, h], "score": 0.9, "category_id": 1}

rounded to 2 decimals, the score to 3; a keypoint of confidence 0 was not found, wherever it is said to be. Tracked
people have an ``id_``. Models that find objects too write those without keypoints; they are handed through.
``openpifpaf.video --json-output`` appends one line ``{"frame": 1, "predictions": [...]}`` for each frame, from 1 on.

Source: OpenPifPaf 0.12.14 and 0.13, openpifpaf/annotation.py (json_data), predict.py (out_name), video.py, stream.py;
plugins/coco, crowdpose and wholebody (constants.py) for the keypoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import first_repeated, read_bytes, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats import coco
from posefix.formats import records as checks
from posefix.formats.frames import Frames, read_frames, write_frames
from posefix.formats.parsed_file import (
    Format,
    OnError,
    ParsedFile,
    PeopleBuilder,
    describe_shortly,
    keep_equal,
    numbers,
)
from posefix.formats.per_image import file_names, first_skeleton, is_image, to_corners
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "coco_wholebody133", "crowdpose14")
SUFFIX = ".predictions.json"
FIRST_FRAME = 1


@dataclass(frozen=True)
class Video:
    """The lines of a video's file, parsed, and which frames they are of, from 0 on."""

    lines: list[Mapping]
    keys: list[int]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a file of an image or a video, or a folder of ``*.predictions.json``."""
    video = None if path.is_dir() else _video(path)
    if video is None:
        frames = read_frames(path, is_image, SUFFIX)
        if any(isinstance(one, Mapping) and "image_id" in one for value in frames.values for one in value):
            raise InputError(f"{path}: its people have an image_id, which OpenPifPaf's predictions have not")
        keys = [key.removesuffix(".json") if frames.store == "file" else key for key in frames.keys]
        wheres, values, kind = [frames.where(i) for i in range(len(keys))], frames.values, frames.kind
    else:
        wheres = [f"line {i + 1}," for i in range(len(video.lines))]
        keys, values, kind = video.keys, [line["predictions"] for line in video.lines], "index"
    people = PeopleBuilder(path, skeleton or first_skeleton(_counts(values), SKELETONS), on_error, SKELETONS)
    for place, (where, listed) in enumerate(zip(wheres, values, strict=True)):
        for i, annotation in enumerate(listed):
            _add(people, f"{where} annotation {i}".lstrip(), place, annotation)
    store = video or Frames(frames.store, keys, [], frames.files)
    return people.parsed(keys, kind, document=store)


def write(path: Path, content: ParsedFile) -> None:
    """Write what was read again, or a folder with a new file for each image."""
    values = [[_written(content, person) for person in people] for people in content.people_of()]
    store = content.document
    if store is None or store.keys != list(content.images):
        files = file_names(path, content.images, SUFFIX, keep_extension=True)
        store = Frames("folder", list(content.images), [], tuple(files))
    if isinstance(store, Frames):
        write_frames(path, Frames(store.store, store.keys, values, store.files), SUFFIX)
        return
    lines = [{**line, "predictions": value} for line, value in zip(store.lines, values, strict=True)]
    write_atomically(path, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _video(path: Path) -> Video | None:
    """The file of a video; None if it is of another kind."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or not _is_frame(_parsed(lines[0])):
        return None
    values = [_parsed(line) for line in lines]
    for i, value in enumerate(values):
        if not _is_frame(value):
            raise InputError(
                f"{path}: line {i + 1} is cut off or damaged, expected a JSON object with frame and predictions"
            )
        if not checks.is_image_id(value["frame"]) or value["frame"] < 0:
            raise InputError(f"{path}: line {i + 1} has {checks.describe(value['frame'])} as its frame, expected one")
    numbered = [int(value["frame"]) for value in values]
    first = min(FIRST_FRAME, *numbered)
    if (twice := first_repeated(numbered)) is not None:
        raise InputError(f"{path}: has two lines for frame {twice}: were two runs written to it?")
    return Video(values, [number - first for number in numbered])


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_frame(value: Any) -> bool:
    return isinstance(value, Mapping) and "frame" in value and isinstance(value.get("predictions"), list)


def _counts(values: list[list]) -> Iterator[int]:
    """Number of keypoints of each annotation that has any."""
    annotations = (one for value in values for one in value if isinstance(one, Mapping))
    return (len(one["keypoints"]) // 3 for one in annotations if isinstance(one.get("keypoints"), list))


def _add(people: PeopleBuilder, where: str, place: int, annotation: Any) -> None:
    if not isinstance(annotation, Mapping):
        what = f"is {checks.describe(annotation)}, expected an object with keypoints"
        people.refuse(where, place, annotation, what)
        return
    box = annotation["bbox"] if checks.is_box(annotation.get("bbox")) else None
    score = annotation.get("score")
    if "keypoints" not in annotation and "category" in annotation and people.skeleton is not None:
        people.add(where, place, annotation, np.full((len(people.skeleton), 2), np.nan), None, box, 0.0)
        return
    try:
        triples = _triples(annotation.get("keypoints"))
    except ValueError as error:
        people.refuse(where, place, annotation, str(error))
        return
    points = np.where(triples[:, 2:] != 0, triples[:, :2], np.nan)
    people.add(where, place, annotation, points, triples[:, 2], box, score)


def _triples(keypoints: Any) -> np.ndarray:
    """(K, 3) x, y and confidence; ValueError if they are none."""
    flat = numbers(keypoints, "keypoints")
    if flat.ndim != 1 or flat.size % 3:
        what = f"{flat.size} numbers" if flat.ndim == 1 else describe_shortly(keypoints)
        raise ValueError(f"has {what} as keypoints, expected x, y and confidence for each, in one list")
    return flat.reshape(-1, 3)


def _written(content: ParsedFile, person: int) -> Any:
    annotation, scores = content.records[person], content.scores[person]
    if content.has_no_estimate(person):
        return annotation
    new = np.concatenate([content.keypoints[person], scores[:, None]], axis=1)
    if annotation is None:
        x1, y1, x2, y2 = to_corners(content, person)
        return {
            "keypoints": _rounded(None, new, None),
            "bbox": np.round([x1, y1, x2 - x1, y2 - y1], 3).tolist(),
            "score": round(float(content.person_scores[person]), 6),
            "category_id": 1,
        }
    old = _triples(annotation["keypoints"])
    known = (old[:, 2] != 0) & np.isfinite(old).all(1)
    keep = (scores == 0) & ~known if old.shape == new.shape else None
    written = {**annotation, "keypoints": _rounded(annotation["keypoints"], new, keep)}
    if annotation.get("score") is not None or coco.ORIGINAL_SCORE in annotation:
        written["score"] = keep_equal(annotation.get("score"), content.person_scores[person], 6)
    return written


def _rounded(raw: list | None, new: np.ndarray, keep: np.ndarray | None) -> list:
    """A flat list of triples (K, 3), coordinates with 3 decimals and confidences with 4."""
    old = [raw[i::3] if raw is not None else None for i in range(3)]
    columns = [keep_equal(own, new[:, i], 3 if i < 2 else 4, keep) for i, own in enumerate(old)]
    return [value for triple in zip(*columns, strict=True) for value in triple]


def _looks(probe: FileProbe) -> bool:
    if probe.is_folder:
        return any(name.endswith(SUFFIX) for name in probe.names)
    if _is_frame(_parsed(probe.text.split("\n", 1)[0])) or probe.text.startswith('{"frame":'):
        return True
    value = probe.json
    if isinstance(value, Mapping):
        value = next(iter(value.values()), None)
    if not isinstance(value, list):
        return False
    if not value:
        return probe.name.endswith(SUFFIX)
    first = next((one for one in value if one != []), None)
    return _is_annotation(first[0] if isinstance(first, list) else first)


def _is_annotation(value: Any) -> bool:
    if not isinstance(value, Mapping) or "image_id" in value:
        return False
    return {"bbox", "score", "category_id"} <= value.keys() and bool({"keypoints", "category"} & value.keys())


FORMAT = Format(
    name="openpifpaf",
    title="OpenPifPaf's predictions",
    skeletons=SKELETONS,
    kind="name",
    sniff=_looks,
    read=read,
    write=write,
    folder=True,
)
