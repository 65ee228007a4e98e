"""Look at the beginning of a file or folder to recognise its format."""

from __future__ import annotations

import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from posefix.core.errors import InputError
from posefix.core.files import opened, without_gz

HEAD = 1 << 18  # bytes
ENTRIES = 1000  # of a folder
OPENED = 20  # files of a folder that are looked at


class FileProbe:
    """What can be told of a file or folder without reading all of it; never raises."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._files: dict[str, FileProbe] = {}

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return os.path.isdir(self.path)

    @cached_property
    def name(self) -> str:
        """File name in lower case, without ``.gz``."""
        return without_gz(self.path.name).lower()

    @cached_property
    def names(self) -> list[str]:
        """Sorted names in a folder, without ``.gz``; 1,000 of them at most."""
        names = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    names.append(without_gz(entry.name))
                    if len(names) == ENTRIES:
                        break
        except OSError:
            return []
        return sorted(names)

    def files(self, suffix: str) -> list[FileProbe]:
        """Return about twenty visible files with this suffix from all over a folder; probes are cached."""
        names = [name for name in self.names if name.lower().endswith(suffix) and not name.startswith(".")]
        chosen = names[:: -(-len(names) // OPENED) or 1]
        for name in chosen:
            if name not in self._files:
                path = self.path / name
                self._files[name] = FileProbe(path if path.exists() else path.with_name(f"{name}.gz"))
        return [self._files[name] for name in chosen]

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file, decompressed."""
        try:
            with opened(self.path) as file:
                return file.read(HEAD)
        except InputError:
            return b""

    @cached_property
    def text(self) -> str:
        """:attr:`head` as text; empty if it is not text."""
        try:
            return self.head.decode("utf-8-sig", errors="strict" if len(self.head) < HEAD else "ignore")
        except UnicodeDecodeError:
            return ""

    @cached_property
    def json(self) -> Any:
        """The JSON value of a file, or of the :attr:`head` of a long one; None if it is not JSON."""
        if self.text.lstrip()[:1] not in ("[", "{"):
            return None
        try:
            if len(self.head) < HEAD:
                return json.loads(self.text)
            # This parser rejects lone surrogates, which occur in file names that are not UTF-8.
            text = re.sub(r"\\u[dD]", r"\\u0", self.text)
            return from_json(text, allow_partial=True)
        except (ValueError, RecursionError):
            return None
