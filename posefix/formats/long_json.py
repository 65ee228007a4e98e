"""JSON lists that are too long for memory: read element by element, and kept as places in the file.

What a parsed record takes is some ten times its text; a results file of a gigabyte would not fit. Here only where each
record lies is kept (16 bytes), and it is parsed again when it is asked for.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np

from posefix.core import people
from posefix.core.errors import InputError
from posefix.core.files import GZIP, opened

LONG = 1 << 26  # bytes; shorter files are parsed at once
LONG_ZIPPED = LONG >> 3
BLOCK = 1 << 23  # bytes read at a time
LONGEST = 1 << 28  # characters that one element may have
_GOES_ON = ".eE"  # after the beginning of a number; or nothing
_GAP = re.compile(r"[ \t\r\n]*")


def is_long(path: str | Path) -> bool:
    """Whether a file is long enough to be read this way; False for what cannot be read."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(len(GZIP)) == GZIP
            return os.fstat(file.fileno()).st_size > (LONG_ZIPPED if zipped else LONG)
    except (OSError, ValueError):
        return False


class Records(people.Records):
    """Objects in a file of JSON text, parsed each time that they are asked for.

    Args:
        file: stays open as long as the records are there.
        spans: (N, 2) int64 first byte of each and the one after its last.
    """

    def __init__(self, file: IO[bytes], spans: np.ndarray) -> None:
        self._file, self._spans, self._lock = file, spans, Lock()

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = range(len(self))[index]
        return json.loads(self.text(row))

    def text(self, row: int) -> bytes:
        """The text of a record as it stands in the file."""
        first, end = self._spans[row].tolist()
        with self._lock:
            self._file.seek(first)
            return self._file.read(end - first)

    def take(self, rows: np.ndarray) -> Records:
        """The records at ``rows`` (R,)."""
        return Records(self._file, self._spans[rows])


def open_unzipped(path: str | Path) -> IO[bytes]:
    """A file that can be read from any place; of a gzipped one, an unzipped copy that vanishes with it.

    Raises:
        InputError: the file cannot be read, or its gzip stream is damaged.
    """
    with opened(path) as file:
        if hasattr(file, "seek"):
            return open(path, "rb")
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - its records outlive this function
        shutil.copyfileobj(file, copy, BLOCK)
        copy.seek(0)
        return copy


def elements(file: IO[bytes], path: str | Path) -> Iterator[tuple[Any, int, int]]:
    """The elements of the JSON list in a file, one by one, each with its first byte and the one after its last.

    Raises:
        InputError: the file is no JSON list, is cut off, or an element is damaged or of more than 2^28 characters.
    """
    cursor = _Cursor(file, path)
    if cursor.following() != "[":
        raise InputError(f"{path}: holds no JSON list, expected a list of records")
    cursor.step(1)
    if cursor.following() == "]":
        cursor.step(1)
    else:
        separator = ","
        while separator == ",":
            cursor.following()
            first = cursor.byte
            value = cursor.value()
            yield value, first, cursor.byte
            separator = cursor.following()
            if separator not in ",]":
                raise InputError(f"{path}: not JSON (no comma after record {cursor.count - 1})")
            cursor.step(1)
    if cursor.following(required=False):
        raise InputError(f"{path}: something follows the end of the JSON list, expected a single value")


class _Cursor:
    """A place in a JSON text that is read in blocks.

    Attributes:
        byte: of the file, at which the place is.
        count: how many values were read.
    """

    def __init__(self, file: IO[bytes], path: str | Path) -> None:
        self._file, self._path = file, path
        self._decoder, self._bytes = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
        self._text, self._position, self._ended, self._block = "", 0, False, BLOCK
        self.byte = self.count = 0
        start = file.read(len(codecs.BOM_UTF8))
        if start == codecs.BOM_UTF8:
            self.byte = len(start)
        else:
            self._take(start)

    def step(self, characters: int) -> None:
        """Go on by some characters."""
        end = self._position + characters
        self.byte += len(self._text[self._position : end].encode())
        self._position = end

    def following(self, required: bool = True) -> str:
        """Go to the next character that is no white space, and return it; "" at the end unless it is required."""
        while True:
            self.step(_GAP.match(self._text, self._position).end() - self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if self._ended or not self._more():
                if required:
                    raise InputError(f"{self._path}: the JSON is cut off after record {self.count - 1}")
                return ""

    def value(self) -> Any:
        """The JSON value here; the place is then behind it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
                after = self._text[end : end + 1]
                if self._ended or len(self._text) - end > 64 or after not in _GOES_ON:  # else a number may go on
                    self.step(end - self._position)
                    self.count, self._block = self.count + 1, BLOCK
                    return value
            except json.JSONDecodeError as error:
                unfinished = error.pos >= len(self._text) - 64 or error.msg.startswith("Unterminated string")
                if self._ended or not unfinished:
                    what = "the JSON is cut off" if unfinished else f"not JSON ({error.msg})"
                    raise InputError(f"{self._path}: {what} in record {self.count}") from None
            except (RecursionError, ValueError):
                raise InputError(
                    f"{self._path}: record {self.count} is nested too deep or holds an integer of thousands of digits"
                ) from None
            if len(self._text) - self._position > LONGEST:
                raise InputError(f"{self._path}: record {self.count} is of more than {LONGEST:,} characters")
            self._more()
            self._block = min(2 * self._block, LONGEST)

    def _more(self) -> bool:
        content = self._file.read(self._block)
        self._ended = len(content) < self._block
        self._take(content)
        return bool(content)

    def _take(self, content: bytes) -> None:
        try:
            text = self._bytes.decode(content, final=self._ended)
        except UnicodeDecodeError:
            raise InputError(f"{self._path}: not a UTF-8 text file (after record {self.count - 1})") from None
        self._text, self._position = self._text[self._position :] + text, 0
