"""Errors caused by the user's input or installation."""

from __future__ import annotations

from importlib import import_module
from math import inf
from numbers import Real
from types import ModuleType


class InputError(ValueError):
    """A file, record, image, checkpoint or option that cannot be used.

    The message is one sentence that names the file and the record, what was found and what was expected. Commands print
    it and exit with code 2; in Python, catch it as a ``ValueError``.
    """


class UnknownSizeError(InputError):
    """The size of an image is needed, and not known.

    Attributes:
        problem: the message without the advice at its end.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; give the images, the video or annotations")
        self.problem = problem


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that belongs to an optional extra of this package.

    Args:
        module: name to import, such as ``jinja2``.
        extra: the extra that installs it, such as ``report``.
        purpose: what needs it, the subject of the error message: ``"a report"``.

    Raises:
        InputError: the module, or a module that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise InputError(f"{purpose} needs {missing}, which is not installed; {how_to_install(extra)}") from None


def require_above_zero(value: object, what: str) -> None:
    """Raise InputError unless a value is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < inf:
        raise InputError(f"{what} must be a number above 0, got {value!r:.40}")


def how_to_install(extra: str) -> str:
    """Return the instruction to install an extra, from the repository, since the package is on no index."""
    return f'in a copy of the PoseFix repository: pip install ".[{extra}]"'


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: 1 track, 2 tracks."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
