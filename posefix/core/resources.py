"""Where the files that belong to the package lie: configurations, statistics, skeletons, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from posefix.core.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]


def configs_dir() -> Path:
    """Folder of the shipped YAML files: inside the package when installed, next to it in a source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def weights_dir() -> Path:
    """Folder of the checkpoints that come with the package."""
    return _PACKAGE / "weights"


def find(kind: str, name_or_path: str | Path, suffix: str = ".yaml") -> Path | None:
    """Resolve a name (``"coco17"``) or a path to an existing file; None when there is neither.

    ``kind`` is the folder below the configurations (``"skeletons"``, ``"statistics"``, or ``"."`` for experiments).
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = configs_dir() / kind / f"{name_or_path}{suffix}"
    return shipped if shipped.is_file() else None


def read_yaml(kind: str, name_or_path: str | Path, what: str) -> tuple[dict[str, Any], Path]:
    """Read the YAML file that a name or a path stands for (see :func:`find`); also returns its path.

    ``what`` is what the file holds, for messages: ``"configuration"``.

    Raises:
        InputError: when there is no such file, or it does not hold a mapping.
    """
    try:
        path = find(kind, name_or_path)
    except OSError:  # a name longer than any file's
        path = None
    if path is None:
        known = ", ".join(available(kind))
        raise InputError(f"no {what} {str(name_or_path)!r:.80}: give a YAML file or one of {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not a readable YAML file ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {what} file holds a mapping of names to values")
    return content, path


def available(kind: str, suffix: str = ".yaml") -> list[str]:
    """Names that :func:`find` knows for a kind, sorted."""
    return sorted(p.stem for p in (configs_dir() / kind).glob(f"*{suffix}"))
