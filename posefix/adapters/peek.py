"""A first look at a file or folder, enough to recognise its format: names, the first bytes, the first JSON values."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from posefix.errors import InputError
from posefix.files import read_json, read_start, without_gz

HEAD = 1 << 18  # bytes
WHOLE = 1 << 25  # a JSON file up to so long is parsed as a whole
ENTRIES = 1000  # of a folder


class Peek:
    """What can be told of a path at a glance; nothing here raises.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return os.path.isdir(self.path)

    @cached_property
    def name(self) -> str:
        """File name, without ``.gz``."""
        return without_gz(self.path.name)

    @cached_property
    def names(self) -> list[str]:
        """Names in a folder, without ``.gz``, sorted: of any 1,000 of its files."""
        found = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    found.append(without_gz(entry.name))
                    if len(found) == ENTRIES:
                        break
        except OSError:
            return []
        return sorted(found)

    def inside(self, suffix: str) -> Peek | None:
        """A look at the first file of a folder (by name) that ends so, gzipped or not; None if there is none."""
        for name in self.names:
            if name.endswith(suffix):
                path = self.path / name
                return Peek(path if path.exists() else self.path / f"{name}.gz")
        return None

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file, after unzipping."""
        try:
            return read_start(self.path, HEAD)
        except InputError:
            return b""

    @cached_property
    def text(self) -> str:
        """:attr:`head` as text; empty if it is none."""
        try:
            return self.head.decode("utf-8-sig", errors="strict" if len(self.head) < HEAD else "ignore")
        except UnicodeDecodeError:
            return ""

    @cached_property
    def json(self) -> Any:
        """The JSON value of a file; of a long one that holds a list, the elements that :attr:`head` has whole."""
        start = self.text.lstrip()
        if self.is_folder or start[:1] not in ("[", "{"):
            return None
        try:
            if len(self.head) < HEAD or (start[0] == "{" and self.path.stat().st_size <= WHOLE):
                return read_json(self.path)
        except (InputError, OSError):
            return None
        return _first_elements(start) if start[0] == "[" else None

    @property
    def first(self) -> Any:
        """The first element of a JSON list, or the JSON value if it is no list; None for an empty one."""
        value = self.json
        if isinstance(value, list):
            return value[0] if value else None
        return value


def _first_elements(text: str) -> list:
    decoder, found, position = json.JSONDecoder(), [], 1
    while True:
        while position < len(text) and text[position] in ", \t\r\n":
            position += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return found
        found.append(value)
