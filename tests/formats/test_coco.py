"""COCO's JSON: everything comes out as it came in, and every mistake is named in one sentence."""

from __future__ import annotations

import copy
import json
import math
import os
import stat
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix.core.errors import InputError
from posefix.core.files import require_writable, write_atomically
from posefix.core.skeleton import load
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import ImageIndex, coco, read, refinable, write

COCO = load("coco17")
GOOD = {"image_id": 139, "category_id": 1, "keypoints": [10, 20.5, 0.9] * 17, "score": 0.5}


def record(**changes: object) -> dict:
    return copy.deepcopy({**GOOD, **changes})


def with_number(value: object, position: int = 3) -> list:
    return [*GOOD["keypoints"][:position], value, *GOOD["keypoints"][position + 1 :]]


def without(key: str) -> dict:
    return {k: v for k, v in record().items() if k != key}


def saved(folder: Path, content: object, name: str = "results.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one_sentence(error: pytest.ExceptionInfo, path: Path) -> None:
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400


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
    with pytest.raises(InputError, match=says) as error:
        read(path, "coco", on_error=on_error)
    one_sentence(error, path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as error:
        read(tmp_path / "none.json", "coco")
    one_sentence(error, tmp_path / "none.json")
    with pytest.raises(InputError, match="is a directory") as error:
        read(tmp_path, "coco")
    one_sentence(error, tmp_path)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, [GOOD])
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(file: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="permission denied") as error:
        read(path, "coco", skeleton=COCO)
    one_sentence(error, path)


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
]


@pytest.mark.parametrize(("bad", "says"), BAD_RECORDS)
def test_the_first_bad_record_stops_by_its_index(tmp_path: Path, bad: object, says: str) -> None:
    path = saved(tmp_path, [GOOD, GOOD, bad, GOOD, 7])
    with pytest.raises(InputError, match=f"record 2 .*({says})") as error:
        read(path, "coco", skeleton=COCO)
    one_sentence(error, path)


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
        record(bbox="none"),
        record(bbox=[1, 2, math.nan, 4]),
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


# ---- writing

unknown = st.dictionaries(
    st.sampled_from(["bbox", "track_id", "box_id", "nested", "ünïcode"]),
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


@settings(deadline=None)
@given(result_lists)
def test_unchanged_people_give_the_json_that_was_read(content: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        write(read(saved(Path(folder), content), "coco"), out)
        assert out.read_text() == json.dumps(content) + "\n"


@settings(deadline=None)
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


def test_reading_ten_thousand_people_takes_no_two_seconds(tmp_path: Path) -> None:
    n = 10_000
    path = saved(tmp_path, [record(image_id=i) for i in range(n)])
    started = time.process_time()
    assert len(read(path)) == n
    assert time.process_time() - started < 2.0


# ---- writing files whole or not at all


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left"):
        write_atomically(path, "new")
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writing_replaces_what_a_link_points_to_with_ordinary_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    write_atomically(link, "one")
    write_atomically(link, b"two")
    assert link.is_symlink() and target.read_bytes() == b"two"
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("write", [require_writable, lambda path: write_atomically(path, "x")])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, write: object) -> None:
    (tmp_path / "file").touch()
    for path, says in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out.json", "no folder"),
        (tmp_path / "file" / "out.json", "no folder"),
    ]:
        with pytest.raises(InputError, match=says) as error:
            write(path)
        one_sentence(error, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    require_writable(tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


# ---- annotations


def annotations(*people: dict, images: object = None) -> dict:
    return {"images": [{"id": 139, "file_name": "a.jpg", "width": 64, "height": 48}] if images is None else images} | {
        "annotations": list(people)
    }


def annotated(**changes: object) -> dict:
    return {"image_id": 139, "id": 1, "keypoints": [3, 4, 2] * 16 + [0, 0, 0], "bbox": [1, 2, 10, 20], **changes}


def test_the_images_that_annotations_list_are_known_by_id(tmp_path: Path) -> None:
    index = ImageIndex.of_annotations(saved(tmp_path, annotations(annotated())))
    assert index.records == {139: coco.ImageRecord("a.jpg", 64, 48)}
    assert ImageIndex.of_annotations(saved(tmp_path, annotations(images=[]))).records == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([GOOD], "a list, as results do"),
        (5, "the number 5"),
        ({"images": []}, "no list of annotations"),
        ({"annotations": []}, "no list of images"),
        (annotations(images={}), "no list of images"),
        (annotations(images=[5]), "image 0 has no integer id"),
        (annotations(images=[{"file_name": "a.jpg"}]), "image 0 has no integer id"),
        (annotations(images=[{"id": 1}]), "image 0 .*no file_name"),
        (annotations(images=[{"id": 1, "file_name": 5}]), "image 0 .*no file_name"),
        (annotations(images=[{"id": 1, "file_name": "a", "width": "wide"}]), "width"),
        (annotations(images=[{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]), "image 1 .*another image"),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=says) as error:
        ImageIndex.of_annotations(path)
    one_sentence(error, path)


def test_real_annotations_agree_with_their_own_counts(data_root: Path) -> None:
    path = data_root / "coco" / "annotations" / "person_keypoints_val.json"
    raw = json.loads(path.read_text())
    wanted = [a for a in raw["annotations"] if a["num_keypoints"] > 0 and not a["iscrowd"]]
    truth = GroundTruth.read(path)
    found = truth.people
    assert [a["id"] for a in found.extra] == [a["id"] for a in wanted]
    np.testing.assert_array_equal(found.labelled.sum(1), [a["num_keypoints"] for a in wanted])
    np.testing.assert_allclose(found.areas, [a["area"] for a in wanted])
    assert len(truth.images) == len(raw["images"])
