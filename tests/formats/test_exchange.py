"""Between files and people: what names of images mean, and what comes of whole runs from file to file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from posefix import formats
from posefix.cli.main import main
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.resources import available
from posefix.core.skeleton import load
from posefix.formats import FORMATS, ImageIndex, coco_files
from posefix.formats.coco import ImageRecord
from posefix.formats.images import number_of
from posefix.formats.probe import HEAD
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.local import read, refine_file
from posefix.run.plan import Plan
from tests.format_samples import (
    HEIGHT,
    SAMPLES,
    WIDTH,
    assert_same_content,
    drawn_photos,
    with_images,
)
from tests.tiny import save_checkpoint, tiny_checkpoint

# ---- names of images


def test_another_way_to_treat_errors_is_refused() -> None:
    with pytest.raises(InputError, match="on_error must be 'stop' or 'skip', got 'ignore'"):
        formats.read(SAMPLES / "coco" / "letter.json", on_error="ignore")  # type: ignore[arg-type]


def test_names_mean_images_with_and_without_folders_and_extension() -> None:
    records = {7: ImageRecord("a/walk.jpg"), 8: ImageRecord("b/walk.jpg"), 9: ImageRecord("b/run.png")}
    index = ImageIndex(records, "the images")
    keys = ["a/walk.jpg", "elsewhere/b/walk", "run"]
    np.testing.assert_array_equal(index.match(keys, "name"), [7, 8, 9])


def test_absent_and_ambiguous_names_are_listed() -> None:
    index = ImageIndex({7: ImageRecord("a/walk.jpg"), 8: ImageRecord("b/walk.jpg")}, "photos")
    with pytest.raises(InputError, match=r"photos: 6 of 6 .* the first five 'n0', 'n1', 'n2', 'n3', 'n4'$"):
        index.match([f"n{i}" for i in range(6)], "name")
    with pytest.raises(InputError, match=r"can each be several of its images, namely 'walk.jpg'"):
        index.match(["walk.jpg", "a/walk.jpg"], "name")
    with pytest.raises(InputError, match=r"'a/walk' and 'a/walk\.jpg' mean the same image"):
        index.match(["a/walk", "a/walk.jpg"], "name")


def test_places_mean_images_in_their_order_if_there_are_as_many() -> None:
    index = ImageIndex({i: ImageRecord(f"{i}.jpg") for i in (3, 5, 8)}, "photos")
    np.testing.assert_array_equal(index.match([0, 1, 2], "index"), [3, 5, 8])
    with pytest.raises(InputError, match="has 3 images"):
        index.match([0, 1], "index")


def test_frames_of_a_video_are_the_numbers_that_names_end_in(tmp_path: Path) -> None:
    index = ImageIndex.of_video(tmp_path / "walk.mp4", (WIDTH, HEIGHT))
    np.testing.assert_array_equal(index.match(["walk_000000000012", "13.jpg"], "name"), [12, 13])
    with pytest.raises(InputError, match="do not end in a frame number"):
        index.match(["walk"], "name")


def test_ultralytics_counts_the_frames_of_a_video_from_one(tmp_path: Path) -> None:
    labels = SAMPLES / "ultralytics-labels" / "tracked_conf"
    people = formats.read(labels, images=ImageIndex.of_video(tmp_path / "clip.mp4", (WIDTH, HEIGHT)))
    assert people.source.keys == {0: "clip_1", 1: "clip_2"}


def test_a_folder_of_images_numbers_them_by_their_names_if_it_can(tmp_path: Path) -> None:
    for name in ("x/img_12.png", "img_3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    index = ImageIndex.of_folder(tmp_path)
    assert {i: r.file_name for i, r in index.records.items()} == {3: "img_3.png", 12: "x/img_12.png"}
    assert index.size(12) == (6, 4)
    (tmp_path / "other.png").write_bytes(b"no image")
    index = ImageIndex.of_folder(tmp_path)
    assert sorted(index.records) == [0, 1, 2] and index.size(1) is None


# ---- the command


def test_convert_names_both_formats_and_writes(tmp_path: Path) -> None:
    sample, out = SAMPLES / "coco" / "estimator.json", tmp_path / "annotations.json"
    run = CliRunner().invoke(main, ["convert", str(sample), "--to", "coco-annotations", "--out", str(out)])
    assert run.exit_code == 0 and "COCO results to COCO annotations" in run.output
    assert "not kept by COCO annotations: scores of keypoints, scores of people" in run.output
    assert len(formats.read(out, "coco-annotations")) == len(formats.read(sample))
    records = [{**record, "bbox": None} for record in json.loads(sample.read_text())]
    (tmp_path / "boxless.json").write_text(json.dumps(records))
    argv = [str(tmp_path / "boxless.json"), "--to", "openpose", "--out", str(tmp_path / "openpose")]
    run = CliRunner().invoke(main, ["convert", *argv])
    assert run.exit_code == 0 and "not kept by OpenPose: scores of people" in run.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.json", "--to", "coco"], "no such file"),
        ([str(SAMPLES / "coco" / "letter.json"), "--to", "pickle"], "unknown format 'pickle'"),
        ([str(SAMPLES / "coco" / "letter.json"), "--to", "coco", "--format", "cocoa"], "unknown format 'cocoa'"),
        ([str(SAMPLES / "coco" / "letter.json"), "--to", "coco", "--skeleton", "fish"], "no skeleton 'fish'"),
    ],
)
def test_convert_says_what_is_wrong(arguments: list[str], says: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["convert", *arguments, "--out", str(tmp_path / "out.json")])
    assert run.exit_code == 2 and says in run.output and "Traceback" not in run.output
    assert not (tmp_path / "out.json").exists()


def test_nothing_is_converted_into_one_of_its_inputs(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    shutil.copy(SAMPLES / "coco" / "estimator.json", results)
    before = results.read_bytes()
    run = CliRunner().invoke(main, ["convert", str(results), "--to", "coco-annotations", "--out", str(results)])
    assert run.exit_code == 2 and "named twice" in run.output and results.read_bytes() == before


@pytest.mark.parametrize("name", ["coco", "alphapose", "openpose", "openpifpaf"])
def test_people_who_were_refined_are_written_so_in_any_format(name: str, tmp_path: Path) -> None:
    people = with_images(
        People(load("coco17"), np.full((2, 17, 2), 99.0), np.full((2, 17), 0.5), [1, 2], original_scores=[0.7, np.nan])
    )
    out = tmp_path / f"out{'' if FORMATS[name].folder else '.json'}"
    formats.write(people, out, name)
    np.testing.assert_array_equal(formats.read(out).original_scores, np.float32([0.7, np.nan]))


def test_results_under_their_own_names_are_coco_results() -> None:
    assert FORMATS["detectron2"].read is FORMATS["mmpose-results"].read is coco_files.read_results


# ---- from file to file


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("openpose", "street"),
        ("ultralytics-labels", "points"),
        ("ultralytics-labels", "labels"),
        ("tfjs", "small.json"),
        ("ultralytics-json", "street.json"),
        ("vitpose", "threshold.json"),
        ("mediapipe", "web"),
    ],
)
def test_what_is_measured_is_what_is_written(name: str, sample: str, tmp_path: Path) -> None:
    path = tmp_path / sample
    source = SAMPLES / name / sample
    shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    content = FORMATS[name].read(path, None, "stop")
    names = [f"{key}.png" if not str(key).endswith(("jpg", "png")) else str(key) for key in content.images]
    names = names if content.kind == "name" else [f"{key:06d}.png" for key in content.images]
    photos = drawn_photos(tmp_path / "photos", names)
    index = ImageIndex.of_folder(photos)
    truth = formats.read(path, name, images=index).to_skeleton(load("coco17"))
    shifted = truth.with_keypoints(truth.keypoints + np.float32(4) * truth.labelled[..., None])
    formats.write(shifted, tmp_path / "truth.json", "coco-annotations")
    save_checkpoint(tmp_path / "tiny.safetensors", tiny_checkpoint())
    out, metrics = tmp_path / "out" / sample, tmp_path / "metrics.json"
    out.parent.mkdir()
    given = ["--detection_json", path, "--images", photos, "--annotations", tmp_path / "truth.json", "--out", out]
    given += ["--checkpoint", tmp_path / "tiny.safetensors", "--metrics", metrics, "--device", "cpu"]
    run = CliRunner().invoke(main, ["refine", *map(str, given)])
    assert run.exit_code == 0, run.output
    again = CliRunner().invoke(main, ["evaluate", str(out), "--annotations", str(tmp_path / "truth.json"), "--json"])
    assert again.exit_code == 0, again.output
    measured, written = json.loads(metrics.read_text())["after"], json.loads(again.output)
    assert {k: round(v, 6) for k, v in measured.items() if v is not None} == {
        k: round(v, 6) for k, v in written.items() if v is not None
    }


def test_pictures_lie_as_their_exif_says_but_not_for_coco(tmp_path: Path) -> None:
    upright = drawn_photos(tmp_path / "upright", ["1.png"])
    lying = drawn_photos(tmp_path / "lying", ["1.png"], orientation=6)
    assert ImageIndex.of_folder(lying).size(1) == ImageIndex.of_folder(upright).size(1) == (WIDTH, HEIGHT)
    assert ImageFolder(lying)[1].shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_array_equal(ImageFolder(lying, upright=True)[1], ImageFolder(upright)[1])
    results = tmp_path / "alphapose-results.json"
    results.write_text(json.dumps([{"image_id": "1.png", "category_id": 1, "keypoints": [5, 6, 0.5] * 17, "score": 1}]))
    by_name = formats.read(results, images=ImageIndex.of_folder(lying))
    np.testing.assert_array_equal(ImageFolder.of_people(lying, by_name)[1], ImageFolder(upright)[1])


def test_frame_numbers_mean_the_images_that_have_them() -> None:
    index = ImageIndex({i: ImageRecord(f"frame_{i}.jpg") for i in (5, 6, 9)}, "photos")
    np.testing.assert_array_equal(index.match([9, 5], "index"), [9, 5])
    with pytest.raises(InputError, match="has 3 images"):
        index.match([5, 7, 9], "index")
    np.testing.assert_array_equal(index.match([2, 0, 1], "index"), [9, 5, 6])


def test_a_named_image_is_not_another_though_there_is_but_one() -> None:
    index = ImageIndex({7: ImageRecord("park.jpg")}, "photos")
    with pytest.raises(InputError, match=r"are not there, namely 'street'"):
        index.match(["street"], "name")
    np.testing.assert_array_equal(index.match(["poses"], "name", any_file_name=True), [7])


@pytest.mark.parametrize("name", FORMATS)
def test_frames_of_a_video_come_back(name: str, tmp_path: Path) -> None:
    index = ImageIndex.of_video(tmp_path / "film.mp4", (WIDTH, HEIGHT))
    people = People(
        load("coco17"), np.full((3, 17, 2), 99.0), np.full((3, 17), 0.5), [0, 1, 2], boxes=[[90, 90, 20, 20]] * 3
    )
    formats.write(people, tmp_path / "first.json")
    read_back = formats.read(tmp_path / "first.json", images=index)
    target = tmp_path / f"second{'' if FORMATS[name].folder else '.json'}"
    formats.write(read_back, target, name)
    skeleton = load("coco17") if name == "deeplabcut" else None
    np.testing.assert_array_equal(formats.read(target, name, skeleton=skeleton, images=index).image_ids, [0, 1, 2])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("skeleton", available("skeletons"))
def test_people_of_any_skeleton_are_written_so_that_they_can_be_read(
    name: str, skeleton: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    own = load(skeleton)
    keypoints = rng.uniform(10, 400, (2, len(own), 2)).round(2)
    people = with_images(People(own, keypoints, np.full((2, len(own)), 0.5), [1, 2], boxes=[[10, 10, 390, 390]] * 2))
    target = tmp_path / f"written{'' if FORMATS[name].folder else '.json'}"
    formats.write(people, target, name)
    images = ImageIndex(people.source.images, "the images")
    brought = load("coco17") if name == "deeplabcut" else None
    again = formats.read(target, name, skeleton=brought, images=images)
    assert again.skeleton == own or skeleton not in FORMATS[name].skeletons
    again, wanted = again.to_skeleton(load("coco17")), people.to_skeleton(load("coco17"))
    held = again.labelled
    assert held.sum() >= 20 and (wanted.labelled | ~held).all()
    np.testing.assert_allclose(again.keypoints[held], wanted.keypoints[held], atol=0.01)


def test_who_has_no_estimate_is_nobody_elsewhere(tmp_path: Path) -> None:
    sample = SAMPLES / "coco-annotations" / "person_keypoints.json"
    run = CliRunner().invoke(main, ["convert", str(sample), "--to", "coco", "--out", str(tmp_path / "coco.json")])
    assert run.exit_code == 0 and "1 without any estimate in coco17" in run.output
    people = formats.read(sample)
    assert len(formats.read(tmp_path / "coco.json")) == people.labelled.any(1).sum() == len(people) - 1


def test_ids_that_would_mean_other_images_are_not_made_up(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos", ["1.png", "2.png", "cover.png"])
    people = People(load("coco17"), np.full((1, 17, 2), 99.0), np.full((1, 17), 0.5), [2])
    formats.write(with_images(people), tmp_path / "first.json", "alphapose")
    content = (tmp_path / "first.json").read_text().replace("000000000002.jpg", "cover.png")
    (tmp_path / "first.json").write_text(content)
    given = ["convert", str(tmp_path / "first.json"), "--images", str(photos)]
    run = CliRunner().invoke(main, [*given, "--to", "coco", "--out", str(tmp_path / "coco.json")])
    assert run.exit_code == 2 and "--to coco-annotations" in run.output and not (tmp_path / "coco.json").exists()
    out = tmp_path / "annotations.json"
    assert CliRunner().invoke(main, [*given, "--to", "coco-annotations", "--out", str(out)]).exit_code == 0
    named = {image["id"]: image["file_name"] for image in json.loads(out.read_text())["images"]}
    assert named[int(formats.read(out).image_ids[0])] == "cover.png"


@pytest.mark.parametrize("name", ["openpose", "alphapose", "ultralytics-labels", "mediapipe"])
def test_people_of_an_absent_image_are_handed_through_when_skipping(name: str, identity: Path, tmp_path: Path) -> None:
    people = with_images(People(load("coco17"), np.full((2, 17, 2), 99.0), np.full((2, 17), 0.5), [1, 2]))
    source = tmp_path / f"source{'' if FORMATS[name].folder else '.json'}"
    formats.write(people, source, name)
    photos = drawn_photos(tmp_path / "photos", ["000000000001.png"])
    out = tmp_path / f"out{'' if FORMATS[name].folder else '.json'}"
    plan = Plan(source, images=photos, checkpoint=str(identity), out=out, device="cpu")
    settings = RefineSettings(rescore=False)
    with pytest.raises(InputError, match="are not there"):
        refine_file(plan, settings, Console(quiet=True))
    refined = refine_file(plan, replace(settings, on_error="skip"), Console(quiet=True))
    assert len(refined.problems) == 1 and "000000000002" in refined.problems[0]
    assert_same_content(source, out)


def test_a_run_whose_output_lies_among_the_results_goes_on(identity: Path, tmp_path: Path) -> None:
    source = tmp_path / "poses"
    shutil.copytree(SAMPLES / "openpose" / "street", source)
    photos = drawn_photos(
        tmp_path / "photos", [f"{key}.png" for key in FORMATS["openpose"].read(source, None, "stop").images]
    )
    plan = Plan(source, images=photos, checkpoint=str(identity), out=source / "better", device="cpu")
    people = formats.read(source, images=photos)

    def signature(some: People) -> str:
        return plan.signature(RefineSettings(), "torch", "cpu", some)

    before = signature(people)
    (source / "better.progress").write_text("some lines")
    (source / ".DS_Store").write_text("a folder's looks")
    assert signature(people) == before
    (source / "street_000000000003_keypoints.json").write_text('{"people": []}')
    assert signature(people) != before


def test_a_run_does_not_go_on_once_other_images_are_there(identity: Path, tmp_path: Path) -> None:
    source = shutil.copytree(SAMPLES / "openpose" / "street", tmp_path / "poses")
    keys = FORMATS["openpose"].read(source, None, "stop").images
    photos, out = drawn_photos(tmp_path / "photos", [f"{key}.png" for key in keys]), tmp_path / "out"
    plan = Plan(source, images=photos, checkpoint=str(identity), out=out, device="cpu", resume=True)
    settings = RefineSettings(on_error="skip", batch_size=1)
    shown = sorted(photos.iterdir())
    shown[0].rename(tmp_path / "away.png")
    work = read(plan, settings, Refiner.from_pretrained(identity, "cpu"))
    signature = plan.signature(settings, "torch", "cpu", work.refiner_input)
    (tmp_path / "out.progress").write_text(json.dumps({"work": signature}) + "\n")
    (tmp_path / "away.png").rename(shown[0])
    with pytest.raises(InputError, match="is of another run"):
        refine_file(plan, settings, Console(quiet=True))


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("openpose", "street"),
        ("mmpose", "predictions"),
        ("openpifpaf", "json"),
        ("ultralytics-labels", "labels"),
        ("ultralytics-json", "json"),
        ("mediapipe", "web"),
    ],
)
def test_one_damaged_file_does_not_cost_the_folder(name: str, sample: str, identity: Path, tmp_path: Path) -> None:
    source = tmp_path / sample
    shutil.copytree(SAMPLES / name / sample, source)
    photos = [str(key) for key in FORMATS[name].read(source, None, "stop").images]
    drawn_photos(tmp_path / "photos", [key if key.endswith(("jpg", "png")) else f"{key}.png" for key in photos])
    damaged = sorted(source.iterdir())[1]
    damaged.write_bytes(b"\xff\x00{" + damaged.read_bytes()[:20])
    photo = source / "photo.jpg"
    photo.write_bytes(b"no results")
    (source / f"._{damaged.name}").write_bytes(b"\x00\x05\x16\x07")
    out = tmp_path / "out" / sample
    out.parent.mkdir()
    plan = Plan(source, images=tmp_path / "photos", checkpoint=str(identity), out=out, device="cpu")
    settings = RefineSettings(rescore=False)
    with pytest.raises(InputError):
        refine_file(plan, settings, Console(quiet=True))
    assert not out.exists()
    refined = refine_file(plan, replace(settings, on_error="skip"), Console(quiet=True))
    assert len(refined.people) >= 1
    assert len(refined.problems) == 1 and damaged.name in refined.problems[0]
    photo.unlink()
    (source / f"._{damaged.name}").unlink()
    assert_same_content(source, out)


def test_a_long_file_is_recognised_by_its_beginning(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "note": 'a"]}, [{', "width": 640} for i in range(4000)]
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": []}))
    assert path.stat().st_size > HEAD and formats.sniff(path) == "coco-annotations"
    landmarks = {"pose_landmarks": [[{"x": 0.5, "y": 0.5, "z": 0.0, "visibility": 0.9}] * 33]}
    path.write_text(json.dumps({f"{i}.jpg": {"pose_landmarks": []} if i < 5 else landmarks for i in range(200)}))
    assert path.stat().st_size > HEAD and formats.sniff(path) == "mediapipe"
    path.write_text(json.dumps([{"image_id": i, "keypoints": [1.0] * 51, "score": 1.0} for i in range(2000)]))
    assert path.stat().st_size > HEAD and formats.sniff(path) == "coco"


def test_conversion_leaves_out_who_is_in_an_absent_image(tmp_path: Path) -> None:
    people = with_images(People(load("coco17"), np.full((2, 17, 2), 99.0), np.full((2, 17), 0.5), [1, 2]))
    photos = drawn_photos(tmp_path / "photos", ["000000000001.png"])
    for name in ("ultralytics-labels", "openpose"):
        formats.write(people, tmp_path / name, name)
        given = ["convert", tmp_path / name, "--to", "coco", "--images", photos, "--out", tmp_path / "coco.json"]
        assert CliRunner().invoke(main, list(map(str, given))).exit_code == 2
        run = CliRunner().invoke(main, [*map(str, given), "--on_error", "skip"])
        assert run.exit_code == 0 and "1 without any estimate" in run.output and "1 person in 1 image" in run.output
        again = formats.read(tmp_path / "coco.json")
        np.testing.assert_array_equal(again.image_ids, [1])
        np.testing.assert_allclose(again.keypoints, 99, atol=0.01)


def test_frames_are_counted_as_the_images_are() -> None:
    from_one = ImageIndex({i: ImageRecord(f"frame_{i:04d}.jpg") for i in (1, 2, 3, 4)}, "photos")
    np.testing.assert_array_equal(from_one.match([1, 2, 3], "index"), [2, 3, 4])
    np.testing.assert_array_equal(from_one.match([0, 1, 3], "index"), [1, 2, 4])
    demo = ImageIndex({i: ImageRecord(f"frame_{i}.jpg") for i in (5, 7, 9)}, "photos")
    np.testing.assert_array_equal(demo.match([4, 6, 8], "index"), [5, 7, 9])


def test_a_folder_of_which_only_files_without_people_are_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1_keypoints.json").write_text('{"version": 1.3, "people": []}')
    (tmp_path / "2_keypoints.json").write_text('{"version": 1.3, "peop')
    with pytest.raises(InputError, match=r"2_keypoints\.json: the JSON is cut off"):
        formats.read(tmp_path, "openpose", on_error="skip")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a/COCO_val2014_000000000139.jpg", 139),
        ("0.png", 0),
        ("000.png", 0),
        ("x" + "0" * 40 + "7", 7),
        ("1" * 19, None),
        ("12b", None),
        ("", None),
    ],
)
def test_images_have_the_number_that_their_names_end_in(name: str, number: int | None) -> None:
    assert number_of(name) == number
