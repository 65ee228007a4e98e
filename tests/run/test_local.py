"""The whole command, from files to files."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from posefix import formats
from posefix.cli.refine import refine
from posefix.models.checkpoint import save_checkpoint
from posefix.run.journal import SUFFIX
from posefix.run.local import people_progress
from tests.format_samples import drawn_photos
from tests.refine_command import run
from tests.tiny import fusion_checkpoint, random_people, write_annotations, write_images, write_results


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


def test_results_in_pixels_of_other_images_and_certain_poses_are_noticed(
    world: dict[str, Path], tmp_path: Path
) -> None:
    save_checkpoint(world["checkpoint"], fusion_checkpoint())
    records = json.loads(world["results"].read_text())
    outside, certain = "10 people have a pose outside", "10 people have a confidence of 1 for every keypoint"

    for factor, confidence in ((1, 0.9), (1, 1), (20, 0.9)):
        for record in records:
            xyc = np.reshape(record["keypoints"], (-1, 3)) * [factor, factor, 0] + [0, 0, confidence]
            record["keypoints"] = xyc.ravel().tolist()
        world["results"].write_text(json.dumps(records))
        output = run(world, "--out", tmp_path / "out.json").stdout
        assert (outside in output) == (factor > 1) and (certain in output) == (confidence == 1), output


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


def test_how_good_the_estimator_turns_out_to_be_is_said_if_it_was_told_otherwise(
    world: dict[str, Path], rng: np.random.Generator, tmp_path: Path
) -> None:
    people = random_people(rng, 60)
    people.image_ids = np.arange(60) % 30 + 1
    write_images(world["images"], rng, 30)
    write_annotations(world["annotations"], people, images=30)
    write_results(world["results"], people, rng, noise=0)
    save_checkpoint(world["checkpoint"], fusion_checkpoint())
    said = "the estimator reaches 100 AP here, but 55 was assumed: try --estimator_ap 100"
    assert said in run(world, "--annotations", world["annotations"]).output
    assert "was assumed" not in run(world, "--annotations", world["annotations"], "--estimator_ap", 97).output
    assert "--estimator_ap was assumed" in run(world, "--out", tmp_path / "out.json").output
    assert "was assumed" not in run(world, "--out", tmp_path / "out.json", "--estimator_ap", 55).output
    write_results(world["results"], people[people.image_ids <= 23], rng, noise=0)  # on 23 images of 30
    assert "was assumed" not in run(world, "--annotations", world["annotations"]).output
    write_results(world["results"], people, rng, noise=0)
    write_annotations(world["annotations"], people[people.image_ids <= 15], images=30)  # too few with annotations
    assert "was assumed" not in run(world, "--annotations", world["annotations"]).output


def test_a_network_that_cannot_be_told_how_good_the_estimator_is_says_nothing_of_it(
    world: dict[str, Path], tmp_path: Path
) -> None:
    assert "estimator_ap" not in run(world, "--annotations", world["annotations"]).output
    assert "estimator_ap" not in run(world, "--out", tmp_path / "out.json").output


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
    assert f"{world['results']}: no people; there was nothing to refine" in result.output and "0%" not in result.output


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
    formats.write(people, tmp_path / "truth.json", "coco-annotations")
    measuring = [*options[:-4], "--annotations", tmp_path / "truth.json", "--metrics", tmp_path / "metrics.json"]
    result = CliRunner().invoke(refine, [str(o) for o in measuring])
    assert result.exit_code == 0, result.output
    video = json.loads((tmp_path / "metrics.json").read_text())["video"]
    assert 5 < video["before"]["position_error"] < 25 and video["before"]["missing"] == 0  # noise of 3 px
    assert video["after"]["position_error"] != video["before"]["position_error"]
    people.image_ids[0] = 9
    write_results(world["results"], people, rng)
    result = CliRunner().invoke(refine, [str(o) for o in options])
    assert result.exit_code == 2
    assert "9" in result.stderr


def test_where_the_results_are_and_their_format_is_said(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert f"{out}: written, as COCO results" in run(world, "--out", out).output


@pytest.mark.parametrize("nothing", [0, -1])
def test_people_who_have_but_a_box_get_a_pose_with_scores(world: dict[str, Path], tmp_path: Path, nothing: int) -> None:
    records = json.loads(world["results"].read_text())
    records[0] |= {"keypoints": [nothing] * 51, "bbox": [30, 30, 50, 70], "score": 0.7}
    world["results"].write_text(json.dumps(records))
    out = tmp_path / "out.json"
    assert run(world, "--out", out, "--no_rescore").exit_code == 0
    placed, *others = json.loads(out.read_text())
    assert min(placed["keypoints"][2::3]) > 0 and placed["keypoints"] != records[0]["keypoints"]
    assert [r["keypoints"][2::3] for r in others] == [r["keypoints"][2::3] for r in records[1:]]


def test_what_does_not_count_in_the_measures_is_said(world: dict[str, Path], tmp_path: Path) -> None:
    records, truth = (json.loads(world[name].read_text()) for name in ("results", "annotations"))
    records[0]["category_id"] = 5
    truth["annotations"].append({**truth["annotations"][0], "id": 10_000, "image_id": 10_000})
    world["results"].write_text(json.dumps(records))
    world["annotations"].write_text(json.dumps(truth))
    said = run(world, "--annotations", world["annotations"], "--out", tmp_path / "out.json").output
    assert "1 person has a category_id" in said and "1 annotation of images" in said


def test_keypoint_scores_that_are_no_probabilities_are_said(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    for score, says in ((1.2, False), (9.0, True)):  # peaks of heatmaps exceed 1 a little; logits are far above
        records[1]["keypoints"][2::3] = [score] * 17
        world["results"].write_text(json.dumps(records))
        result = run(world, "--out", tmp_path / f"{score}.json")
        assert result.exit_code == 0 and ("1 person has keypoint scores far above 1" in result.output) == says


def test_annotated_keypoints_that_the_results_do_not_have_are_told(world: dict[str, Path], tmp_path: Path) -> None:
    records = [{**r, "keypoints": r["keypoints"][33:45]} for r in json.loads(world["results"].read_text())]
    world["results"].write_text(json.dumps(records))
    legs = [f"{side}_{joint}" for joint in ("hip", "knee") for side in ("left", "right")]
    points = [{"name": name, "sigma": 0.1, "group": "lower"} for name in legs]
    spec = {"name": "legs", "keypoints": points, "mappings": {"coco17": {name: name for name in legs}}}
    (tmp_path / "legs.yaml").write_text(json.dumps(spec))
    told = run(world, "--annotations", world["annotations"], "--skeleton", tmp_path / "legs.yaml").stdout
    assert "13 keypoints of the annotations that the results do not have" in told


def test_people_who_had_a_box_alone_are_told(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())
    records[1] |= {"keypoints": [0] * 51, "bbox": [20, 20, 60, 80]}
    world["results"].write_text(json.dumps(records))
    assert "1 person has a box and no pose" in run(world, "--out", tmp_path / "out.json").stdout


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
        told = run(world, "--out", out, *more)
        assert told.exit_code == 0 and ("1 image with an EXIF rotation" in told.stdout) == (len(found) == 2)
        found.append(out.read_text())
    assert found[0] == found[1] != found[2]


def test_progress_is_shown_before_the_first_batch_and_tells_how_long_from_it_on() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    with people_progress(console, total=640, begun=64) as advance:
        deadline = time.monotonic() + 60  # the line is drawn ten times a second, on a busy machine later
        while "64/640" not in console.file.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert re.search(r"64/640 .*-:--:-- left", console.file.getvalue())
        advance(64)
    assert re.search(r"128/640 .*\d:\d\d:\d\d left", console.file.getvalue())


def test_people_too_small_to_be_looked_at_are_told(world: dict[str, Path], tmp_path: Path) -> None:
    records = json.loads(world["results"].read_text())[:1]
    image = records[0]["image_id"]
    poses = [0] * 51, [9, 9, 1, 20, 20, 1] + [0] * 45
    alone = [{"image_id": image, "keypoints": pose} for pose in poses]
    world["results"].write_text(json.dumps([*records, *alone]))
    out, metrics = tmp_path / "out.json", tmp_path / "metrics.json"
    result = run(world, "--out", out, "--metrics", metrics)
    assert "3 people in 1 image" in result.stdout and "1 images" not in result.stdout
    assert "2 people without a box and with fewer than three keypoints" in result.stdout
    assert json.loads(metrics.read_text())["without_extent"] == 2
    assert [record["keypoints"] for record in json.loads(out.read_text())[1:]] == [one["keypoints"] for one in alone]
