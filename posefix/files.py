"""Files at the edges of the program: JSON in with every mishap named, results out all or nothing."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from posefix.errors import InputError


def read_bytes(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: the file is missing, is a folder, or may not be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a file") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read this file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from None


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
    target of a symbolic link is replaced, not the link.

    Raises:
        InputError: the folder is missing or cannot be written, or ``path`` is a folder.
    """
    target, temporary = _target_and_temporary(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(_cannot_write(path, target, error)) from None
        raise


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
    target, probe = _target_and_temporary(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise InputError(_cannot_write(path, target, error)) from None


def _target_and_temporary(path: str | Path) -> tuple[Path, Path]:
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise InputError(f"{path!r}: is no file name ({error})") from None
    if os.path.isdir(target):
        raise InputError(f"{path}: is a folder, expected the name of a file to write")
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{path}: is a device or a pipe, expected the name of a file to write")
    return target, target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")


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
