"""Formats that are one JSON value for each image: the ways in which those values are stored.

- ``folder``: a folder with one JSON file for each image, named after it;
- ``file``: one JSON file with the value of one image, named after it;
- ``names``: one JSON object, image name to value;
- ``list``: one JSON list with a value for each image or video frame, in order;
- ``lines``: a text file with a JSON object for each video frame, one a line; OpenPifPaf's alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from posefix.core.errors import InputError
from posefix.core.files import files_in, first_repeated, read_json, without_ending, write_atomically, write_folder
from posefix.formats.images import base_name, without_extension
from posefix.formats.parsed_file import ImageKind, OnError
from posefix.formats.probe import FileProbe
from posefix.formats.records import describe, is_image_id

Store = Literal["folder", "file", "names", "list", "lines"]


@dataclass(frozen=True)
class Frames:
    """The values of M images and where they were."""

    store: Store  # see the module
    keys: list[int | str]  # M image names, or numbers of frames from 0 on
    values: list[Any]  # M, in the form of the format
    files: tuple[str, ...] = ()  # names of the files in a folder
    outer: tuple[Mapping[str, Any], str] | None = None  # the object that the values lie in, and under which of its keys
    copied: tuple[Path, ...] = ()  # files of a folder that are no images and are copied as they are
    problems: tuple[str, ...] = ()  # one sentence for each file of a folder that could not be used

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
    path: Path, is_image: Callable[[Any], bool], on_error: OnError, suffix: str = ".json", inside: str = ""
) -> Frames:
    """Read a file or folder in any of the ways but ``lines``; InputError if something in it is no value of an image.

    Args:
        path: of the file or folder.
        is_image: whether a JSON value is what the format says of one image.
        on_error: whether a file in a folder that cannot be used ends the reading, or is left out.
        suffix: of the files; an image's name is the file's without it.
        inside: the key under which an object may hold all values.
    """

    def of_folder(name: str) -> Any:
        value = read_json(path / name)
        if not is_image(value):
            raise InputError(
                f"{path / name}: is not what this format holds for one image; if it holds several, give that file"
            )
        return value

    if path.is_dir():
        values, copied, problems = usable_files(path, files_in(path, suffix), of_folder, on_error)
        keys: list[int | str] = [without_ending(name, suffix, ".json") for name in values]
        return Frames("folder", keys, list(values.values()), tuple(values), None, copied, problems)
    value, outer = read_json(path), None
    if is_image(value):
        return Frames("file", [without_ending(path.name, suffix, ".json")], [value])
    if inside and isinstance(value, Mapping) and inside in value:
        outer, value = (value, inside), value[inside]
    if not isinstance(value, (Mapping, list)):
        raise InputError(f"{path}: is not what this format holds for an image, nor a list or object of such")
    pairs = dict(value.items() if isinstance(value, Mapping) else enumerate(value))
    for key, one in pairs.items():
        if not is_image(one):
            raise InputError(f"{path}: entry {key!r} is not what this format holds for an image")
    return Frames("names" if isinstance(value, Mapping) else "list", list(pairs), list(pairs.values()), outer=outer)


def usable_files(
    path: Path, names: Sequence[str], read: Callable[[str], Any], on_error: OnError
) -> tuple[dict[str, Any], tuple[Path, ...], tuple[str, ...]]:
    """What ``read`` makes of each file in a folder, by name; the files that it refuses with an InputError, and why.

    The error is raised if ``on_error`` is ``"stop"``, or all are refused.
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


def numbered(path: Path, frames: Frames, key: str, first: int) -> Frames:
    """Frames by the number that their values have under a key; InputError if one has none, or two have the same.

    The first frame of a video has the number ``first``, or less if one of these has less.
    """
    numbers = [value.get(key) for value in frames.values]
    for place, number in enumerate(numbers):
        if not is_image_id(number) or number < 0:
            where = f"line {place + 1}" if frames.store == "lines" else f"entry {place}"
            raise InputError(f"{path}: {where} has {describe(number)} as its {key}, expected a number of 0 or more")
    if (twice := first_repeated(numbers)) is not None:
        raise InputError(f"{path}: has {key} {twice} twice: were two runs written to it?")
    first = min(first, *numbers)
    return replace(frames, keys=[int(number) - first for number in numbers])


def write_frames(path: Path, frames: Frames) -> None:
    """Write frames the way that :func:`read_frames` found them; its inverse."""
    if frames.store == "folder":
        texts = ((name, json.dumps(value) + "\n") for name, value in zip(frames.files, frames.values, strict=True))
        write_folder(path, chain(texts, ((file.name, file) for file in frames.copied)))
        return
    if frames.store == "lines":
        text = "".join(json.dumps(value, separators=(",", ":")) + "\n" for value in frames.values)
    elif frames.store == "file":
        text = json.dumps(frames.values[0]) + "\n"
    else:
        names = frames.store == "names"
        value: Any = dict(zip(map(str, frames.keys), frames.values, strict=True)) if names else frames.values
        text = json.dumps({**frames.outer[0], frames.outer[1]: value} if frames.outer else value) + "\n"
    write_atomically(path, text)


def first_values(probe: FileProbe) -> Iterator[Any]:
    """The first values that a file or folder can mean, to recognise a format by."""
    values = [file.json for file in probe.files(".json")] if probe.is_folder else [probe.json]
    yield from values
    if len(values) == 1:
        yield from values[0].values() if isinstance(values[0], Mapping) else values[0] or ()


def file_names(path: Path, keys: Sequence[int | str], suffix: str, keep_extension: bool = False) -> list[str]:
    """File names for images: theirs without folder, with ``suffix`` in the place of the extension, or after it.

    Images whose names differ by their extensions alone keep them. InputError, naming ``path``, if two images have the
    same name, in different folders, or one has a name that no file can have.
    """
    bases = [base_name(str(key)) for key in keys]
    if impossible := [base for base in bases if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in base)]:
        raise InputError(f"{path}: the image name {impossible[0]!r} cannot be the name of a file")
    names = bases if keep_extension else [without_extension(base) for base in bases]
    if len(set(names)) != len(names):
        names = bases
    if (first := first_repeated(names)) is not None:
        twice = [str(key) for key, name in zip(keys, names, strict=True) if name == first]
        raise InputError(f"{path}: the images {twice[0]!r} and {twice[1]!r} would be written to one file")
    return [name + suffix for name in names]
