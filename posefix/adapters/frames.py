"""Where formats that are one value for each image keep those values: the four ways in which people store them.

Many estimators say only what one image holds. Their users store it as

- ``folder``: a folder with one JSON file for each image, named after it;
- ``file``: one JSON file with the value of one image, named after it;
- ``names``: one JSON object, image name to value;
- ``list``: one JSON list with a value for each image or video frame, in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posefix.adapters.content import ImageKind
from posefix.errors import InputError
from posefix.files import files_in, read_json, without_gz, write_atomically, write_folder

Store = Literal["folder", "file", "names", "list"]


@dataclass(frozen=True)
class Frames:
    """The values of M images and where they were.

    Attributes:
        store: see the module.
        keys: M image names, or places from 0 on.
        values: M values, the format's own.
        files: for ``folder``, M file names.
    """

    store: Store
    keys: list[int | str]
    values: list[Any]
    files: tuple[str, ...] = ()

    @property
    def kind(self) -> ImageKind:
        """What the keys are."""
        return "index" if self.store == "list" else "name"

    def where(self, place: int) -> str:
        """How a message names one of the images."""
        if self.store == "folder":
            return f"{self.files[place]},"
        return {"file": "", "names": f"image {self.keys[place]!r},", "list": f"frame {self.keys[place]},"}[self.store]


def read_frames(path: Path, is_frame: Callable[[Any], bool], suffix: str = ".json") -> Frames:
    """Read a file or folder in any of the four ways.

    Args:
        path: of the file or folder.
        is_frame: whether a JSON value is what the format says of one image. What is a value by itself is one image;
            what is none is an object or list of them.
        suffix: of the files; an image's name is the file's without it.

    Raises:
        InputError: nothing there is such a value.
    """
    if path.is_dir():
        files = files_in(path, suffix)
        values = [read_json(path / file) for file in files]
        for file, value in zip(files, values, strict=True):
            if not is_frame(value):
                raise InputError(f"{path / file}: is not what this format says of an image")
        return Frames("folder", [without_gz(file).removesuffix(suffix) for file in files], values, tuple(files))
    value = read_json(path)
    if is_frame(value):
        return Frames("file", [without_gz(path.name).removesuffix(suffix)], [value])
    if isinstance(value, Mapping):
        _require(path, value.items(), is_frame)
        return Frames("names", list(value), list(value.values()))
    if isinstance(value, list):
        _require(path, enumerate(value), is_frame)
        return Frames("list", list(range(len(value))), value)
    raise InputError(f"{path}: is not what this format says of an image, nor a list or an object of such")


def write_frames(path: Path, frames: Frames, suffix: str = ".json", indent: int | None = None) -> None:
    """Write frames the way that :func:`read_frames` found them; its inverse."""

    def dumped(value: Any) -> str:
        return json.dumps(value, indent=indent) + "\n"

    if frames.store == "folder":
        names = frames.files or tuple(f"{key}{suffix}" for key in frames.keys)
        contents = zip(names, (dumped(value) for value in frames.values), strict=True)
        write_folder(path, contents)
    elif frames.store == "file":
        write_atomically(path, dumped(frames.values[0]))
    elif frames.store == "names":
        write_atomically(path, dumped(dict(zip(map(str, frames.keys), frames.values, strict=True))))
    else:
        write_atomically(path, dumped(frames.values))


def _require(path: Path, items: Any, is_frame: Callable[[Any], bool]) -> None:
    for key, value in items:
        if not is_frame(value):
            raise InputError(f"{path}: entry {key!r} is not what this format says of an image")
