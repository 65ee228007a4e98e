"""What formats share that say what one image holds: how the files are called, a look into a folder, skeleton, boxes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import first_repeated
from posefix.core.skeleton import Skeleton, load
from posefix.formats.images import without_extension
from posefix.formats.parsed_file import ParsedFile, numbers, skeleton_with
from posefix.formats.probe import FileProbe
from posefix.formats.records import is_box

LOOKED_INTO = 1000  # files of a folder


def file_names(path: Path, keys: Sequence[int | str], suffix: str, keep_extension: bool = False) -> list[str]:
    """File names for images: theirs without folder, with ``suffix`` in the place of the extension, or after it.

    Images whose names differ by their extensions alone keep them. ``path`` is for messages.

    Raises:
        InputError: two images have the same name, in different folders, or one that no file can have.
    """
    bases = [str(key).replace("\\", "/").rsplit("/", 1)[-1] for key in keys]
    if impossible := [base for base in bases if not can_be_named(base)]:
        raise InputError(f"{path}: the image name {impossible[0]!r} cannot be the name of a file")
    names = bases if keep_extension else [without_extension(base) for base in bases]
    if len(set(names)) != len(names):
        names = bases
    if (first := first_repeated(names)) is not None:
        twice = [str(key) for key, name in zip(keys, names, strict=True) if name == first]
        raise InputError(f"{path}: the images {twice[0]!r} and {twice[1]!r} would be written to one file")
    return [name + suffix for name in names]


def looks_inside(probe: FileProbe, names: Sequence[str], looks: Callable[[FileProbe], bool]) -> bool:
    """Whether the first of some files in a folder that holds anything, and is not damaged, looks like a format's."""
    for name in names[:LOOKED_INTO]:
        if name.startswith("."):
            continue
        path = probe.path / name
        look = FileProbe(path if path.exists() else path.with_name(f"{name}.gz"))
        if looks(look):
            return True
        damaged = not look.text or (look.text.lstrip()[:1] in ("[", "{") and look.json is None)
        if not damaged and look.text.strip() not in ("", "[]"):
            return False
    return False


def is_image(value: Any) -> bool:
    """Whether a JSON value is a list of what was found in one image; a list of lists is of several."""
    return isinstance(value, list) and not (value and all(isinstance(one, list) for one in value))


def first_skeleton(counts: Iterable[int], names: Sequence[str]) -> Skeleton | None:
    """The skeleton among ``names`` with the first of some numbers of keypoints, or None; without any, the first."""
    count = next(iter(counts), None)
    try:
        return load(names[0]) if count is None else skeleton_with(count, names)
    except ValueError:
        return None


def from_corners(corners: Any) -> list[float] | None:
    """xywh of a box that is given as x1, y1, x2, y2, in a list or one within another; None if it is none."""
    try:
        x1, y1, x2, y2 = numbers(corners, "a box").ravel().tolist()
    except ValueError:
        return None
    box = [x1, y1, x2 - x1, y2 - y1]
    return box if is_box(box) else None


def to_corners(content: ParsedFile, person: int) -> list[float]:
    """x1, y1, x2, y2 of a person's box; of the extent of the keypoints where none is known, or zeros."""
    box, known = content.boxes[person], content.scores[person] > 0
    if box.any():
        return [*box[:2].tolist(), *(box[:2] + box[2:]).tolist()]
    points = content.keypoints[person][known] if known.any() else np.zeros((1, 2))
    return [*points.min(0).tolist(), *points.max(0).tolist()]


def can_be_named(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False
