"""Folders in which some files cannot be used: the others are, and these are copied along as they are."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from posefix.core.errors import InputError
from posefix.core.files import files_in, require_new_folder, without_gz
from posefix.core.skeleton import Skeleton
from posefix.formats.parsed_file import Format, ParsedFile


def read_folder(path: Path, one: Format, skeleton: Skeleton | None) -> tuple[ParsedFile, tuple[Path, ...]]:
    """Read a folder without the files in it that cannot be read by themselves.

    Returns:
        The content, with a sentence for each of those files among its problems; and those files.

    Raises:
        InputError: no file with anybody in it can be used, or the others do not go together.
    """
    try:
        return one.read(path, skeleton, "skip"), ()
    except InputError as error:
        first = error
    damaged, problems = [], []
    with TemporaryDirectory() as folder:
        for name in files_in(path, one.suffix):
            try:
                if without_gz(name) not in one.extra_files:
                    one.read(path / name, skeleton, "skip")
            except InputError as error:
                damaged.append(path / name)
                problems.append(str(error))
            else:
                os.symlink((path / name).resolve(), Path(folder) / name)
        if not os.listdir(folder):
            raise first
        try:
            content = one.read(Path(folder), skeleton, "skip")
        except InputError:
            raise first from None
        if not (content.scores > 0).any():
            raise first
        content.problems = [*problems, *(text.replace(folder, str(path)) for text in content.problems)]
    return content, tuple(damaged)


def write_folder_with(path: Path, one: Format, content: ParsedFile, damaged: Sequence[Path]) -> None:
    """Write a folder of a format with copies of other files in it, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    require_new_folder(path)
    target = Path(os.path.realpath(path))
    whole = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        one.write(whole, content)
        for file in damaged:
            shutil.copyfile(file, whole / file.name)
        os.replace(whole, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(whole, ignore_errors=True)
