"""Where formats that are one value for each image keep those values: the four ways in which people store them.

Many estimators say only what one image holds. Their users store it as

- ``folder``: a folder with one JSON file for each image, named after it;
- ``file``: one JSON file with the value of one image, named after it;
- ``names``: one JSON object, image name to value;
- ``list``: one JSON list with a value for each image or video frame, in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from posefix.core.errors import InputError
from posefix.core.files import files_in, read_json, without_gz, write_atomically, write_folder
from posefix.formats.parsed_file import ImageKind, ParsedFile
from posefix.formats.probe import FileProbe

Store = Literal["folder", "file", "names", "list"]
FILES, VALUES = 1000, 100_000  # of a folder and of a file, that are looked at to recognise a format


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


def read_frames(
    path: Path,
    is_frame: Callable[[Any], bool],
    suffix: str = ".json",
    is_inner: Callable[[Any], bool] | None = None,
) -> Frames:
    """Read a file or folder in any of the four ways.

    Args:
        path: of the file or folder.
        is_frame: whether a JSON value is what the format says of one image. What is a value by itself is one image;
            what is none is an object or list of them.
        suffix: of the files; an image's name is the file's without it.
        is_inner: likewise for the values in an object, a list or a folder, if more of those can be one image.

    Raises:
        InputError: nothing there is such a value.
    """
    is_inner = is_inner or is_frame
    if path.is_dir():
        files = files_in(path, suffix)
        values = [read_json(path / file) for file in files]
        for file, value in zip(files, values, strict=True):
            if not is_inner(value):
                raise InputError(f"{path / file}: is not what this format says of an image")
        return Frames("folder", [without_gz(file).removesuffix(suffix) for file in files], values, tuple(files))
    value = read_json(path)
    if is_frame(value):
        return Frames("file", [without_gz(path.name).removesuffix(suffix)], [value])
    if isinstance(value, Mapping):
        _require(path, value.items(), is_inner)
        return Frames("names", list(value), list(value.values()))
    if isinstance(value, list):
        _require(path, enumerate(value), is_inner)
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


def frames_of(content: ParsedFile, value: Callable[[Any, list[int]], Any]) -> Frames:
    """What :func:`write_frames` is to write of a content whose ``document`` is what :func:`read_frames` found.

    Without a document it is an object with the names of the images.

    Args:
        content: with images by the keys of the document.
        value: ``(what was read of an image or None, places of its people)`` to what is to be written of it.
    """
    old = content.document if isinstance(content.document, Frames) else Frames("names", [], [])
    known, files = dict(zip(old.keys, old.values, strict=True)), dict(zip(old.keys, old.files, strict=bool(old.files)))
    keys = list(content.images)
    values = [value(known.get(key), people) for key, people in zip(keys, content.people_of(), strict=True)]
    store: Store = "names" if old.store == "file" and len(keys) != 1 else old.store
    return Frames(store, keys, values, tuple(files.get(key, f"{key}.json") for key in keys if old.files))


def glance(probe: FileProbe) -> Iterator[Any]:
    """The first values that a file or folder of any of the four ways can mean, to recognise a format by."""
    if probe.is_folder:
        for name in islice((name for name in probe.names if name.endswith(".json")), FILES):
            path = probe.path / name
            yield FileProbe(path if path.exists() else probe.path / f"{name}.gz").json
        return
    value = probe.json
    yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    yield from islice(inner, VALUES)


def _require(path: Path, items: Any, is_frame: Callable[[Any], bool]) -> None:
    for key, value in items:
        if not is_frame(value):
            raise InputError(f"{path}: entry {key!r} is not what this format says of an image")
