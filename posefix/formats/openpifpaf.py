"""OpenPifPaf's predictions: a JSON file for each image, or a line for each frame of a video.

``openpifpaf.predict --json-output`` writes ``IMAGE.jpg.predictions.json`` for ``IMAGE.jpg``: a list of annotations ::

    {"keypoints": [x, y, confidence, ...], "bbox": [x, y, w, h], "score": 0.9, "category_id": 1}

Track ids are in ``id_``. Keypoints of confidence 0 were not found. Objects without keypoints are passed through.
``openpifpaf.video --json-output`` appends one line ``{"frame": 1, "predictions": [...]}`` per frame, from 1 on.

Source: OpenPifPaf 0.12.14 and 0.13, openpifpaf/annotation.py (json_data), predict.py (out_name), video.py, stream.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import as_text, read_bytes
from posefix.core.skeleton import Skeleton
from posefix.formats.frames import Frames, numbered
from posefix.formats.parsed_file import OnError, ParsedFile
from posefix.formats.per_image import Layout, box_or_extent, flat_person, json_format, looks_like, read_images
from posefix.formats.probe import FileProbe

SKELETONS = ("coco17", "coco_wholebody133", "crowdpose14")
SUFFIX = ".predictions.json"
FIRST_FRAME = 1


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read a file of an image or a video, or a folder of ``*.predictions.json``."""
    frames = _read_video(path) if _is_video(FileProbe(path)) else None
    return read_images(LAYOUT, path, skeleton, on_error, frames)


def _read_video(path: Path) -> Frames:
    values = [_parse_line(line) for line in as_text(path, read_bytes(path), "JSON").split("\n") if line.strip()]
    if bad_lines := [number for number, value in enumerate(values, start=1) if not _is_frame(value)]:
        raise InputError(f"{path}: line {bad_lines[0]} is cut off or damaged, expected a JSON object of a frame")
    return numbered(path, Frames("lines", list(range(len(values))), values), "frame", FIRST_FRAME)


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_video(probe: FileProbe) -> bool:
    return _is_frame(_parse_line(probe.text.split("\n", 1)[0])) or probe.text.startswith('{"frame":')


def _is_frame(value: Any) -> bool:
    return isinstance(value, Mapping) and "frame" in value and isinstance(value.get("predictions"), list)


def _new(parsed: ParsedFile, person: int) -> dict[str, Any]:
    box = np.round(box_or_extent(parsed, person), 3).tolist()
    return {"keypoints": [], "bbox": box, "score": 0.0, "category_id": 1}


def _is_annotation(value: Any) -> bool:
    if not isinstance(value, Mapping) or "image_id" in value:
        return False
    return {"bbox", "score", "category_id"} <= value.keys() and bool({"keypoints", "category"} & value.keys())


LAYOUT = Layout(
    flat_person(
        "keypoints",
        _new,
        _is_annotation,
        is_other=lambda record: isinstance(record, Mapping) and "category" in record and "keypoints" not in record,
        box_key="bbox",
        score="score",
        track="id_",
        decimals=(3, 4),
    ),
    SKELETONS,
    people_in=lambda value: value["predictions"] if isinstance(value, Mapping) else value,
    put_people=lambda value, people: {**value, "predictions": people} if isinstance(value, Mapping) else people,
    noun="annotation",
    suffix=SUFFIX,
    keep_extension=True,
)


def _looks_like_openpifpaf(probe: FileProbe) -> bool:
    if probe.is_folder:
        return any(name.endswith(SUFFIX) for name in probe.names)
    if probe.json == []:
        return probe.name.endswith(SUFFIX)
    return _is_video(probe) or looks_like(LAYOUT, probe)


FORMAT = json_format(
    "openpifpaf", "OpenPifPaf's predictions", LAYOUT, sniff=_looks_like_openpifpaf, read=read, estimator_ap=67.0
)
