"""Read files with clear errors, and write them atomically."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import zlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from posefix.core.errors import InputError

GZIP = b"\x1f\x8b"
UNZIPPED_BYTES, UNZIPPED_RATIO = 1 << 26, 200  # limit of gzip files: the larger of bytes and multiple of their size


def read_bytes(path: str | Path) -> bytes:
    """Read a file, and unzip it if it is gzipped, whatever its name.

    Raises:
        InputError: the file is missing, is a folder, or may not be read, or its gzip stream is damaged or too large.
    """
    with opened(path) as file:
        return file.read()


def as_text(path: str | Path, content: bytes, expected: str) -> str:
    """Decode the content of a UTF-8 text file, without byte order mark; InputError if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start}), expected {expected}") from None


@contextmanager
def opened(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unzipped on the fly; opening and reading raise as :func:`read_bytes`."""
    try:
        refuse_pipe(path)
        with open(path, "rb") as file:
            zipped = file.read(len(GZIP)) == GZIP
            file.seek(0)
            if not zipped:
                yield file
                return
            limit = max(UNZIPPED_BYTES, UNZIPPED_RATIO * os.fstat(file.fileno()).st_size)
            with _BoundedGzip(file, limit) as unzipped:
                yield cast(IO[bytes], unzipped)
    except InputError:
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut off ({error})") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from None


def refuse_pipe(path: str | Path) -> None:
    """Raise InputError for a pipe or a device, which can be read only once or never ends."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise InputError(f"{path}: is a pipe or a device; give a file")


class _BoundedGzip(gzip.GzipFile):
    """A gzipped file with a size limit: a small file that unzips to gigabytes is no results file."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        super().__init__(fileobj=file)
        self._limit = limit

    def read(self, size: int | None = -1) -> bytes:
        limit = self._limit + 1 - self.tell()
        content = super().read(limit if size is None or size < 0 else min(size, limit))
        if self.tell() > self._limit:
            raise InputError(f"{self.name}: unzips to more than {UNZIPPED_RATIO} times its size: not results")
        return content


def without_gz(name: str) -> str:
    """Remove ``.gz`` from the end of a file name."""
    return name.removesuffix(".gz")


def without_ending(name: str, *endings: str) -> str:
    """Remove ``.gz`` and the first matching ending, in any case, from a file name."""
    name = without_gz(name)
    return next((name[: -len(end)] for end in endings if name.lower().endswith(end)), name)


def files_in(folder: str | Path, suffix: str) -> list[str]:
    """List the visible files in a folder that end in ``suffix`` (in any case), gzipped or not, sorted.

    Raises:
        InputError: the folder cannot be read, or has no such file, or one both gzipped and not.
    """
    try:
        names = sorted(
            n for n in os.listdir(folder) if without_gz(n).lower().endswith(suffix) and not n.startswith(".")
        )
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({_reason(error)})") from None
    if not names:
        raise InputError(f"{folder}: holds no *{suffix}")
    if (duplicate := first_repeated(without_gz(name) for name in names)) is not None:
        raise InputError(f"{folder}: holds {duplicate} both gzipped and not")
    return names


def first_repeated(values: Iterable[Hashable]) -> Any:
    """Find the first repeated value; None if all are distinct."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def read_json(path: str | Path) -> Any:
    """Read the value in a JSON file (UTF-8, with or without a byte order mark).

    Raises:
        InputError: the file cannot be read, is empty, is not UTF-8, or is not exactly one JSON value.
    """
    text = as_text(path, read_bytes(path), "JSON")
    if not text.strip():
        raise InputError(f"{path}: is empty, expected JSON")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: {_json_problem(error, text)}") from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deep to be read") from None
    except ValueError:
        raise InputError(f"{path}: holds an integer of thousands of digits, which is not usable") from None


def write_atomically(path: str | Path, content: str | bytes | Iterable[str | bytes]) -> None:
    """Write a file atomically: at any moment either the old or the complete new content is there.

    The content, whole or in pieces, is flushed to disk before it replaces ``path``; see :func:`replacing`. Names that
    end in ``.gz`` are gzipped.

    Raises:
        InputError: the folder is missing or cannot be written, or ``path`` is a folder.
    """
    with replacing(path) as new:
        _write(new, [content] if isinstance(content, str | bytes) else content)


def write_folder(path: str | Path, files: Iterable[tuple[str, str | bytes | Path]]) -> None:
    """Write a folder of files atomically, from pairs of name and content (or path to copy).

    Files whose names end in ``.gz`` are gzipped.

    Raises:
        InputError: ``path`` is a file or a folder that is not empty, or cannot be written.
    """
    with replacing(path, folder=True) as new:
        new.mkdir()
        for name, content in files:
            if isinstance(content, Path):
                shutil.copyfile(content, new / name)
            else:
                _write(new / name, [content])


def require_distinct(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise InputError if an output is also an input or another output; None entries are ignored."""
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path is not None:
            if path.resolve() in taken:
                raise InputError(f"{path}: is named twice, as an output and as another file of this run")
            taken.add(path.resolve())


def require_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = (), folder: bool = False) -> None:
    """Raise InputError, before long work, unless outputs are distinct and can be written; None entries are ignored."""
    paths = [path for path in outputs if path is not None]
    require_distinct(paths, inputs)
    for path in paths:
        require_writable(path, folder)


def require_writable(path: str | Path, folder: bool = False) -> None:
    """Raise InputError, before long work, unless :func:`replacing` can write ``path``; leaves nothing behind."""
    with replacing(path, folder, probe=True):
        pass


def make_folder(path: str | Path) -> None:
    """Create a folder and its parents if missing; InputError if that fails."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({_reason(error)})") from None


@contextmanager
def replacing(path: str | Path, folder: bool = False, probe: bool = False) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, and move it to ``path`` at the end.

    It lies in a temporary folder next to ``path``, which is removed on failure and for a ``probe``. The target of a
    symbolic link is replaced, not the link; a folder is replaced only if it is empty.

    Raises:
        InputError: ``path`` cannot be written, or is of the other kind.
    """
    target = Path()
    try:
        target = Path(os.path.realpath(path))
        if folder and target.exists() and not target.is_dir():
            raise InputError(f"{path}: is a file, expected the name of a new folder")
        if folder and target.exists() and os.listdir(target):
            raise InputError(f"{path}: is a folder with something in it, expected the name of a new one")
        if not folder and target.exists() and not target.is_file():
            kind = "folder" if target.is_dir() else "device or a pipe"
            raise InputError(f"{path}: is a {kind}, expected the name of a file to write")
        with TemporaryDirectory(".part", ".", target.parent, ignore_cleanup_errors=True) as temporary:
            new = Path(temporary) / target.name
            yield new
            if not probe:
                os.replace(new, target)
    except InputError:
        raise
    except OSError as error:
        missing = not target.parent.is_dir()
        reason = f", there is no folder {target.parent}" if missing else f" ({_reason(error)})"
        raise InputError(f"{path}: cannot be written{reason}") from None


def _write(path: Path, pieces: Iterable[str | bytes]) -> None:
    """Write a new file and flush it to disk, gzipped if its name ends in ``.gz``."""
    with open(path, "xb") as file:
        zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if path.suffix == ".gz" else None
        for piece in pieces:
            (zipped or file).write(piece.encode("utf-8") if isinstance(piece, str) else piece)
        if zipped is not None:
            zipped.close()
        file.flush()
        os.fsync(file.fileno())


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _json_problem(error: json.JSONDecodeError, text: str) -> str:
    position = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"the JSON is cut off ({position}), expected a complete file"
    if error.msg == "Extra data":
        return f"something follows the end of the JSON ({position}), expected a single value"
    return f"not JSON ({error.msg} at {position})"
