"""What holds for every format alike, on every sample in ``tests/samples``."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.formats import FORMATS, ImageIndex, coco_files
from posefix.formats.coco import ImageRecord
from posefix.formats.probe import FileProbe
from posefix.refine.rescoring import was_rescored
from posefix.refine.settings import RefineSettings
from posefix.run.local import refine_file
from posefix.run.plan import Plan
from tests.format_samples import (
    EACH,
    HEIGHT,
    SAMPLES,
    WIDTH,
    assert_same_content,
    assert_same_people,
    changes,
    files_of,
    index_of,
    read,
    skeleton_of,
    with_images,
)

# Files of the first that the reader of the second can read as well, told to, though it would not take them for its own.
READ_ALIKE = {
    ("alphapose-open", "openpose"),
}
MUTATIONS = (15, pytest.param(250, marks=pytest.mark.fuzz))  # of each sample, in each of two ways of reading


# ---- samples


def test_every_format_has_a_sample() -> None:
    assert {folder.name for folder in SAMPLES.iterdir()} == set(FORMATS)


@pytest.mark.parametrize(("name", "path"), EACH)
def test_a_sample_is_recognised_by_its_own_format_alone(name: str, path: Path) -> None:
    assert [other for other, one in FORMATS.items() if one.sniff(FileProbe(path))] == [name]
    assert formats.sniff(path) == name


@pytest.mark.parametrize(("name", "path"), EACH)
def test_a_sample_is_written_as_it_was(name: str, path: Path, tmp_path: Path) -> None:
    people = read(name, path)
    assert len(people) and people.labelled.any()
    formats.write(people, tmp_path / path.name)
    assert_same_content(path, tmp_path / path.name)


@pytest.mark.parametrize(("name", "path"), EACH)
def test_a_gzipped_sample_is_the_same(name: str, path: Path, tmp_path: Path) -> None:
    zipped = tmp_path / (path.name if path.is_dir() else f"{path.name}.gz")
    if path.is_dir():
        zipped.mkdir()
    for part, file in files_of(path).items():
        target = zipped / f"{part}.gz" if part else zipped
        target.write_bytes(gzip.compress(file.read_bytes()))
    assert formats.sniff(zipped) == name
    again = read(name, zipped)
    assert_same_people(read(name, path), again)
    (tmp_path / "again").mkdir()
    formats.write(again, tmp_path / "again" / zipped.name)
    assert_same_people(again, read(name, tmp_path / "again" / zipped.name, index_of(name, zipped)))


@pytest.mark.parametrize(("name", "path"), EACH)
def test_only_the_keypoint_that_moved_is_written_anew(name: str, path: Path, tmp_path: Path) -> None:
    people = read(name, path)
    person = int(np.flatnonzero(people.labelled.any(1))[-1])
    joint = int(np.flatnonzero(people.labelled[person])[-1])
    moved = people.keypoints.copy()
    moved[person, joint] += (3.256789, -1.512345)
    formats.write(people.with_keypoints(moved), tmp_path / path.name)
    decimals = 7 if FORMATS[name].relative else 3
    assert [float(new) == round(float(new), decimals) for _, new in changes(path, tmp_path / path.name)] == [True] * 2
    again = read(name, tmp_path / path.name, index_of(name, path))
    np.testing.assert_allclose(again.keypoints[person, joint], moved[person, joint], atol=0.01)
    others = np.ones(people.scores.shape, bool)
    others[person, joint] = False
    np.testing.assert_array_equal(again.keypoints[others], people.keypoints[others])
    np.testing.assert_array_equal(again.scores, people.scores)


@pytest.mark.parametrize(("name", "path"), EACH)
def test_another_format_says_which_it_looks_like(name: str, path: Path) -> None:
    refused = 0
    for other, one in FORMATS.items():
        if other == name or one.read is FORMATS[name].read or (name, other) in READ_ALIKE:
            continue
        with pytest.raises(InputError) as error:
            formats.read(path, other, skeleton=skeleton_of(name), images=index_of(name, path))
        assert f"--format {name}" in str(error.value) and "\n" not in str(error.value)
        refused += 1
    assert refused >= 10


@pytest.mark.parametrize(("name", "path"), EACH)
def test_becomes_coco_results(name: str, path: Path, tmp_path: Path) -> None:
    people = read(name, path)
    formats.write(people, tmp_path / "coco.json", "coco")
    again = formats.read(tmp_path / "coco.json", "coco")
    people = people.to_skeleton(load("coco17"))
    if FORMATS[name].read is not coco_files.read_results:
        people = people[people.labelled.any(1)]  # of others nothing is known that COCO results could say
    np.testing.assert_array_equal(again.image_ids, people.image_ids)
    np.testing.assert_allclose(again.keypoints, people.keypoints, atol=6e-4)
    np.testing.assert_allclose(again.scores, people.scores, atol=6e-5)


def test_new_annotations_have_the_areas_that_people_of_known_boxes_have(tmp_path: Path) -> None:
    people = with_images(read("openpifpaf", SAMPLES / "openpifpaf" / "letter.jpg.predictions.json"))
    formats.write(people, tmp_path / "truth.json", "coco-annotations")
    areas = [annotation["area"] for annotation in json.loads((tmp_path / "truth.json").read_text())["annotations"]]
    np.testing.assert_allclose(areas, people[people.labelled.any(1)].areas, rtol=1e-3)
    np.testing.assert_allclose(people.areas, 0.515 * people.boxes[:, 2:].prod(1), rtol=1e-5)


# ---- people of any kind


@st.composite
def crowds(draw: st.DrawFn) -> People:
    """COCO people in one to three images of 640 x 480 pixels, some keypoints without estimate."""
    count = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keypoints = rng.uniform((2, 2), (WIDTH - 2, HEIGHT - 2), (count, 17, 2)).round(draw(st.sampled_from([0, 2])))
    known = rng.random((count, 17)) < draw(st.sampled_from([0.5, 0.9, 1.0]))
    known[:, 5] = True
    scores = np.where(known, rng.uniform(0.1, 1, (count, 17)).round(3), 0)
    low, high = keypoints.min(1), keypoints.max(1)
    return People(
        load("coco17"),
        np.where(known[..., None], keypoints, 0),
        scores,
        rng.integers(1, 4, count),
        boxes=np.concatenate([low, high - low], axis=1),
        person_scores=rng.uniform(0.1, 1, count).round(3),
    )


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(people=crowds())
def test_reading_is_the_inverse_of_writing(name: str, people: People, tmp_path: Path) -> None:
    one = FORMATS[name]
    target = tmp_path / ("written" if one.folder else "written.json")
    shutil.rmtree(target, ignore_errors=True)
    people = with_images(people)
    formats.write(people, target, name)
    skeleton = load("coco17") if name.startswith("deeplabcut") else None
    images = ImageIndex(people.source.images, "the images")
    again = formats.read(target, name, skeleton=skeleton, images=images)
    # Formats that go image by image keep the order within each image.
    wanted, back = (p[np.argsort(p.image_ids, kind="stable")] for p in (people, again.to_skeleton(people.skeleton)))
    shared = people.skeleton.indices_from(again.skeleton) >= 0
    assert shared.sum() >= 13
    if one.kind != "index":
        np.testing.assert_array_equal(back.image_ids, wanted.image_ids)
    np.testing.assert_allclose(back.keypoints[:, shared], wanted.keypoints[:, shared], atol=0.006)
    np.testing.assert_array_equal(back.labelled[:, shared], wanted.labelled[:, shared])
    if "scores" in one.holds:
        np.testing.assert_allclose(back.scores[:, shared], wanted.scores[:, shared], atol=6e-4)
    if "person_scores" in one.holds:
        np.testing.assert_allclose(back.person_scores, wanted.person_scores, atol=6e-4)
    if "boxes" in one.holds:
        np.testing.assert_allclose(back.boxes, wanted.boxes, atol=0.02)


# ---- refinement


@pytest.mark.parametrize(("name", "path"), EACH)
def test_refinement_that_moves_nothing_changes_nothing(name: str, path: Path, identity: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    content = FORMATS[name].read(path, skeleton_of(name), "stop")
    for place, key in enumerate(content.images):
        text = str(key) if content.kind == "name" else f"{key:06d}"
        text = content.listed[place].file_name if content.listed else text
        if (images / text).suffix not in (".png", ".jpg"):
            text += ".png"
        (images / text).parent.mkdir(parents=True, exist_ok=True)
        listed = content.listed[place] if content.listed else ImageRecord("", WIDTH, HEIGHT)
        cv2.imwrite(str(images / text), np.full((listed.height or HEIGHT, listed.width or WIDTH, 3), 99, np.uint8))
    beside = SAMPLES / name / "skeleton.yaml"
    plan = Plan(
        path,
        images=images,
        checkpoint=str(identity),
        out=tmp_path / path.name,
        device="cpu",
        skeleton=str(beside) if beside.exists() else None,
    )
    refine_file(plan, RefineSettings(flip_test=False, rescore=False), Console(quiet=True))
    if FORMATS[name].read is not coco_files.read_results:
        assert_same_content(path, tmp_path / path.name)
        return
    before, after = formats.read(path), formats.read(tmp_path / path.name)  # here what is absent is filled in
    known = before.labelled
    np.testing.assert_array_equal(after.keypoints[known], before.keypoints[known])
    np.testing.assert_array_equal(after.scores[known], before.scores[known])


@pytest.mark.parametrize("name", ["openpose", "vitpose", "mmpose", "openpifpaf"])
def test_the_scores_that_are_measured_are_those_that_are_written(name: str, identity: Path, tmp_path: Path) -> None:
    path = sorted((SAMPLES / name).iterdir())[-1]
    content = FORMATS[name].read(path, None, "stop")
    (tmp_path / "images").mkdir()
    for key in content.images:
        text = str(key) if content.kind == "name" else f"{key:06d}"
        cv2.imwrite(str(tmp_path / "images" / f"{Path(text).stem}.png"), np.full((HEIGHT, WIDTH, 3), 99, np.uint8))
    out = tmp_path / path.name
    plan = Plan(path, images=tmp_path / "images", checkpoint=str(identity), out=out, device="cpu")
    refined = refine_file(plan, RefineSettings(), Console(quiet=True))
    again = formats.read(out, name)
    known = again.labelled.any(1)
    np.testing.assert_allclose(again.person_scores[known], refined.people.person_scores, atol=1e-6)
    assert was_rescored(again)[known].all()


# ---- damage


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Ends what hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


ODD = (
    None,
    True,
    "",
    "x",
    -1,
    0,
    1e308,
    -(10**400),
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [{}],
    {"a": None},
    "9" * 50,
)


def mutated_value(value: object, rng: np.random.Generator) -> object:
    """A JSON value with something in it replaced, removed, repeated or nested."""
    if isinstance(value, (list, dict)) and value and rng.random() < 0.9:
        if isinstance(value, dict):
            items = list(value.items())
            place = int(rng.integers(len(items)))
            key = items[place][0]
            if rng.random() < 0.1:
                return {k: v for k, v in items if k != key}
            return {**value, key: mutated_value(items[place][1], rng)}
        place = int(rng.integers(len(value)))
        kind = rng.random()
        if kind < 0.06:
            return value[:place] + value[place + 1 :]
        if kind < 0.1:
            return [*value, value[place]]
        return [*value[:place], mutated_value(value[place], rng), *value[place + 1 :]]
    return ODD[rng.integers(len(ODD))] if rng.random() < 0.8 else [value]


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bytes replaced, removed, or put in, or cut off."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(damaged) + 1))
        kind = rng.integers(4)
        if kind == 0 and place < len(damaged):
            damaged[place] = rng.integers(256)
        elif kind == 1:
            del damaged[place : place + int(rng.integers(1, 40))]
        elif kind == 2:
            damaged[place:place] = [b"-", b"9e99", b"\x00", b"[[", b'"', b",", b"\n", b"nan"][rng.integers(8)]
        elif rng.random() < 0.2:
            del damaged[place:]
    return bytes(damaged)


@pytest.mark.parametrize("mutations", MUTATIONS)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(("name", "path"), EACH)
def test_damaged_files_end_in_one_sentence_or_are_written_as_they_were(
    name: str, path: Path, on_error: str, mutations: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(len(name))
    images, skeleton = index_of(name, path), skeleton_of(name)
    target = tmp_path / path.name
    shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
    files = list(files_of(target).values())
    contents = [file.read_bytes() for file in files]
    survived = 0
    with time_limit(120):
        for _ in range(mutations):
            which = int(rng.integers(len(files)))
            if files[which].suffix == ".json" and rng.random() < 0.6:
                value = json.loads(contents[which])
                for _ in range(int(rng.integers(1, 3))):
                    value = mutated_value(value, rng)
                damaged = json.dumps(value).encode()
            else:
                damaged = mutated_bytes(contents[which], rng)
            files[which].write_bytes(damaged)
            formats.sniff(target)
            try:
                people = formats.read(target, name, skeleton=skeleton, images=images, on_error=on_error)
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000
            else:
                survived += 1
                assert np.isfinite(people.keypoints).all() and np.isfinite(people.scores).all()
                assert np.isfinite(people.person_scores).all() and np.isfinite(people.boxes).all()
                out = tmp_path / f"out_{path.name}"
                shutil.rmtree(out, ignore_errors=True)
                formats.write(people, out)
                assert_same_content(target, out)  # who cannot be used is handed through
            files[which].write_bytes(contents[which])
    if mutations > 100:
        assert survived and (survived < mutations or on_error == "skip")


def test_nothing_unzips_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(b" " * (1 << 20))
    with pytest.raises(InputError, match="unzips to more than"):
        formats.read(path, "alphapose")


@pytest.mark.parametrize(("name", "path"), EACH)
def test_scores_of_keypoints_are_written_where_a_format_has_such(name: str, path: Path, tmp_path: Path) -> None:
    people = read(name, path)
    halved = replace(people, scores=np.round(people.scores / 2, 4))
    formats.write(halved, tmp_path / path.name)
    found = read(name, tmp_path / path.name, index_of(name, path)).scores
    # Annotations have visibilities, which are no confidences, or no scores at all.
    flags = name == "coco-annotations" or path.name in ("street.json", "points")
    assert flags or np.allclose(found, halved.scores, atol=1e-6)
