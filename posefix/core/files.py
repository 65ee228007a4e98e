"""Files at the edges of the program: JSON in with every mishap named, results out all or nothing."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from posefix.core.errors import InputError

GZIP = b"\x1f\x8b"
SMALL, LARGEST_RATIO = 1 << 26, 200  # what unzips to more bytes than this, and to more than so many times its size


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; of a gzipped one, whatever its name, what is in it.

    Raises:
        InputError: the file is missing, is a folder, or may not be read, or its gzip stream is damaged or absurd.
    """
    with opened(path) as file:
        return file.read()


def read_start(path: str | Path, length: int) -> bytes:
    """At most ``length`` first bytes of what :func:`read_bytes` reads; raises as it does."""
    with opened(path) as file:
        return file.read(length)


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def opened(path: str | Path) -> Iterator[Readable]:
    """A file to read bytes from, unzipped on the way if it is gzipped.

    Raises:
        InputError: as :func:`read_bytes`; also for what goes wrong while it is being read.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(len(GZIP)) == GZIP
            file.seek(0)
            if not zipped:
                yield file
                return
            limit = max(SMALL, LARGEST_RATIO * os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield _Bounded(unzipped, limit, path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a file") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read this file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut off ({error})") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from None


class _Bounded:
    """Read what is unzipped, up to a limit: a small file that unzips to gigabytes is no results file."""

    def __init__(self, file: Readable, limit: int, path: str | Path) -> None:
        self._file, self._left, self._path = file, limit, path

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"{self._path}: unzips to more than {LARGEST_RATIO} times its size, which no results do")
        return content


def without_gz(name: str) -> str:
    """A file name without ``.gz`` at its end."""
    return name.removesuffix(".gz")


def files_in(folder: str | Path, suffix: str) -> list[str]:
    """Names of the files in a folder that end so, gzipped or not, and are not hidden; sorted.

    Raises:
        InputError: the folder cannot be read, or has no such file, or one both gzipped and not.
    """
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries)
            found = sorted(n for n in names if without_gz(n).endswith(suffix) and not n.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({_reason(error)})") from None
    if not found:
        raise InputError(f"{folder}: holds no *{suffix}")
    if (twice := first_repeated(without_gz(name) for name in found)) is not None:
        raise InputError(f"{folder}: holds {twice} both gzipped and not")
    return found


def first_repeated(values: Iterable[Hashable]) -> Any:
    """The first value that was there before; None if all are different."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def read_json(path: str | Path) -> Any:
    """The value in a JSON file (UTF-8, with or without a byte order mark).

    Raises:
        InputError: the file cannot be read, is empty, is not UTF-8, or is not exactly one JSON value.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected JSON") from None
    del content
    if not text.strip():
        raise InputError(f"{path}: is empty, expected JSON")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: {_json_mishap(error, text)}") from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deep to be read") from None
    except ValueError:
        raise InputError(f"{path}: holds an integer of thousands of digits, which is no usable number") from None


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file so that at any moment either the old content or the whole new one is there.

    The content goes to a new file in the same folder, is forced to the disk and then takes the place of ``path``; the
    target of a symbolic link is replaced, not the link. A name that ends in ``.gz`` is written gzipped.

    Raises:
        InputError: the folder is missing or cannot be written, or ``path`` is a folder.
    """
    write_pieces(path, [content])


def write_pieces(path: str | Path, pieces: Iterable[str | bytes]) -> None:
    """:func:`write_atomically` of a content that comes in pieces."""
    target = _file_target(path)
    with _taking_the_place_of(path, target) as temporary:
        _write(temporary, pieces, target.name)


def write_folder(path: str | Path, files: Iterable[tuple[str, str | bytes | Path]]) -> None:
    """Write a folder of files, by name and content, so that it is there as a whole or not at all.

    The files go to a new folder beside it, which then takes the name ``path``. Names that end in ``.gz`` are written
    gzipped. Instead of a content, a path to copy may be given.

    Raises:
        InputError: ``path`` is a file or a folder with something in it, or cannot be written.
    """
    require_new_folder(path)
    with _taking_the_place_of(path, Path(os.path.realpath(path))) as temporary:
        temporary.mkdir()
        for name, content in files:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary / name)
            else:
                _write(temporary / name, [content], name)


@contextmanager
def _taking_the_place_of(path: str | Path, target: Path) -> Iterator[Path]:
    """Give a new name beside ``target``; what is written there takes its place at the end, or is removed on failure."""
    temporary = _beside(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(_cannot_write(path, target, error)) from None
        raise


def require_distinct(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise InputError if an output is an input or another output, by whatever name; None stands for none."""
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path is not None:
            if path.resolve() in taken:
                raise InputError(f"{path}: is named twice, as an output and as another file of this run")
            taken.add(path.resolve())


def require_new_folder(path: str | Path) -> None:
    """Find out before long work whether :func:`write_folder` will be able to write ``path``; leaves nothing behind.

    Raises:
        InputError: as :func:`write_folder` would.
    """
    target = Path(os.path.realpath(path))
    try:
        if os.path.isdir(target) and os.listdir(target):
            raise InputError(f"{path}: is a folder with something in it, expected the name of a new one")
        if os.path.exists(target) and not os.path.isdir(target):
            raise InputError(f"{path}: is a file, expected the name of a new folder")
        probe = _beside(target)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise InputError(_cannot_write(path, target, error)) from None


def _write(path: Path, pieces: Iterable[str | bytes], name: str) -> None:
    """Write a new file to the disk, gzipped if ``name``, which it will have, ends so."""
    with open(path, "xb") as file:
        zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if name.endswith(".gz") else None
        for piece in pieces:
            (zipped or file).write(piece.encode("utf-8") if isinstance(piece, str) else piece)
        if zipped is not None:
            zipped.close()
        file.flush()
        os.fsync(file.fileno())


def make_folder(path: str | Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({_reason(error)})") from None


def require_writable(path: str | Path) -> None:
    """Find out before long work whether :func:`write_atomically` will be able to write ``path``; leaves nothing behind.

    Raises:
        InputError: as :func:`write_atomically` would.
    """
    target = _file_target(path)
    try:
        probe = _beside(target)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise InputError(_cannot_write(path, target, error)) from None


def _file_target(path: str | Path) -> Path:
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise InputError(f"{path!r}: is no file name ({error})") from None
    if os.path.isdir(target):
        raise InputError(f"{path}: is a folder, expected the name of a file to write")
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{path}: is a device or a pipe, expected the name of a file to write")
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")


def _cannot_write(path: str | Path, target: Path, error: OSError) -> str:
    if not os.path.isdir(target.parent):
        return f"{path}: cannot be written, there is no folder {target.parent}"
    return f"{path}: cannot be written ({_reason(error)})"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _json_mishap(error: json.JSONDecodeError, text: str) -> str:
    where = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"the JSON is cut off ({where}), expected a complete file"
    if error.msg == "Extra data":
        return f"something follows the end of the JSON ({where}), expected a single value"
    return f"not JSON ({error.msg} at {where})"
