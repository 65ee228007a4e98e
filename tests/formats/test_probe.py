"""Recognising a format looks at a few files, however many there are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from posefix import formats

OPENED: list[str] = []
sys.addaudithook(lambda event, given: OPENED.append(str(given[0])) if event == "open" else None)


@pytest.mark.parametrize(("image", "name"), [({"version": 1.3, "people": []}, "openpose"), ({"nobody": []}, None)])
def test_some_twenty_files_of_a_folder_are_opened_to_recognise_it(
    image: dict, name: str | None, tmp_path: Path
) -> None:
    for number in range(300):
        (tmp_path / f"{number:06d}_keypoints.json").write_text(json.dumps(image))
    OPENED.clear()
    assert formats.sniff(tmp_path) == name
    opened = {path for path in OPENED if path.startswith(str(tmp_path)) and path.endswith(".json")}
    assert 1 <= len(opened) <= 25
