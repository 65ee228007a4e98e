"""A good record of COCO's results, how to save records, and what a message about a bad one looks like."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

GOOD = {"image_id": 139, "category_id": 1, "keypoints": [10, 20.5, 0.9] * 17, "score": 0.5}


def record(**changes: object) -> dict:
    return copy.deepcopy({**GOOD, **changes})


def saved(folder: Path, content: object, name: str = "results.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one_sentence(error: pytest.ExceptionInfo, path: Path) -> None:
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400
