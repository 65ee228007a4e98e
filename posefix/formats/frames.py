"""Formats that are one JSON value for each image: the ways in which people store those values.

Many estimators only define what is said of one image. The values are stored as

- ``folder``: a folder with one JSON file for each image, named after it;
- ``file``: one JSON file with the value of one image, named after it;
- ``names``: one JSON object, image name to value;
- ``list``: one JSON list with a value for each image or video frame, in order;
- ``lines``: a text file with a JSON object for each video frame in a line of its own.

A folder with a single file may also hold one of the last three.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from posefix.core.errors import InputError
from posefix.core.files import (
    files_in,
    first_repeated,
    read_bytes,
    read_json,
    without_gz,
    write_atomically,
    write_folder,
)
from posefix.formats.images import without_extension
from posefix.formats.parsed_file import ImageKind, OnError
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe, is_image_id

Store = Literal["folder", "file", "names", "list", "lines"]
VALUES = 1000  # of a file, that are looked at to recognise a format


@dataclass(frozen=True)
class Frames:
    """The values of M images and where they were.

    Attributes:
        store: how they are stored, see the module.
        keys: M image names, or numbers of frames from 0 on.
        values: M values, the format's own.
        files: the names of the files in a folder; empty if there is no folder.
        outer: the object that the values lie in, and under which of its keys; None if they are all of the file.
        copied: files of a folder that are no images and are copied as they are.
        problems: one sentence for each file of a folder that could not be used.
    """

    store: Store
    keys: list[int | str]
    values: list[Any]
    files: tuple[str, ...] = ()
    outer: tuple[Mapping[str, Any], str] | None = None
    copied: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def kind(self) -> ImageKind:
        """What the keys are."""
        return "index" if all(isinstance(key, int) for key in self.keys) and self.store != "names" else "name"

    def where(self, place: int) -> str:
        """How a message names one of the images; empty for a single one."""
        if self.store == "folder":
            return f"{self.files[place]}, "
        return {
            "file": "",
            "names": f"image {self.keys[place]!r}, ",
            "list": f"frame {self.keys[place]}, ",
            "lines": f"line {place + 1}, ",
        }[self.store]


def read_frames(
    path: Path,
    is_image: Callable[[Any], bool],
    suffix: str = ".json",
    is_inner: Callable[[Any], bool] | None = None,
    inside: str = "",
    on_error: OnError = "stop",
) -> Frames:
    """Read a file or folder in any of the ways but ``lines``.

    Args:
        path: of the file or folder.
        is_image: whether a JSON value is what the format says of one image. A file with another value holds an object
            or a list of them.
        suffix: of the files; an image's name is the file's without it.
        is_inner: likewise for the values in an object, a list or a folder, if more of those can be one image.
        inside: the key under which an object may hold all values.
        on_error: whether a file in a folder that cannot be used ends the reading, or is left out.

    Raises:
        InputError: nothing there is such a value.
    """
    is_inner = is_inner or is_image
    if not path.is_dir():
        return _of_value(path, read_json(path), is_image, suffix, is_inner, inside)
    names = files_in(path, suffix)

    def value_of(file: str) -> Any:
        value = read_json(path / file)
        if not is_inner(value) and len(names) > 1:
            raise InputError(
                f"{path / file}: is not what this format says of one image; if it holds several, give that file"
            )
        return value

    values, copied, problems = usable_files(path, names, value_of, on_error)
    if len(names) == 1 and not is_inner(values[names[0]]):
        found = _of_value(path / names[0], values[names[0]], is_image, suffix, is_inner, inside)
        return replace(found, files=tuple(names))
    keys: list[int | str] = [_stem(file, suffix) for file in values]
    return Frames("folder", keys, list(values.values()), tuple(values), None, copied, problems)


def usable_files(
    path: Path, names: Sequence[str], read: Callable[[str], Any], on_error: OnError
) -> tuple[dict[str, Any], tuple[Path, ...], tuple[str, ...]]:
    """What ``read`` makes of each file in a folder, by name; the files that it refuses, and why.

    Raises:
        InputError: it refuses one and ``on_error`` is ``"stop"``, or it refuses all.
    """
    values: dict[str, Any] = {}
    refused: dict[Path, str] = {}
    for name in names:
        try:
            values[name] = read(name)
        except InputError as error:
            if on_error == "stop":
                raise
            refused[path / name] = str(error)
    if not values:
        raise InputError(next(iter(refused.values()), f"{path}: holds no results"))
    return values, tuple(refused), tuple(refused.values())


def read_lines(path: Path, is_frame: Callable[[Any], bool]) -> Frames | None:
    """Read a text file with a JSON object for each frame in a line; None if its first line is none.

    Raises:
        InputError: the file cannot be read, or a line after the first is no such object.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or not is_frame(json_line(lines[0])):
        return None
    values = [json_line(line) for line in lines]
    for i, value in enumerate(values):
        if not is_frame(value):
            raise InputError(f"{path}: line {i + 1} is cut off or damaged, expected a JSON object of a frame")
    return Frames("lines", list(range(len(values))), values)


def json_line(line: str) -> Any:
    """The JSON value in a line; None if there is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def numbered(path: Path, frames: Frames, key: str, first: int) -> Frames:
    """Frames in a list by the number that each has under a key.

    Args:
        path: named in messages.
        frames: whose values are objects.
        key: of the number.
        first: the number that the first frame of a video usually has; less if one of these has less.

    Raises:
        InputError: one has no number, or two have the same.
    """
    numbers = [value.get(key) for value in frames.values]
    for place, number in enumerate(numbers):
        if not is_image_id(number) or number < 0:
            what = "line" if frames.store == "lines" else "entry"
            raise InputError(
                f"{path}: {what} {place + (frames.store == 'lines')} has {describe(number)} as its {key}, expected a "
                "number of 0 or more"
            )
    if (twice := first_repeated(numbers)) is not None:
        raise InputError(f"{path}: has {key} {twice} twice: were two runs written to it?")
    first = min(first, *numbers)
    return replace(frames, keys=[int(number) - first for number in numbers])


def write_frames(path: Path, frames: Frames) -> None:
    """Write frames the way that :func:`read_frames` found them; its inverse."""
    if frames.store == "folder":
        texts = zip(frames.files, map(_dumped, frames.values), strict=True)
        write_folder(path, chain(texts, ((file.name, file) for file in frames.copied)))
        return
    if frames.store == "lines":
        text = "".join(json.dumps(value, separators=(",", ":")) + "\n" for value in frames.values)
    elif frames.store == "file":
        text = _dumped(frames.values[0])
    else:
        names = frames.store == "names"
        value: Any = dict(zip(map(str, frames.keys), frames.values, strict=True)) if names else frames.values
        text = _dumped({**frames.outer[0], frames.outer[1]: value} if frames.outer else value)
    if frames.files:
        write_folder(path, [(frames.files[0], text)])
    else:
        write_atomically(path, text)


def first_values(probe: FileProbe) -> Iterator[Any]:
    """The first values that a file or folder can mean, to recognise a format by."""
    if probe.is_folder:
        files = probe.files(".json")
        if len(files) > 1:
            yield from (file.json for file in files)
            return
        probe = files[0] if files else probe
    value = probe.json
    yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    yield from islice(inner, VALUES)


def file_names(path: Path, keys: Sequence[int | str], suffix: str, keep_extension: bool = False) -> list[str]:
    """File names for images: theirs without folder, with ``suffix`` in the place of the extension, or after it.

    Images whose names differ by their extensions alone keep them. ``path`` is for messages.

    Raises:
        InputError: two images have the same name, in different folders, or one that no file can have.
    """
    bases = [base_name(key) for key in keys]
    if impossible := [base for base in bases if not _can_be_named(base)]:
        raise InputError(f"{path}: the image name {impossible[0]!r} cannot be the name of a file")
    names = bases if keep_extension else [without_extension(base) for base in bases]
    if len(set(names)) != len(names):
        names = bases
    if (first := first_repeated(names)) is not None:
        twice = [str(key) for key, name in zip(keys, names, strict=True) if name == first]
        raise InputError(f"{path}: the images {twice[0]!r} and {twice[1]!r} would be written to one file")
    return [name + suffix for name in names]


def base_name(key: int | str) -> str:
    """The last part of an image's name, without folders."""
    return str(key).replace("\\", "/").rsplit("/", 1)[-1]


def _of_value(
    path: Path,
    value: Any,
    is_image: Callable[[Any], bool],
    suffix: str,
    is_inner: Callable[[Any], bool],
    inside: str,
) -> Frames:
    if is_image(value):
        return Frames("file", [_stem(path.name, suffix)], [value])
    outer = None
    if inside and isinstance(value, Mapping) and inside in value:
        outer, value = (value, inside), value[inside]
    if not isinstance(value, (Mapping, list)):
        raise InputError(f"{path}: is not what this format says of an image, nor a list or an object of such")
    named = isinstance(value, Mapping)
    for key, one in value.items() if named else enumerate(value):
        if not is_inner(one):
            raise InputError(f"{path}: entry {key!r} is not what this format says of an image")
    if named:
        return Frames("names", list(value), list(value.values()), outer=outer)
    return Frames("list", list(range(len(value))), value, outer=outer)


def _stem(name: str, suffix: str) -> str:
    return without_gz(name).removesuffix(suffix if without_gz(name).endswith(suffix) else ".json")


def _dumped(value: Any) -> str:
    return json.dumps(value) + "\n"


def _can_be_named(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False
