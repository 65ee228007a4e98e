"""The whole command on bad input, interrupted, resumed, and on nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from posefix.cli.refine import refine
from posefix.models.checkpoint import save_checkpoint
from posefix.run.journal import SUFFIX
from posefix.run.local import people_progress
from tests.format_samples import drawn_photos
from tests.tiny import random_people, tiny_checkpoint, write_results, write_world

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    return write_world(tmp_path, rng)


def arguments(world: dict[str, Path], *more: object) -> list[str]:
    chosen = ["--detection_json", world["results"], "--images", world["images"], "--checkpoint", world["checkpoint"]]
    return [str(a) for a in [*chosen, "--device", "cpu", "--test_batch", 4, *more]]


def run(world: dict[str, Path], *more: object) -> Result:
    return CliRunner().invoke(refine, arguments(world, *more))


def original(record: dict) -> dict:
    """A refined record without what refinement may change."""
    kept = {**record, "keypoints": 0, "score": record["original_score"]}
    del kept["original_score"]
    return kept


def test_without_rescoring_nothing_but_keypoints_changes(world: dict[str, Path], tmp_path: Path) -> None:
    out, metrics = tmp_path / "refined.json", tmp_path / "metrics.json"
    result = run(world, "--annotations", world["annotations"], "--out", out, "--no_rescore", "--metrics", metrics)
    assert result.exit_code == 0, result.output
    before, after = json.loads(world["results"].read_text()), json.loads(out.read_text())
    assert [{**r, "keypoints": 0} for r in before] == [{**r, "keypoints": 0} for r in after]
    rescored = tmp_path / "rescored.json"
    assert run(world, "--annotations", world["annotations"], "--out", rescored, "--metrics", metrics).exit_code == 0
    assert [r["keypoints"] for r in json.loads(rescored.read_text())] == [r["keypoints"] for r in after]
    assert "AP" in json.loads(metrics.read_text())["without_rescoring"]


@pytest.mark.parametrize("option", ["--out", "--metrics", "--report"])
def test_the_index_of_the_pictures_is_no_other_output(world: dict[str, Path], tmp_path: Path, option: str) -> None:
    index = tmp_path / "pictures" / "index.json"
    result = run(world, "--annotations", world["annotations"], "--visualize", index.parent, option, index)
    assert_clear(result, index)


def test_the_index_of_the_pictures_is_no_input(world: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    world["results"] = world["results"].rename(folder / "index.json")
    kept = world["results"].read_bytes()
    assert run(world, "--visualize", folder).exit_code == 2
    assert world["results"].read_bytes() == kept


def test_the_whole_path_with_ground_truth(world: dict[str, Path], tmp_path: Path) -> None:
    out, metrics, pictures = tmp_path / "refined.json", tmp_path / "metrics.json", tmp_path / "pictures"
    result = run(
        world, "--annotations", world["annotations"], "--out", out, "--metrics", metrics, "--visualize", pictures
    )
    assert result.exit_code == 0, result.output
    before, after = json.loads(world["results"].read_text()), json.loads(out.read_text())
    assert [{**r, "keypoints": 0} for r in before] == [original(r) for r in after]
    assert all(0 <= r["score"] <= 1 for r in after)
    assert all(a["keypoints"][2::3] == b["keypoints"][2::3] for a, b in zip(before, after, strict=True))
    measured = json.loads(metrics.read_text())
    assert measured["gain"]["AP"] == pytest.approx(measured["after"]["AP"] - measured["before"]["AP"])
    assert measured["gain"]["AP_low"] <= measured["gain"]["AP"] <= measured["gain"]["AP_high"]
    assert measured["people"] == 10
    assert f"{measured['gain']['AP']:+.2f}" in result.output
    assert list(pictures.glob("*.jpg"))
    assert not list(tmp_path.glob(f"*{SUFFIX}"))


def test_without_annotations_images_are_found_by_number(world: dict[str, Path], tmp_path: Path) -> None:
    with_names = tmp_path / "with.json"
    assert run(world, "--annotations", world["annotations"], "--out", with_names).exit_code == 0
    for path in list(world["images"].iterdir()):
        path.rename(path.with_name(f"COCO_val2014_{path.name}"))
    by_number = tmp_path / "by_number.json"
    assert run(world, "--out", by_number).exit_code == 0
    assert by_number.read_bytes() == with_names.read_bytes()


def test_an_empty_list_is_refined_to_an_empty_list(world: dict[str, Path], tmp_path: Path) -> None:
    world["results"].write_text("[]")
    result = run(world, "--annotations", world["annotations"], "--out", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.json").read_text()) == []


def first_record(change: Callable[[dict], None]) -> Callable[[dict[str, Path]], None]:
    def apply(world: dict[str, Path]) -> None:
        records = json.loads(world["results"].read_text())
        change(records[0])
        world["results"].write_text(json.dumps(records))

    return apply


BAD_FILES = {
    "empty": lambda w: w["results"].write_text(""),
    "not JSON": lambda w: w["results"].write_text("keypoints"),
    "cut": lambda w: w["results"].write_text(w["results"].read_text()[:300]),
    "deep": lambda w: w["results"].write_text("[" * 5000 + "]" * 5000),
    "object": lambda w: w["results"].write_text("{}"),
    "number": lambda w: w["results"].write_text("7"),
    "missing": lambda w: w["results"].unlink(),
    "truncated checkpoint": lambda w: w["checkpoint"].write_bytes(w["checkpoint"].read_bytes()[:-1000]),
    "pickled checkpoint": lambda w: w["checkpoint"].write_bytes(pickle.dumps({"weights": [1.0]})),
    "other skeleton": lambda w: save_checkpoint(w["checkpoint"], tiny_checkpoint(skeleton="mpii16")),
    "no images": lambda w: [p.unlink() for p in w["images"].iterdir()],
    "images is no folder": lambda w: w.update(images=w["results"]),
}
BAD_RECORDS = {
    "no image_id": lambda r: r.pop("image_id"),
    "no keypoints": lambda r: r.pop("keypoints"),
    "16 keypoints": lambda r: r.update(keypoints=r["keypoints"][:48]),
    "50 numbers": lambda r: r.update(keypoints=r["keypoints"][:50]),
    "string": lambda r: r["keypoints"].__setitem__(4, "left"),
    "null": lambda r: r["keypoints"].__setitem__(4, None),
    "NaN": lambda r: r["keypoints"].__setitem__(4, float("nan")),
    "infinity": lambda r: r["keypoints"].__setitem__(4, float("inf")),
    "huge": lambda r: r["keypoints"].__setitem__(4, 1e30),
    "image that is not there": lambda r: r.update(image_id=77),
}


def assert_clear(result: Result, out: Path) -> None:
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert isinstance(result.exception, SystemExit)
    said = result.stderr.strip().splitlines()
    assert said[-1].startswith("Error: ")
    assert "Traceback" not in result.output
    assert not out.exists()


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_clear_sentence(world: dict[str, Path], tmp_path: Path, case: str) -> None:
    BAD_FILES[case](world)
    assert_clear(run(world, "--out", tmp_path / "out.json"), tmp_path / "out.json")


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_stops_or_is_handed_through(world: dict[str, Path], tmp_path: Path, case: str) -> None:
    good, out = tmp_path / "good.json", tmp_path / "out.json"
    whole = world["results"].read_text()
    world["results"].write_text(json.dumps(json.loads(whole)[1:]))  # what the others are without the first
    assert run(world, "--out", good).exit_code == 0
    world["results"].write_text(whole)
    first_record(BAD_RECORDS[case])(world)
    assert_clear(run(world, "--out", out), out)
    result = run(world, "--out", out, "--on_error", "skip")
    assert result.exit_code == 0, result.output
    assert "1 handed through untouched" in result.output
    written = json.loads(out.read_text())
    assert json.dumps(written[0]) == json.dumps(json.loads(world["results"].read_text())[0])
    for found, expected in zip(written[1:], json.loads(good.read_text()), strict=True):
        np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=0.02)


def test_sixteen_keypoints_name_the_skeletons_that_have_them(world: dict[str, Path]) -> None:
    first_record(BAD_RECORDS["16 keypoints"])(world)
    assert "mpii16" in run(world, "--out", world["results"].with_name("out.json")).output


def test_missing_images_are_counted_and_the_first_five_named(world: dict[str, Path], rng: np.random.Generator) -> None:
    people = random_people(rng, 9, images=9)
    people.image_ids = np.arange(101, 110)
    write_results(world["results"], people, rng)
    out = world["results"].with_name("out.json")
    assert "9 of 9 image_ids" in (said := run(world, "--out", out).output)
    assert "101, 102, 103, 104, 105" in said
    assert "106" not in said


def test_a_broken_image_is_named_and_what_was_refined_is_kept(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    broken = world["images"] / "000000000003.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    result = run(world, "--out", out, "--workers", 1, "--test_batch", 1)
    assert_clear(result, out)
    assert broken.name in result.output
    broken.write_bytes(whole)
    again = run(world, "--out", out, "--test_batch", 1, "--resume")
    assert again.exit_code == 0, again.output
    expected = tmp_path / "expected.json"
    assert run(world, "--out", expected, "--test_batch", 1).exit_code == 0
    assert out.read_bytes() == expected.read_bytes()


def test_an_output_that_cannot_be_written_is_said_before_the_work(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out.json"
    result = run(world, "--out", out)
    assert_clear(result, out)
    assert "nowhere" in result.output


@pytest.mark.parametrize("kind", ["grey", "16-bit", "alpha", "single pixel"])
def test_unusual_images_just_work(world: dict[str, Path], tmp_path: Path, kind: str) -> None:
    path = world["images"] / "000000000001.jpg"
    image = cv2.imread(str(path))
    path.unlink()
    changed = {
        "grey": lambda: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
        "16-bit": lambda: image.astype(np.uint16) * 256,
        "alpha": lambda: np.dstack([image, image[..., :1]]),
        "single pixel": lambda: image[:1, :1],
    }[kind]()
    cv2.imwrite(str(path.with_suffix(".png")), changed)
    assert run(world, "--out", tmp_path / "out.json").exit_code == 0


def test_a_journal_of_other_work_is_not_continued(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    (tmp_path / f"out.json{SUFFIX}").write_text('{"work": "other"}\n')
    result = run(world, "--out", out, "--resume")
    assert_clear(result, out)
    assert "another run" in result.output
    assert run(world, "--out", out).exit_code == 0


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator, stop: signal.Signals
) -> None:
    write_results(world["results"], random_people(rng, 1200), rng)
    expected, out = tmp_path / "expected.json", tmp_path / "out.json"
    assert run(world, "--out", expected).exit_code == 0
    command = [sys.executable, str(ROOT / "test.py"), *arguments(world, "--out", out)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "90"}
    )
    journal = tmp_path / f"out.json{SUFFIX}"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        time.sleep(0.01)
    process.send_signal(stop)
    _, said = process.communicate()
    assert process.returncode != 0
    assert not out.exists()
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in said
    with journal.open("ab") as file:
        file.write(b'{"rows": [1, 2')  # a line that the crash cut short
    assert run(world, "--out", out, "--resume").exit_code == 0
    assert out.read_bytes() == expected.read_bytes()


def test_resuming_with_nothing_to_resume_starts_anew_and_says_so(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run(world, "--out", out, "--resume")
    assert result.exit_code == 0 and out.exists()
    assert f"{out}: nothing to resume" in result.stderr


def test_a_video_frame_is_an_image(world: dict[str, Path], tmp_path: Path, rng: np.random.Generator) -> None:
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (120, 120))
    for shade in range(5):
        writer.write(np.full((120, 120, 3), 40 * shade, np.uint8))
    writer.release()
    people = random_people(rng, 8)
    people.image_ids = np.array([4, 0, 2, 2, 0, 1, 3, 4])
    write_results(world["results"], people, rng)
    options = ["--detection_json", world["results"], "--video_path", film, "--checkpoint", world["checkpoint"]]
    options += ["--out", tmp_path / "out.json", "--visualize", tmp_path / "drawn"]
    result = CliRunner().invoke(refine, [str(o) for o in options])
    assert result.exit_code == 0, result.output
    drawn = cv2.VideoCapture(str(tmp_path / "drawn" / "film_before_after.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    records = json.loads((tmp_path / "out.json").read_text())
    assert [r["image_id"] for r in records] == [4, 0, 2, 2, 0, 1, 3, 4]
    people.image_ids[0] = 9
    write_results(world["results"], people, rng)
    result = CliRunner().invoke(refine, [str(o) for o in options])
    assert result.exit_code == 2
    assert "9" in result.stderr


def test_no_output_takes_the_place_of_another_file(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for more in (
        ["--annotations", world["annotations"], "--out", world["annotations"]],
        ["--out", world["results"]],
        ["--out", out, "--metrics", out],
    ):
        before = {name: world[name].read_bytes() for name in ("annotations", "results")}
        result = run(world, *more)
        assert_clear(result, out)
        assert "named twice" in result.output
        assert before == {name: world[name].read_bytes() for name in before}
    os.mkfifo(tmp_path / "pipe")
    assert run(world, "--out", tmp_path / "pipe").exit_code == 2


def test_unusable_ground_truth_is_said_before_the_work(world: dict[str, Path], tmp_path: Path) -> None:
    annotations = json.loads(world["annotations"].read_text())
    annotations["annotations"][0]["id"] = "one"
    world["annotations"].write_text(json.dumps(annotations))
    out = tmp_path / "out.json"
    assert_clear(run(world, "--annotations", world["annotations"], "--out", out), out)


def test_resuming_with_other_annotations_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    broken = world["images"] / "000000000003.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    options = ["--out", out, "--test_batch", 1, "--annotations", world["annotations"]]
    assert run(world, *options).exit_code == 2
    broken.write_bytes(whole)
    world["annotations"].write_text(world["annotations"].read_text() + "\n")
    assert "another run" in run(world, *options, "--resume").output


def test_the_place_of_the_progress_is_no_input_and_no_other_output(world: dict[str, Path], tmp_path: Path) -> None:
    out, journal = tmp_path / "out.json", tmp_path / f"out.json{SUFFIX}"
    assert_clear(run(world, "--out", out, "--metrics", journal), out)
    journal.write_bytes(world["results"].read_bytes())
    world = {**world, "results": journal}
    assert_clear(run(world, "--out", out), out)
    assert journal.stat().st_size > 2


def test_work_that_would_leave_nothing_is_refused_at_once(world: dict[str, Path]) -> None:
    said = run(world)
    assert said.exit_code == 2
    assert all(option in said.output for option in ("--out", "--visualize", "--metrics", "--annotations"))


def test_where_the_results_are_and_their_format_is_said(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert f"{out}: written, as COCO results" in run(world, "--out", out).output


def test_people_who_have_but_a_box_get_a_pose_with_scores(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    records[0] |= {"keypoints": [0] * 51, "bbox": [30, 30, 50, 70], "score": 0.7}
    world["results"].write_text(json.dumps(records))
    out = tmp_path / "out.json"
    assert run(world, "--out", out, "--no_rescore").exit_code == 0
    placed, *others = json.loads(out.read_text())
    assert min(placed["keypoints"][2::3]) > 0 and placed["keypoints"] != records[0]["keypoints"]
    assert [r["keypoints"][2::3] for r in others] == [r["keypoints"][2::3] for r in records[1:]]


def test_keypoint_scores_that_are_no_probabilities_are_said(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    for score, says in ((1.2, False), (9.0, True)):  # peaks of heatmaps exceed 1 a little; logits are far above
        records[1]["keypoints"][2::3] = [score] * 17
        world["results"].write_text(json.dumps(records))
        result = run(world, "--out", tmp_path / f"{score}.json")
        assert result.exit_code == 0 and ("1 people have keypoint scores far above 1" in result.output) == says


def test_results_in_fractions_of_the_image_are_refused(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    for record in records:
        record["keypoints"] = [v if i % 3 == 2 else v / 120 for i, v in enumerate(record["keypoints"])]
    world["results"].write_text(json.dumps(records))
    result = run(world, "--out", tmp_path / "out.json")
    assert_clear(result, tmp_path / "out.json")
    assert "results.json" in result.output and "fractions of the image" in result.output


def test_results_made_on_upright_images_are_refined_on_those(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    people = random_people(rng, 4, images=1)
    write_results(world["results"], people, rng)
    found = []
    for orientation, more in ((1, []), (6, ["--upright"]), (6, [])):
        name = f"photos{len(found)}"
        world["images"] = drawn_photos(tmp_path / name, ["1.png"], orientation)
        out = tmp_path / f"{name}.json"
        assert run(world, "--out", out, *more).exit_code == 0
        found.append(out.read_text())
    assert found[0] == found[1] != found[2]


def test_progress_is_shown_before_the_first_batch_and_tells_how_long_from_it_on() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    with people_progress(console, total=640, begun=64) as advance:
        time.sleep(0.3)  # the line is drawn ten times a second
        assert "64/640" in console.file.getvalue() and "-:--:-- left" in console.file.getvalue()
        advance(64)
    last = console.file.getvalue().rpartition("128/640")[2]
    assert "0:00:0" in last and "left" in last and "-:--:--" not in last
