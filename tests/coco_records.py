"""A good record of COCO's results, how to save records, and what a message about a bad one looks like."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from posefix import formats
from posefix.core.errors import InputError

GOOD = {"image_id": 139, "category_id": 1, "keypoints": [10, 20.5, 0.9] * 17, "score": 0.5}


def record(**changes: object) -> dict:
    return copy.deepcopy({**GOOD, **changes})


def saver(default: str) -> Callable[..., Path]:
    """A function that saves a text, or a value as JSON, in a folder, under this name unless told another."""

    def saved(folder: Path, content: object, name: str = default) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return saved


saved = saver("results.json")


def one_sentence(error: pytest.ExceptionInfo, path: Path) -> None:
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400


def assert_refused(says: str, path: Path, *arguments: object, **options: object) -> None:
    """Reading a file ends in one sentence about it that matches a pattern."""
    with pytest.raises(InputError, match=says) as error:
        formats.read(path, *arguments, **options)
    one_sentence(error, path)
