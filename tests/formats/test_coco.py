"""COCO's results: every mistake in a record is named in one sentence, and what is fine is read."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from posefix.core.people import COLUMNS
from posefix.core.skeleton import load
from posefix.formats import read, refinable, write
from posefix.formats.coco_files import BATCH_SIZE
from tests.coco_records import GOOD, assert_refused, record, saved

COCO = load("coco17")


def with_number(value: object, position: int = 3) -> list:
    return [*GOOD["keypoints"][:position], value, *GOOD["keypoints"][position + 1 :]]


def without(key: str) -> dict:
    return {k: v for k, v in record().items() if k != key}


# ---- files that cannot be used at all


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"image_id,x,y\n1,2,3", "not JSON"),
        (json.dumps([GOOD] * 3).encode()[:-40], "cut off"),
        (json.dumps([GOOD] * 3).encode()[:500], "cut off"),
        (b"[" * 5000, "nested too deep"),
        (b"[" * 5000 + b"]" * 5000, "nested too deep"),
        (b"[]\n[]", "follows the end"),
        (b"[" + b"9" * 5000 + b"]", "digits"),
        (b"\xff\xfe[\x00]\x00", "UTF-8"),
        (b"{}", "object of 0, expected a list"),
        (b"5", "the number 5, expected a list"),
        (b'"results"', "the string 'results', expected a list"),
        (b"null", "null, expected a list"),
        (b'{"images": [], "annotations": []}', "annotations file, expected results"),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_unusable_file_is_an_error_in_either_mode(tmp_path: Path, content: bytes, says: str, on_error: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    assert_refused(says, path, "coco", on_error=on_error)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert_refused("no such file", tmp_path / "none.json", "coco")
    assert_refused("is a directory", tmp_path, "coco")


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, [GOOD])
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(file: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr("builtins.open", refuse)
    assert_refused("permission denied", path, "coco", skeleton=COCO)


# ---- records that cannot be used

BAD_RECORDS = [
    (5, "the number 5"),
    (None, "null"),
    ([GOOD], "a list"),
    ("139", "the string"),
    (without("image_id"), "has no image_id"),
    (without("keypoints"), "has no keypoints"),
    (record(keypoints=None), "null as keypoints"),
    (record(keypoints="10 20 0.9"), "the string"),
    (record(keypoints={"nose": [1, 2, 3]}), "an object"),
    (record(keypoints=[[10, 20, 0.9]] * 17), "17 numbers as keypoints, expected x, y and score"),
    (record(keypoints=[[1]] * 51), "a list within keypoints"),
    (record(keypoints=GOOD["keypoints"][:48]), "16 keypoints, expected the 17 of coco17; with --skeleton mpii16"),
    (record(keypoints=[1] * 26 * 3), "26 keypoints.*halpe26"),
    (record(keypoints=GOOD["keypoints"][:50]), "50 numbers"),
    (record(keypoints=[]), "0 numbers"),
    (record(keypoints=with_number("12")), "the string '12' as keypoints"),
    (record(keypoints=with_number(None)), "null, NaN or Infinity in keypoints"),
    (record(keypoints=with_number(math.nan)), "null, NaN or Infinity in keypoints"),
    (record(keypoints=with_number(math.inf, 50)), "null, NaN or Infinity in keypoints"),
    (record(keypoints=with_number(-math.inf, 0)), "null, NaN or Infinity in keypoints"),
    (record(keypoints=with_number(1e30)), r"1e\+30 as the x of left_eye"),
    (record(keypoints=with_number(-1_000_001)), r"-1e\+06 as the x of left_eye"),
    (record(keypoints=with_number(10**400)), "as keypoints, expected numbers"),
    (record(image_id="139"), "image_id the string '139'"),
    (record(image_id=None), "image_id null"),
    (record(image_id=True), "image_id true"),
    (record(image_id=139.5), "image_id the number 139.5"),
    (record(image_id=math.nan), "image_id the number nan"),
    (record(image_id=2**63), "image_id"),
    (record(image_id=10**400), "image_id"),
    (record(image_id=[139]), "image_id a list"),
    (record(score="high"), "the string 'high' as a score"),
    (record(score=math.nan), "the number nan as its score"),
    (record(bbox="none"), "the string 'none' as a box"),
    (record(bbox=[1, 2, "3", 4]), "the string '3' as a box"),
    (record(bbox=[1, 2, 3]), r"\[1, 2, 3\] as a box, expected x, y, width and height"),
    (record(bbox=[]), r"\[\] as a box"),
    (record(bbox=[[1, 2, 3, 4]]), r"\[\[1, 2, 3, 4\]\] as a box"),
    (record(bbox=[10, 10, -5, 5]), r"\[10, 10, -5, 5\] as a box, .*0 or more"),
    (record(bbox=[1, 2, math.nan, 4]), r"\[1, 2, nan, 4\] as a box"),
    (record(bbox=[1, 2, None, 4]), r"\[1, 2, None, 4\] as a box"),
    (record(bbox=[0, 0, 1e30, 1e30]), "as a box, .*within"),
    (record(bbox=[0, 0, 10**400, 1]), "as a box, expected numbers"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_RECORDS)
def test_the_first_bad_record_stops_by_its_index(tmp_path: Path, bad: object, says: str) -> None:
    path = saved(tmp_path, [GOOD, GOOD, bad, GOOD, 7])
    assert_refused(f"record 2 .*({says})", path, "coco", skeleton=COCO)


@pytest.mark.parametrize(("bad", "says"), BAD_RECORDS)
def test_bad_records_are_skipped_told_of_and_handed_through(tmp_path: Path, bad: object, says: str) -> None:
    content = [GOOD, bad, record(image_id=7), bad]
    people = read(saved(tmp_path, content), on_error="skip")
    np.testing.assert_array_equal(refinable(people, COCO), [0, 2])
    np.testing.assert_array_equal(people.image_ids[[0, 2]], [139, 7])
    problems = people.source.problems
    assert len(problems) == 2 and "record 3" in problems[1]
    out = tmp_path / "out.json"
    write(people.with_keypoints(people.keypoints + 1), out)
    written = json.loads(out.read_text())
    assert repr([written[1], written[3]]) == repr([bad, bad])  # nan equals nan here
    assert written[2]["keypoints"][:3] == [11.0, 21.5, 0.9]


# ---- what is fine


def test_harmless_oddities_are_no_errors(tmp_path: Path) -> None:
    content = [
        GOOD,
        GOOD,
        record(keypoints=[0] * 51),
        record(keypoints=[5, 5, 0] * 17, score=None),
        record(bbox=[1, 2, 0, 0]),
        record(bbox=None),
        record(bbox=[0, 0, 0, 0]),
        record(bbox=[1, 2, 3, 4], image_id=139.0),
        {**without("score"), "keypoints": [-5000, 5000, -0.1] * 17},
    ]
    people = read(saved(tmp_path, content))
    assert len(people) == len(refinable(people, COCO)) == 9 and people.source.problems == []
    np.testing.assert_array_equal(people.image_ids, 139)
    np.testing.assert_array_equal(people.boxes[4:8], [[1, 2, 0, 0], [0] * 4, [0] * 4, [1, 2, 3, 4]])
    np.testing.assert_allclose(people.areas, [0] * 7 + [0.515 * 12, 0])
    np.testing.assert_allclose(people.person_scores, [0.5] * 3 + [0] + [0.5] * 4 + [-0.1])
    assert repr(list(people.extra)) == repr(content)


def test_records_that_are_converted_together_are_read_as_each_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    content = [
        record(image_id=i // 3, keypoints=rng.uniform(0, 600, 51).round(2).tolist(), score=float(i))
        for i in range(3 * BATCH_SIZE)
    ]
    content[BATCH_SIZE + 1] |= {"bbox": [1, 2, 3, 4], "track_id": 7, "score": None, "original_score": 0.25}
    content[BATCH_SIZE + 2] |= {"bbox": None, "keypoints": [1, 2, 0] * 17, "image_id": 5.0}
    content[2 * BATCH_SIZE] |= {"keypoints": with_number("x")}
    people = read(saved(tmp_path, content), skeleton=COCO, on_error="skip")
    assert [sentence.partition("record ")[2][:3] for sentence in people.source.problems] == [str(2 * BATCH_SIZE)]
    for row in (0, BATCH_SIZE + 1, BATCH_SIZE + 2, 2 * BATCH_SIZE + 1, 3 * BATCH_SIZE - 1):
        alone = read(saved(tmp_path, [content[row]], "alone.json"), skeleton=COCO)
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(people, name)[row], getattr(alone, name)[0], name)


def test_an_empty_list_goes_through(tmp_path: Path) -> None:
    people = read(saved(tmp_path, []))
    assert len(people) == 0 and people.skeleton == COCO
    write(people, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode())
    assert len(read(path)) == 1


def test_other_skeletons_are_read_by_their_own_count(tmp_path: Path) -> None:
    path = saved(tmp_path, [record(keypoints=list(range(48)))])
    people = read(path, default=load("mpii16"))
    assert read(path).skeleton == load("mpii16")
    np.testing.assert_array_equal(people.keypoints[0, 1], [3, 4])
    np.testing.assert_array_equal(people.scores[0], np.arange(2, 48, 3))


def test_reading_ten_thousand_people_takes_no_two_seconds(tmp_path: Path) -> None:
    n = 10_000
    path = saved(tmp_path, [record(image_id=i) for i in range(n)])
    started = time.process_time()
    assert len(read(path)) == n
    assert time.process_time() - started < 2.0
