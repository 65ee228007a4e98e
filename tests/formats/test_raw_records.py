"""Files of COCO results, whose records stay text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.formats import read, write
from posefix.formats.raw_records import RawRecords, read_raw
from posefix.refine.rescoring import estimator_scores, rescored, was_rescored
from tests.tiny import people_records, random_people

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    values=st.lists(VALUES, max_size=8),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    mark=st.booleans(),
)
def test_records_are_the_elements_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, values: list, indent: int | None, ascii_only: bool, mark: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:  # a lone surrogate is no text
        return
    path = tmp_path_factory.mktemp("raw") / "results.json"
    path.write_bytes(b"\xef\xbb\xbf" * mark + text + b" \n" * mark)
    found = read_raw(path)
    assert list(found) == found[:] == values
    rows = np.arange(len(values))[::-2]
    assert list(found.take(rows)) == values[::-2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b"{}", "expected a list"),
        (b"[1, 2", "cut off"),
        (b'[1, {"a": "bcd', "cut off"),
        (b"[1 2]", "not JSON"),
        (b"[1, nonsense]", "not JSON"),
        (b"[1, 2] 3", "something follows"),
        (b"[" * 100_000, "nested too deep"),
        (b'[{"a": "\xff"}]', "cannot be parsed"),
        (b"[" + b"9" * 10_000 + b"]", "cannot be parsed"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=says) as error:
        read(path, "coco")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value) and len(str(error.value)) < 300


# ---- results


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Results as they are, with an unusable record among them, and gzipped; and each with NaN, which is no JSON."""
    records = people_records(random_people(rng, 40))
    for i, record in enumerate(records):
        record["note"] = f"é{i}"
    del records[3]["score"]
    records[4]["original_score"] = 0.25
    contents = {"good": records, "bad": [*records[:7], {"image_id": 1, "keypoints": [1]}, "x", None, *records[7:]]}
    paths = {}
    for name, content in contents.items():
        text = json.dumps(content, ensure_ascii=False)
        for which, written in ((name, text), (f"{name} with NaN", text.replace('"é0"', "NaN"))):
            paths[which] = tmp_path / f"{which}.json"
            paths[which].write_text(written, encoding="utf-8")
    paths["zipped"], paths["zipped with NaN"] = tmp_path / "good.json.gz", paths["good with NaN"]
    paths["zipped"].write_bytes(gzip.compress(paths["good"].read_bytes()))
    return paths


@pytest.mark.parametrize("name", ["good", "bad", "zipped"])
def test_records_are_read_alike_as_text_and_as_objects(name: str, files: dict[str, Path]) -> None:
    texts, objects = (read(files[which], "coco", on_error="skip") for which in (name, f"{name} with NaN"))
    assert isinstance(texts.extra, RawRecords) and not isinstance(objects.extra, RawRecords)
    for column in ("keypoints", "scores", "image_ids", "boxes", "person_scores", "areas", "original_scores"):
        np.testing.assert_array_equal(getattr(texts, column), getattr(objects, column), err_msg=column)
    assert list(texts.extra)[1:] == objects.extra[1:]
    said = [[text.split(": ", 1)[1] for text in people.source.problems] for people in (texts, objects)]
    assert said[0] == said[1] and was_rescored(texts).sum() == 1


def test_a_bad_record_is_named(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"bad.json: record 7 has 1 numbers as keypoints"):
        read(files["bad"])


@pytest.mark.parametrize("name", ["good", "bad", "zipped"])
def test_records_are_written_alike_as_text_and_as_objects(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    written = []
    for which in (name, f"{name} with NaN"):
        people = read(files[which], "coco", on_error="skip")
        keypoints = people.keypoints.copy()
        keypoints[::5, 2] += 4
        known = people.labelled.any(1) & (np.arange(len(people)) % 3 == 0)
        refined = rescored(people.with_keypoints(keypoints), np.where(known, 0.5, np.nan).astype(np.float32))
        np.testing.assert_array_equal(estimator_scores(refined)[known], people.person_scores[known])
        write(refined, tmp_path / "out.json")
        written.append((tmp_path / "out.json").read_text())
    assert written[0].replace('"\\u00e90"', "NaN") == written[1]
    assert sum("original_score" in record for record in json.loads(written[0]) if isinstance(record, dict)) > 1


def test_people_are_chosen_without_parsing_their_records(files: dict[str, Path]) -> None:
    people = read(files["good"])
    chosen = np.array([5, 3, 8])
    taken = people[chosen].extra
    assert isinstance(taken, RawRecords) and list(taken) == [people.extra[i] for i in chosen]
