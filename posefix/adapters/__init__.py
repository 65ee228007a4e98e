"""Any estimator's files to :class:`~posefix.people.People` and back: one module for each format, registered here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posefix.adapters import coco
from posefix.errors import InputError
from posefix.people import People
from posefix.skeleton import Skeleton


@dataclass(frozen=True)
class Format:
    """How a format is read and written.

    Attributes:
        read: ``(path, skeleton, on_error) -> results``, which has ``people``, ``rows`` and ``problems``.
        write: ``(path, results, refined)``, the same file with other keypoints.
    """

    read: Callable[..., Any]
    write: Callable[..., None]


FORMATS = {"coco": Format(coco.read_results, coco.write_results)}


def read(
    path: str | Path, format: str = "coco", skeleton: Skeleton | None = None, on_error: coco.OnError = "stop"
) -> coco.CocoResults:
    """Read a results file of a named format; see :func:`posefix.adapters.coco.read_results`.

    Raises:
        InputError: the format is unknown, or the file cannot be used.
    """
    return _format(format).read(path, skeleton, on_error)


def write(path: str | Path, results: coco.CocoResults, refined: People, format: str = "coco") -> None:
    """Write what :func:`read` gave with other keypoints; see :func:`posefix.adapters.coco.write_results`.

    Raises:
        InputError: the format is unknown, or ``path`` cannot be written.
    """
    _format(format).write(path, results, refined)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}: use one of {', '.join(sorted(FORMATS))}")
    return FORMATS[name]
