"""COCO's results come out as they came in, but for what changed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix.core.skeleton import load
from posefix.formats import read, write
from tests.coco_records import GOOD, record, saved

COCO = load("coco17")

unknown = st.dictionaries(
    st.sampled_from(["area", "track_id", "box_id", "nested", "ünïcode"]),
    st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('aé"\\\n😀', max_size=4)
    | st.lists(st.integers(), max_size=4),
)
pixel = st.integers(-1000, 5000) | st.floats(-1e6, 1e6)
person = st.builds(
    lambda rest, image_id, keypoints: {**rest, "image_id": image_id, "keypoints": keypoints},
    unknown,
    st.integers(0, 10**12),
    st.lists(pixel, min_size=51, max_size=51),
)
result_lists = st.lists(person, max_size=4)


@given(result_lists)
def test_unchanged_people_give_the_json_that_was_read(content: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        write(read(saved(Path(folder), content), "coco"), out)
        assert out.read_text() == json.dumps(content) + "\n"


@given(result_lists, st.integers(0, 2**32 - 1))
def test_what_is_written_is_what_is_read_again(content: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        people = read(saved(Path(folder), content), "coco")
        moved = rng.uniform(size=people.scores.shape) < 0.5
        keypoints = np.where(moved[..., None], rng.uniform(-900, 900, people.keypoints.shape), people.keypoints)
        refined = people.with_keypoints(keypoints, np.where(moved, rng.uniform(size=moved.shape), people.scores))
        out = Path(folder) / "out.json"
        write(refined, out)
        again = read(out, "coco")
    np.testing.assert_allclose(again.keypoints, refined.keypoints, rtol=1e-6, atol=6e-4)
    np.testing.assert_allclose(again.scores, refined.scores, rtol=1e-6, atol=6e-5)
    np.testing.assert_array_equal(again.keypoints[~moved], people.keypoints[~moved])
    for before, after, kept in zip(content, again.extra, ~moved, strict=True):
        assert list(after) == list(before)
        assert {k: v for k, v in after.items() if k != "keypoints"} == {
            k: v for k, v in before.items() if k != "keypoints"
        }
        originals = np.array(before["keypoints"], object).reshape(17, 3)[kept].tolist()
        assert repr(np.array(after["keypoints"], object).reshape(17, 3)[kept].tolist()) == repr(originals)
    assert list(people.extra) == content  # reading and writing left the raw records alone


def test_numbers_are_rounded_and_scores_kept(tmp_path: Path) -> None:
    people = read(saved(tmp_path, [record(keypoints=[100, 200, 0.123456789] * 17)]))
    keypoints = people.keypoints.copy()
    keypoints[0, 0] = 12.34567
    keypoints[0, 1, 0] = -0.0001
    scores = people.scores.copy()
    scores[0, 2] = 0.98768
    write(people.with_keypoints(keypoints, scores), tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())[0]["keypoints"]
    assert written[:9] == [12.346, 12.346, 0.123456789, 0.0, 200.0, 0.123456789, 100, 200, 0.9877]
    assert "-0.0" not in json.dumps(written)
    assert json.dumps(written[9:]) == json.dumps([100, 200, 0.123456789] * 14)


def test_real_results_come_out_as_they_came_in(tmp_path: Path, data_root: Path) -> None:
    paths = sorted(data_root.glob("*/results/val/*.json"))
    assert paths
    for path in paths:
        write(read(path), tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text()) == json.loads(path.read_text()), path.name


def test_people_who_are_not_finite_are_refused(tmp_path: Path) -> None:
    people = read(saved(tmp_path, [GOOD, GOOD]))
    with pytest.raises(ValueError, match="finite"):
        write(people.with_keypoints(np.full((2, 17, 2), np.nan)), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
