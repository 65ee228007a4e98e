"""Recognising a format looks at a few files, however many there are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from posefix import formats
from posefix.core.errors import InputError

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


def test_a_long_file_with_file_names_that_are_not_unicode_is_recognised(tmp_path: Path) -> None:
    person = {"image_id": "caf\udce9.jpg", "keypoints": [1.0, 2.0, 0.5] * 17, "score": 1.0, "idx": [1.0]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([person] * 2000))
    assert formats.sniff(path) == "alphapose"


def test_a_folder_without_results_or_with_several_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder is empty"):
        formats.read(tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match="is of no known format"):
        formats.read(tmp_path)
    (tmp_path / "clip.json").write_text('[{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 1], "score": 1}]')
    with pytest.raises(InputError, match=r"is a folder of results, such as clip\.json: give one of them at a time"):
        formats.read(tmp_path)
