"""A good record of COCO's results, how to save records, and what a message about a bad one looks like."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
