"""Import what only some installations have, or say in one sentence how to get it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from posefix.core.errors import InputError


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that belongs to an optional extra of this package.

    Args:
        module: name to import, such as ``matplotlib.figure``.
        extra: the extra that installs it, such as ``report``.
        purpose: what needs it, the subject of the sentence: ``"a report"``.

    Raises:
        InputError: the module, or a module that it needs, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise InputError(f"{purpose} needs {missing}, which is not installed: pip install 'posefix[{extra}]'") from None
