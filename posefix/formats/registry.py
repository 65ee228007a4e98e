"""All formats, and the detection of a file's or folder's format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from posefix.core.errors import InputError
from posefix.core.files import refuse_pipe
from posefix.formats import (
    alphapose,
    coco_annotations,
    coco_files,
    deeplabcut,
    mediapipe,
    mmpose,
    openpifpaf,
    openpose,
    tfjs,
    ultralytics,
    ultralytics_labels,
    vitpose,
)
from posefix.formats.parsed_file import Format
from posefix.formats.probe import FileProbe

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        *coco_files.FORMATS,
        coco_annotations.FORMAT,
        openpose.FORMAT,
        *alphapose.FORMATS,
        mmpose.FORMAT,
        ultralytics_labels.FORMAT,
        ultralytics.FORMAT,
        openpifpaf.FORMAT,
        mediapipe.FORMAT,
        tfjs.FORMAT,
        vitpose.FORMAT,
        deeplabcut.FORMAT,
    )
}


def sniff(path: str | Path) -> str | None:
    """Return the format that a file or folder looks like, or None; raise InputError if it does not exist."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file or folder")
    refuse_pipe(path)
    probe = FileProbe(path)
    return next((name for name, candidate in FORMATS.items() if candidate.sniff(probe)), None)


def format_named(name: str) -> Format:
    """Return a format by name; raise InputError, with all names, if there is none."""
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(path: str | Path, format: str = "auto") -> str:
    """Return the name of the format of a path, detected if it is ``"auto"``.

    Damaged JSON files, and ones similar to COCO results, count as COCO results, whose reader says what is wrong.

    Raises:
        InputError: the path does not exist, the format does not exist, or the path looks like none.
    """
    if format != "auto":
        return format_named(format).name
    if detected := sniff(path):
        return detected
    probe = FileProbe(path)
    if not probe.is_folder and probe.name.endswith(".json"):
        coco_keys = {"image_id", "keypoints", "annotations"}
        first = probe.json[0] if isinstance(probe.json, list) and probe.json else probe.json
        if first is None or (isinstance(first, Mapping) and coco_keys & first.keys()):
            return "coco"
    if probe.is_folder and not probe.names:
        raise InputError(f"{path}: the folder is empty")
    if files := [file.path.name for file in probe.files("") if os.path.isfile(file.path) and sniff(file.path)]:
        raise InputError(f"{path}: is a folder of results, such as {files[0]}: give one of them at a time")
    raise InputError(f"{path}: is of no known format; name it with --format: {', '.join(FORMATS)}")
