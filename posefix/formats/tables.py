"""CSV files as cells of text, so that what does not change is written to the letter as it was read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_bytes
from posefix.formats.parsed_file import keep_equal

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>"}
_MARK = "\ufeff"


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        rows: the cells of each line as they stand there, with quotes and spaces.
        ends: how each line ends.
        delimiter: between cells.
        mark: whether the file starts with a byte order mark.
    """

    rows: Sequence[Sequence[str]]
    ends: Sequence[str]
    delimiter: str = ","
    mark: bool = False

    def text(self) -> str:
        """The content of the file."""
        lines = (self.delimiter.join(row) + end for row, end in zip(self.rows, self.ends, strict=True))
        return (_MARK if self.mark else "") + "".join(lines)


def read_table(path: Path) -> Table:
    """Read a file of cells between commas, semicolons or tabs, whichever its first line has most of.

    Raises:
        InputError: the file cannot be read, is empty, or is no UTF-8 text.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected CSV") from None
    if not text.strip(" \t\r\n\x00" + _MARK):
        raise InputError(f"{path}: is empty, expected CSV")
    return parsed(text)


def parsed(text: str) -> Table:
    """The table that a text is; nothing that it could not be."""
    mark = text.startswith(_MARK)
    lines = [line for line in _LINE.findall(text[1:] if mark else text) if line]
    bodies = [line.rstrip("\r\n") for line in lines]
    delimiter = max(",;\t", key=bodies[0].count) if bodies else ","
    ends = [line[len(body) :] for line, body in zip(lines, bodies, strict=True)]
    return Table([_cells(body, delimiter) for body in bodies], ends, delimiter, mark)


def new_table(rows: Sequence[Sequence[str]]) -> Table:
    """A table of plain texts; those with commas, quotes or line breaks in them are quoted."""
    cells = [[_quoted(cell) for cell in row] for row in rows]
    return Table(cells, ["\n"] * len(cells))


def plain_text(cell: str) -> str:
    """What a cell says, without spaces and quotes around it."""
    cell = cell.strip()
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def number(cell: str) -> float:
    """The number in a cell; NaN in one that says that there is none, ValueError for anything else."""
    if "_" in cell:
        raise ValueError(f"{cell!r} is no number")
    try:
        return float(cell)
    except ValueError:
        text = plain_text(cell).strip()
        return float("nan") if text.lower() in _NOTHING else float(text)


def rewritten(cells: Sequence[str], values: np.ndarray, decimals: int, keep: np.ndarray) -> list[str]:
    """Cells with new numbers; as they were where they say the same number, and where they are to be kept.

    Args:
        cells: C of them, each a number or nothing.
        values: (C,) numbers.
        decimals: new numbers are rounded to so many.
        keep: (C,) bool.
    """
    old = [number(cell) for cell in cells]
    new = keep_equal(old, values, decimals, keep)
    return [
        cell if kept or value == before else repr(value)
        for cell, kept, before, value in zip(cells, keep.tolist(), old, new, strict=True)
    ]


def _cells(line: str, delimiter: str) -> list[str]:
    pieces = line.split(delimiter)
    if '"' not in line or line.count('"') % 2:
        return pieces
    cells, start, quotes = [], 0, 0
    for end, piece in enumerate(pieces, 1):
        quotes += piece.count('"')
        if quotes % 2 == 0:
            cells.append(delimiter.join(pieces[start:end]))
            start, quotes = end, 0
    return cells


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), 2 * chr(34))}"' if re.search(r'[",;\t\r\n]', text) else text
