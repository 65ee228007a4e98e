"""DeepLabCut: its HDF5, a table of pandas with the columns of :mod:`posefix.formats.deeplabcut`.

Both of pandas' forms are read: ``table`` (results of videos), where the columns' names are in pickles, and ``fixed``
(labeled data, results of images). pandas itself unpickles what is in such a file, which can run any code; here h5py
reads the numbers, and of pickles only lists of tuples of plain texts and numbers are understood
(:func:`plain_pickle`).

What was read is written as a copy of the file with other numbers. New files are not written: DeepLabCut makes them of
its CSV (``deeplabcut.convertcsv2h5``).

Sources: pandas 2 and 3, io/pytables.py; DeepLabCut's calls of ``to_hdf`` as named in deeplabcut.py.
"""

from __future__ import annotations

import io
import pickletools
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_bytes, write_atomically
from posefix.core.skeleton import Skeleton
from posefix.formats.deeplabcut import Values, columns_of, frame_keys, gather, is_own
from posefix.formats.parsed_file import Format, OnError, ParsedFile
from posefix.formats.probe import FileProbe

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LARGEST, LARGEST_RATIO = 1 << 28, 200  # bytes of a table, and how many times the file's size, that are no absurdity
_KEYS = ("df_with_missing", "tracks", "predictions")  # under which DeepLabCut stores its tables
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Block:
    """Some columns of a table.

    Attributes:
        name: of the dataset.
        field: of its records; None if it holds plain numbers.
        transposed: whether columns are its rows.
        numbers: (R, C) float64.
        titles: C titles.
    """

    name: str
    field: str | None
    transposed: bool
    numbers: np.ndarray
    titles: list[tuple[str, ...]]


@dataclass(frozen=True)
class _Document:
    """A file, what it says, and where that is."""

    content: bytes
    values: Values
    blocks: Sequence[_Block]


def read(path: Path, skeleton: Skeleton | None, on_error: OnError) -> ParsedFile:
    """Read the people in a file."""
    content = read_bytes(path)
    if not content.startswith(SIGNATURE):
        raise InputError(f"{path}: is no HDF5 file")
    with _opened(path, io.BytesIO(content), "r") as file:
        group = _group(path, file)
        kind = _text(group.attrs["pandas_type"])
        largest = max(LARGEST, LARGEST_RATIO * len(content))
        texts, blocks = (_table if kind == "frame_table" else _fixed)(group, largest)
        numbers = np.concatenate([block.numbers for block in blocks], axis=1)
        if len(numbers) != len(texts):
            raise ValueError(f"{len(numbers)} rows of numbers and {len(texts)} names of rows")
    titles = [title for block in blocks for title in block.titles]
    if {len(title) for title in titles} - {3, 4} or len({len(title) for title in titles}) != 1:
        raise InputError(
            f"{path}: its columns are not scorer, (individuals,) bodyparts and coords, as DeepLabCut's are"
        )
    columns = columns_of(path, titles, skeleton)
    keys, named = frame_keys(texts)
    people, images, values = gather(path, columns, numbers, keys, [f"row {i}" for i in range(len(keys))], on_error)
    return people.parsed(images, named, document=_Document(content, values, blocks))


def write(path: Path, content: ParsedFile) -> None:
    """Write a copy of the file that was read, with other numbers.

    Raises:
        InputError: people are of no such file; or as :func:`posefix.core.files.write_atomically` does.
    """
    if not is_own(content, _Document):
        raise InputError(
            f"{path}: HDF5 is only written as a copy of the HDF5 file that people were read from; write DeepLabCut's "
            "CSV (--to deeplabcut), of which deeplabcut.convertcsv2h5 makes HDF5"
        )
    document: _Document = content.document
    new, fresh = document.values.changed(content)
    if not fresh.any():
        write_atomically(path, document.content)
        return
    copy, first = io.BytesIO(document.content), 0
    with _opened(path, copy, "r+") as file:
        for block in document.blocks:
            own = slice(first, first + len(block.titles))
            first = own.stop
            if fresh[:, own].any():
                _put(file[block.name], block, new[:, own], fresh[:, own])
    write_atomically(path, copy.getvalue())


def plain_pickle(pickled: bytes) -> Any:
    """What a pickle of lists and tuples of texts, numbers and None holds.

    Nothing is unpickled: its instructions are read one by one, and those that could name anything else are refused.

    Raises:
        ValueError: there is something else in it, or it is no pickle.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name in _TEXTS or name in _NUMBERS:
            stack.append(argument)
        elif name == "NONE":
            stack.append(None)
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_LIST", "LIST", "TUPLE", "APPENDS"):
            start = len(stack) if name == "EMPTY_LIST" else _last(marks, stack)
            items, stack[start:] = stack[start:], []
            if name == "APPENDS":
                _list_at_top(stack).extend(items)
            else:
                stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in _TUPLES:
            start = len(stack) - _TUPLES[name]
            if start < (marks[-1] if marks else 0):
                raise ValueError("too few items")
            stack[start:] = [tuple(stack[start:])]
        elif name == "APPEND":
            item = stack.pop()
            _list_at_top(stack).append(item)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"{name} in a pickle that should hold plain texts")
    raise ValueError("a pickle without end")


def _last(marks: list[int], stack: list) -> int:
    start = marks.pop()
    if start > len(stack):
        raise ValueError("a mark beyond the stack")
    return start


def _list_at_top(stack: list) -> list:
    if not isinstance(stack[-1], list):
        raise ValueError("an item for what is no list")
    return stack[-1]


@contextmanager
def _opened(path: Path, content: io.BytesIO, mode: str) -> Iterator[Any]:
    """The HDF5 file in some bytes; whatever is wrong in it becomes InputError."""
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: is HDF5, which needs h5py (pip install 'posefix[deeplabcut]'); or let DeepLabCut save CSV"
        ) from None
    try:
        with h5py.File(content, mode) as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises nearly every kind for what a damaged file can hold
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: is damaged or not stored as DeepLabCut does ({reason}); let DeepLabCut save CSV"
        ) from None


def _group(path: Path, file: Any) -> Any:
    """The group that holds the only table, or the one under DeepLabCut's own name."""
    groups = {name: _member(file, name) for name in file}
    kinds = {name: _text(group.attrs.get("pandas_type", b"")) for name, group in groups.items()}
    found = [name for name, kind in kinds.items() if kind in ("frame", "frame_table")]
    name = next((key for key in _KEYS if key in found), found[0] if len(found) == 1 else None)
    if name is None:
        what = f"the tables {', '.join(found)[:80]}" if found else "no table of pandas"
        raise InputError(f"{path}: holds {what}, expected one called {_KEYS[0]}")
    return groups[name]


def _member(group: Any, name: str) -> Any:
    """What a group has under a name, unless that is elsewhere: a file may name any other to be read."""
    link = group.get(name, getlink=True)
    if link is None:
        raise ValueError(f"no {name}")
    if type(link).__name__ != "HardLink":
        raise ValueError(f"{name} is a link to elsewhere")
    return group[name]


def _table(group: Any, largest: int) -> tuple[list[str], list[_Block]]:
    """Names of rows and blocks of columns of pandas' form ``table``."""
    dataset = _member(group, "table")
    records = _read(dataset, largest)
    fields = [field for field in records.dtype.names if field != "index"]
    if "index" not in records.dtype.names or not all(field.startswith("values_block_") for field in fields):
        raise ValueError(f"a table of {', '.join(records.dtype.names)[:80]}")
    blocks = []
    for field in fields:
        titles = _titles(plain_pickle(bytes(dataset.attrs[f"{field}_kind"])))
        numbers = _numbers(records[field].reshape(len(records), -1), titles)
        blocks.append(_Block(dataset.name, field, False, numbers, titles))
    return _row_names(records["index"]), blocks


def _fixed(group: Any, largest: int) -> tuple[list[str], list[_Block]]:
    """Names of rows and blocks of columns of pandas' form ``fixed``."""
    blocks = []
    for i in range(int(group.attrs["nblocks"])):
        titles = _titles(list(zip(*_levels(group, f"block{i}_items", largest), strict=True)))
        dataset = _member(group, f"block{i}_values")
        numbers, transposed = _read(dataset, largest), bool(dataset.attrs.get("transposed", 0))
        # An axis without anything on it is stored as one number, and its length beside it.
        numbers = np.zeros((0, len(titles))) if "shape" in dataset.attrs else numbers if transposed else numbers.T
        blocks.append(_Block(dataset.name, None, not transposed, _numbers(numbers, titles), titles))
    if _text(group.attrs["axis1_variety"]) == "multi":
        names = ["/".join(cells) for cells in zip(*_levels(group, "axis1", largest), strict=True)]
    else:
        axis = _member(group, "axis1")
        names = [] if "shape" in axis.attrs else _row_names(_read(axis, largest))
    return names, blocks


def _levels(group: Any, name: str, largest: int) -> list[list[str]]:
    """The texts of each level of an index."""
    found = []
    for level in range(int(group.attrs[f"{name}_nlevels"])):
        texts = _row_names(_read(_member(group, f"{name}_level{level}"), largest))
        dataset = _member(group, f"{name}_label{level}")
        labels = _read(dataset, largest)[: 0 if "shape" in dataset.attrs else None]
        if labels.ndim != 1 or (labels < 0).any():
            raise ValueError(f"labels of {name}")
        found.append([texts[label] for label in labels.tolist()])
    return found


def _read(dataset: Any, largest: int) -> np.ndarray:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{posixpath.basename(dataset.name)} is in another file")
    if dataset.size * dataset.dtype.itemsize > largest:
        raise ValueError(f"{posixpath.basename(dataset.name)} of {dataset.size:,} numbers")
    if dataset.dtype.hasobject:
        raise ValueError(f"{posixpath.basename(dataset.name)} of objects")
    return np.asarray(dataset[()])


def _numbers(values: np.ndarray, titles: list) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] != len(titles) or values.dtype.kind not in "iuf":
        raise ValueError(f"{values.dtype} numbers of shape {values.shape} for {len(titles)} columns")
    return values.astype(np.float64)


def _titles(found: Any) -> list[tuple[str, ...]]:
    if not isinstance(found, list) or not all(isinstance(title, tuple) for title in found):
        raise ValueError("columns without titles")
    if not all(isinstance(text, str) for title in found for text in title):
        raise ValueError("titles that are no texts")
    return found


def _row_names(values: np.ndarray) -> list[str]:
    if values.ndim != 1 or values.dtype.kind not in "iuS":
        raise ValueError(f"names of kind {values.dtype}")
    return [_text(value) for value in values.tolist()]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _put(dataset: Any, block: _Block, new: np.ndarray, fresh: np.ndarray) -> None:
    """Write new numbers into a block, and into nothing else: names of rows that are as long as can be would be cut."""
    which = () if block.field is None else block.field
    stored = dataset[which]
    if stored.dtype.kind != "f":
        raise ValueError(f"{posixpath.basename(block.name)} of whole numbers")
    values = stored.T if block.transposed else stored.reshape(new.shape)
    values[fresh] = new[fresh]
    dataset[which] = stored


def _is_hdf5(probe: FileProbe) -> bool:
    return probe.head.startswith(SIGNATURE)


DEEPLABCUT_H5 = Format(
    name="deeplabcut-h5",
    title="DeepLabCut's HDF5",
    skeletons=("coco17",),
    kind="name",
    sniff=_is_hdf5,
    read=read,
    write=write,
    holds=frozenset({"scores", "empty"}),
)
