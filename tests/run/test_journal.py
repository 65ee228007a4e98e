"""The journal of a long refinement: what was kept comes back, and what cannot be is called damaged."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from posefix.core.errors import InputError
from posefix.refine.batches import RefinedBatch
from posefix.run.journal import SUFFIX, Journal

PEOPLE, KEYPOINTS = SHAPE = 6, 17


def batch(rows: list[int], rng: np.random.Generator) -> RefinedBatch:
    keypoints = rng.normal(100, 30, (len(rows), KEYPOINTS, 2)).astype(np.float32)
    expected = rng.random(len(rows)).astype(np.float32)
    problems = [(rows[0], "its image is missing")]
    return RefinedBatch(
        np.array(rows), keypoints, expected, rng.random(keypoints.shape[:2]).astype(np.float32), problems
    )


def encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def test_what_was_kept_comes_back_without_the_line_that_was_cut_short(tmp_path: Path, rng: np.random.Generator) -> None:
    out = tmp_path / "out.json"
    kept = [batch([4, 0], rng), batch([5, 1, 2], rng)]
    with Journal(out, "work", resume=False, shape=SHAPE) as journal:
        for each in kept:
            journal.append(each)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"rows": [3], "keyp')
    with Journal(out, "work", resume=True, shape=SHAPE) as again:
        for found, expected in zip(again.finished, kept, strict=True):
            assert np.array_equal(found.rows, expected.rows)
            assert np.array_equal(found.keypoints, expected.keypoints)
            assert found.problems == expected.problems
            assert np.array_equal(found.expected, expected.expected)
            assert np.array_equal(found.keypoint_scores, expected.keypoint_scores)
    assert again.path.read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [0, PEOPLE]},
        {"rows": [0, -1]},
        {"rows": [0, 1.5]},
        {"rows": [0, True]},
        {"rows": [0, 10**30]},
        {"rows": "01"},
        {"rows": [0]},
        {"rows": [0, 1, 2]},
        {"rows": None},
        {"keypoints": encoded(np.zeros((2, KEYPOINTS - 1, 2)))},
        {"keypoints": encoded(np.zeros((2, KEYPOINTS + 1, 2)))},
        {"keypoints": encoded(np.full((2, KEYPOINTS, 2), np.nan))},
        {"keypoints": encoded(np.full((2, KEYPOINTS, 2), np.inf))},
        {"keypoints": "no base64"},
        {"keypoints": 7},
        {"problems": [[PEOPLE, "x"]]},
        {"problems": [["0", "x"]]},
        {"problems": [3]},
        {"keypoint_scores": encoded(np.zeros(2))},
        {"keypoint_scores": encoded(np.full((2, KEYPOINTS), 2))},
        {"keypoint_scores": None},
        {"expected": encoded(np.zeros(3))},
        {"expected": encoded(np.array([0.5, -1.0]))},
        {"expected": encoded(np.array([0.5, np.inf]))},
        {"expected": None},
    ],
)
def test_a_line_that_is_json_but_no_batch_of_this_work_is_damaged(tmp_path: Path, change: dict) -> None:
    entry = {"rows": [0, 1], "keypoints": encoded(np.zeros((2, KEYPOINTS, 2))), "problems": []}
    entry["keypoint_scores"] = encoded(np.zeros((2, KEYPOINTS)))
    entry["expected"] = encoded(np.array([0.5, np.nan]))
    path = tmp_path / f"out.json{SUFFIX}"
    lines = [{"work": "work"}, entry, {**entry, **change}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="line 3 is damaged"):
        Journal(tmp_path / "out.json", "work", resume=True, shape=SHAPE)


@pytest.mark.parametrize("line", ["[]", "3", "null", "[" * 50000 + "]" * 50000, "{}"])
def test_a_line_that_is_no_entry_at_all_is_damaged(tmp_path: Path, line: str) -> None:
    path = tmp_path / f"out.json{SUFFIX}"
    for number, content in enumerate([f"{line}\n", f'{{"work": "work"}}\n{line}\n'], start=1):
        path.write_text(content)
        with pytest.raises(InputError, match=f"line {number} is damaged"):
            Journal(tmp_path / "out.json", "work", resume=True, shape=SHAPE)


def test_what_an_interrupted_run_refined_is_never_overwritten(tmp_path: Path, rng: np.random.Generator) -> None:
    out = tmp_path / "out.json"
    with Journal(out, "work", resume=False, shape=SHAPE):
        pass
    with Journal(out, "work", resume=False, shape=SHAPE) as journal:  # nothing in it: nothing is lost
        journal.append(batch([4, 0], rng))
    kept = journal.path.read_bytes()
    with pytest.raises(InputError, match="--resume goes on, or delete it"):
        Journal(out, "work", resume=False, shape=SHAPE)
    assert journal.path.read_bytes() == kept


def test_a_journal_is_closed_whatever_happens_and_goes_if_it_holds_nothing(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    for batches in (0, 1):
        with pytest.raises(MemoryError), Journal(tmp_path / "out.json", "work", resume=False, shape=SHAPE) as journal:
            for _ in range(batches):
                journal.append(batch([4, 0], rng))
            raise MemoryError
        with pytest.raises(ValueError, match="closed"):
            journal.append(batch([1], rng))
        assert journal.path.exists() == bool(batches)


def test_a_file_that_is_no_journal_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / f"out.json{SUFFIX}"
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="delete it"):
        Journal(tmp_path / "out.json", "work", resume=False, shape=SHAPE)
    assert path.read_text() == "[1, 2]"
