"""JSON lists whose records stay text, which takes about a tenth of the memory of parsed records."""

from __future__ import annotations

import codecs
import gzip
import json
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import opened
from posefix.core.people import Records

LONG = 1 << 26  # bytes; longer files are memory-mapped


class RawRecords(Records):
    """Records as JSON text of a file, parsed on access; ``path`` is for messages."""

    def __init__(self, path: str | Path, texts: Sequence[msgspec.Raw]) -> None:
        self._path, self._texts = path, texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: Any) -> Any:
        """Return a record, or the list of a slice; raise InputError if one cannot be parsed."""
        if isinstance(index, slice):
            return [self._parsed(text) for text in self._texts[index]]
        return self._parsed(self._texts[index])

    def take(self, rows: np.ndarray) -> RawRecords:
        """Return the records at ``rows``, (R,) int64."""
        return RawRecords(self._path, [self._texts[row] for row in rows.tolist()])

    def _parsed(self, text: msgspec.Raw) -> Any:
        try:
            return json.loads(bytes(text))
        except (ValueError, RecursionError) as error:
            start = bytes(text)[:40].decode(errors="replace")
            raise InputError(f"{self._path}: the record {start!r} cannot be parsed ({error!s:.60})") from None


def read_raw(path: str | Path) -> RawRecords | None:
    """Return the elements of a file with one JSON list, as text; None if it is not: NaN and Infinity are not JSON.

    Raises:
        InputError: the file cannot be read.
    """
    with opened(path) as file:
        mapped = not isinstance(file, gzip.GzipFile) and os.fstat(file.fileno()).st_size > LONG
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else file.read()
    text = memoryview(content)
    text = text[len(codecs.BOM_UTF8) :] if bytes(text[:3]) == codecs.BOM_UTF8 else text
    try:
        return RawRecords(path, msgspec.json.decode(text, type=list[msgspec.Raw]))
    except (RecursionError, msgspec.DecodeError):
        return None
