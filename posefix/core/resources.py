"""Where the files that belong to the package lie: configurations, statistics, skeletons, weights."""

from __future__ import annotations

from pathlib import Path

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


def available(kind: str, suffix: str = ".yaml") -> list[str]:
    """Names that :func:`find` knows for a kind, sorted."""
    return sorted(p.stem for p in (configs_dir() / kind).glob(f"*{suffix}"))
