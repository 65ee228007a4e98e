"""Import what only some installations have, or say in one sentence how to get it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from posefix.core.errors import InputError


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that belongs to an optional extra of this package.

    Args:
        module: name to import, such as ``jinja2``.
        extra: the extra that installs it, such as ``report``.
        purpose: what needs it, the subject of the sentence: ``"a report"``.

    Raises:
        InputError: the module, or a module that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise InputError(f"{purpose} needs {missing}, which is not installed; {how_to_install(extra)}") from None


def how_to_install(extra: str) -> str:
    """Say how to install an extra; the package is on no index, so that it is installed from its repository."""
    return f'in a copy of the PoseFix repository: pip install ".[{extra}]"'
