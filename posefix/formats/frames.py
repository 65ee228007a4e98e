"""Storage of formats with one JSON value per image.

- ``folder``: a folder with one JSON file for each image, named after it;
- ``file``: one JSON file with the value of one image, named after it;
- ``names``: one JSON object that maps image names to values;
- ``list``: one JSON list with a value for each image or video frame, in order;
- ``lines``: a text file with a JSON object per line, for each video frame (OpenPifPaf only).
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
    """The values of M images and where they are stored."""

    store: Store  # see the module's docstring
    keys: list[int | str]  # M image names, or frame numbers from 0
    values: list[Any]  # M, as the format defines them
    files: tuple[str, ...] = ()  # names of the files in a folder
    outer: tuple[Mapping[str, Any], str] | None = None  # the object that contains the values, and their key in it
    copied: tuple[Path, ...] = ()  # other files of a folder, copied unchanged
    problems: tuple[str, ...] = ()  # one sentence per unusable file of a folder

    @property
    def kind(self) -> ImageKind:
        """Kind of the keys."""
        return "index" if all(isinstance(key, int) for key in self.keys) and self.store != "names" else "name"

    def where(self, frame: int) -> str:
        """Name an image in a message; empty for a single one."""
        if self.store == "folder":
            return f"{self.files[frame]}, "
        return {
            "file": "",
            "names": f"image {self.keys[frame]!r}, ",
            "list": f"frame {self.keys[frame]}, ",
            "lines": f"line {frame + 1}, ",
        }[self.store]


def read_frames(
    path: Path, is_image: Callable[[Any], bool], on_error: OnError, suffix: str = ".json", inside: str = ""
) -> Frames:
    """Read a file or folder stored in any way but ``lines``.

    Args:
        path: of the file or folder.
        is_image: whether a JSON value is the format's value of an image.
        on_error: whether an unusable file in a folder raises or is skipped.
        suffix: of the files in a folder; the rest of the name is the image's.
        inside: key under which an object may contain all values.

    Raises:
        InputError: something in it is not the value of an image.
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
    for key, entry in pairs.items():
        if not is_image(entry):
            raise InputError(f"{path}: entry {key!r} is not what this format holds for an image")
    return Frames("names" if isinstance(value, Mapping) else "list", list(pairs), list(pairs.values()), outer=outer)


def usable_files(
    path: Path, names: Sequence[str], read: Callable[[str], Any], on_error: OnError
) -> tuple[dict[str, Any], tuple[Path, ...], tuple[str, ...]]:
    """Read each file in a folder: values by name, files that ``read`` refuses with an InputError, and why.

    The error is raised if ``on_error`` is ``"stop"``, or if all files are refused.
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
    """Use the frame numbers under ``key`` as keys; raise InputError if one is missing or repeated.

    The first frame of a video has the number ``first``, or less if a smaller one occurs.
    """
    numbers = [value.get(key) for value in frames.values]
    for i, number in enumerate(numbers):
        if not is_image_id(number) or number < 0:
            where = f"line {i + 1}" if frames.store == "lines" else f"entry {i}"
            raise InputError(f"{path}: {where} has {describe(number)} as its {key}, expected a number of 0 or more")
    if (repeated := first_repeated(numbers)) is not None:
        raise InputError(f"{path}: has {key} {repeated} twice: were two runs written to it?")
    first = min(first, *numbers)
    return replace(frames, keys=[int(number) - first for number in numbers])


def write_frames(path: Path, frames: Frames) -> None:
    """Write frames as they were stored; the inverse of :func:`read_frames`."""
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
    """Yield the first values of a file or folder, for the detection of formats."""
    values = [file.json for file in probe.files(".json")] if probe.is_folder else [probe.json]
    yield from values
    if len(values) == 1:
        yield from values[0].values() if isinstance(values[0], Mapping) else values[0] or ()


def file_names(path: Path, keys: Sequence[int | str], suffix: str, keep_extension: bool = False) -> list[str]:
    """Return file names for images: their base names with ``suffix`` instead of the extension, or after it.

    Extensions are kept if names differ by them only. Raises InputError, naming ``path``, for images in different
    folders with the same name, and for names that no file can have.
    """
    bases = [base_name(str(key)) for key in keys]
    if invalid := [base for base in bases if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in base)]:
        raise InputError(f"{path}: the image name {invalid[0]!r} cannot be the name of a file")
    names = bases if keep_extension else [without_extension(base) for base in bases]
    if len(set(names)) != len(names):
        names = bases
    if (first := first_repeated(names)) is not None:
        duplicates = [str(key) for key, name in zip(keys, names, strict=True) if name == first]
        raise InputError(f"{path}: the images {duplicates[0]!r} and {duplicates[1]!r} would be written to one file")
    return [name + suffix for name in names]
