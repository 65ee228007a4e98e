"""Long JSON lists: element by element they are what they are as a whole, and their records stay in the file."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.formats import coco, long_json
from posefix.refine.rescoring import own_scores, rescored, was_rescored
from tests.tiny import random_people

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def parsed(text: bytes) -> list:
    return list(long_json.elements(io.BytesIO(text), "results.json"))


@given(
    values=st.lists(VALUES, max_size=8),
    block=st.integers(1, 64),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    mark=st.booleans(),
)
def test_elements_are_those_of_the_whole(
    values: list, block: int, indent: int | None, ascii_only: bool, mark: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:  # a lone surrogate is no text
        return
    text = b"\xef\xbb\xbf" * mark + text + b" \n" * mark
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_json, "BLOCK", block)
        found = parsed(text)
    assert [value for value, _, _ in found] == values
    assert [json.loads(text[first:end]) for _, first, end in found] == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "cut off"),
        (b"{}", "holds no JSON list"),
        (b"[1, 2", "cut off after record 1"),
        (b"[1, 2,", "cut off after record 1"),
        (b'[1, {"a": "bcd', "cut off in record 1"),
        (b"[1 2]", "no comma after record 0"),
        (b"[1, nonsense]" + b" " * 200, "not JSON .* in record 1"),
        (b"[1, 2] 3", "something follows"),
        (b"[1, \xff]", "not a UTF-8 text file"),
        (b"[" * 100_000, "nested too deep"),
        (b"[" + b"9" * 10_000 + b"]", "nested too deep or holds an integer"),
    ],
)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_what_is_wrong_is_said(text: bytes, says: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_json, "BLOCK", block)
    with pytest.raises(InputError, match=f"^results.json: .*{says}"):
        parsed(text)


def test_an_endless_record_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_json, "BLOCK", 10)
    monkeypatch.setattr(long_json, "LONGEST", 1000)
    with pytest.raises(InputError, match="record 0 is of more than 1,000 characters"):
        parsed(b'["' + b"x" * 5000 + b'"]')


# ---- results


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Results as they are, with an unusable record among them, and gzipped."""
    records = coco.people_records(random_people(rng, 40))
    for i, record in enumerate(records):
        record["note"] = f"é{i}"
    del records[3]["score"]
    records[4]["original_score"] = 0.25
    texts = {"good": records, "bad": [*records[:7], {"image_id": 1, "keypoints": [1]}, "x", *records[7:]]}
    paths = {name: tmp_path / f"{name}.json" for name in texts}
    for name, content in texts.items():
        paths[name].write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    paths["zipped"] = tmp_path / "good.json.gz"
    paths["zipped"].write_bytes(gzip.compress(paths["good"].read_bytes()))
    return paths


def both(path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str = "stop") -> tuple[coco.CocoResults, ...]:
    """The same file read at once and as a long one, in small pieces."""
    whole = coco.read_results(path, on_error=on_error)
    monkeypatch.setattr(long_json, "LONG", 10)
    monkeypatch.setattr(long_json, "LONG_ZIPPED", 10)
    monkeypatch.setattr(long_json, "BLOCK", 1000)
    monkeypatch.setattr(coco, "BLOCK", 7)
    return whole, coco.read_results(path, on_error=on_error)


@pytest.mark.parametrize("name", ["good", "bad", "zipped"])
def test_a_long_file_is_read_as_a_short_one(name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, long = both(files[name], monkeypatch, "skip")
    assert isinstance(long.records, long_json.Records) and isinstance(long.people.extra, long_json.Records)
    for column in ("keypoints", "scores", "image_ids", "boxes", "person_scores", "areas"):
        np.testing.assert_array_equal(getattr(long.people, column), getattr(whole.people, column), err_msg=column)
    assert list(long.records) == whole.records and list(long.people.extra) == whole.people.extra
    np.testing.assert_array_equal(long.rows, whole.rows)
    assert long.problems == whole.problems
    np.testing.assert_array_equal(was_rescored(long.people), was_rescored(whole.people))


def test_a_long_file_with_a_bad_record_says_which(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_json, "LONG", 10)
    monkeypatch.setattr(coco, "BLOCK", 3)
    with pytest.raises(InputError, match=r"bad.json: record 7 has 1 numbers in keypoints"):
        coco.read_results(files["bad"])


@pytest.mark.parametrize("name", ["good", "bad", "zipped"])
def test_a_long_file_is_refined_as_a_short_one(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for results in both(files[name], monkeypatch, "skip"):
        people = results.people
        keypoints = people.keypoints.copy()
        keypoints[::5, 2] += 4
        expected = np.where(np.arange(len(people)) % 3 == 0, 0.5, np.nan).astype(np.float32)
        refined = rescored(people.with_keypoints(keypoints), expected)
        np.testing.assert_array_equal(own_scores(refined)[expected == 0.5], people.person_scores[expected == 0.5])
        coco.write_results(tmp_path / "out.json", results, refined)
        written.append(json.loads((tmp_path / "out.json").read_text()))
        assert written[-1] == coco.refined_records(results, refined)
    assert written[0] == written[1]
    assert sum("original_score" in record for record in written[0] if isinstance(record, dict)) > 1


def test_people_are_chosen_without_reading_their_records(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, long = both(files["good"], monkeypatch)
    chosen = np.array([5, 3, 8])
    monkeypatch.setattr(long_json.Records, "text", None)
    part = long.people[chosen]
    monkeypatch.undo()
    assert list(part.extra) == [whole.people.extra[i] for i in chosen]
    assert isinstance(replace(part, scores=part.scores).extra, long_json.Records)
