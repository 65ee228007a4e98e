"""Videos are refined over time: proposals in, settled poses out, live as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from posefix.cli.refine import refine
from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import load
from posefix.formats import FORMATS, Source, read, write
from posefix.formats.coco import ImageRecord
from posefix.media.images import ImageFolder
from posefix.media.video import VideoFrames, write_video
from posefix.models.checkpoint import save_checkpoint
from posefix.motion.denoise import TrackDenoiser, denoise_live
from posefix.motion.network import DEFAULT, MOTION, MotionConfig, MotionNetwork
from posefix.motion.online import OnlineDenoiser, OnlineRefiner
from posefix.motion.refining import VideoTime, refine_video
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from tests.motion_scenes import video, walk
from tests.tiny import COCO, tiny_checkpoint, write_annotations

FRAMES = 30


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained denoiser, which is a Gaussian filter, nearly."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("motion") / "motion.safetensors"
    MOTION.save(path, MotionNetwork(MotionConfig(width=32, keypoint_width=8), COCO), {}, {})
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    rng = np.random.default_rng(0)
    write_video(path, 30, (rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(FRAMES)))
    return path


@pytest.fixture
def frames(film: Path, tmp_path: Path) -> Path:
    """The film's frames as images that count from 0."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in VideoFrames(film):
        cv2.imwrite(str(folder / f"{index:06d}.png"), frame[..., ::-1])
    return folder


@pytest.fixture
def people(rng: np.random.Generator) -> People:
    both = video({1: walk((80, 120), (3, 0), FRAMES), 2: walk((240, 120), (-1, 0), FRAMES)}, rng)
    return both[(both.track_ids == 2) | ~np.isin(both.image_ids, [10, 11])]


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner(tiny_checkpoint(), engine="torch")


def roughness(people: People) -> float:
    poses = people[people.track_ids == 2].keypoints
    return float(np.abs(np.diff(poses, 2, axis=0)).mean())


def test_a_refined_video_is_smoother_than_its_refined_frames(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    frames = VideoFrames(film)
    alone = refiner.refine(people, frames)
    together = refine_video(refiner, people, frames, network=motion)
    assert len(together) == len(people)
    np.testing.assert_array_equal(together.image_ids, people.image_ids)
    np.testing.assert_array_equal(together.scores, people.scores)
    assert roughness(together) < 0.5 * roughness(alone)


def test_gaps_are_filled_and_who_was_refined_before_stays(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    people.original_scores[:5] = 0.5
    done = refine_video(refiner, people, VideoFrames(film), network=motion, fill=2)
    assert len(done) == len(people) + 2
    filled = done[(done.track_ids == 1) & np.isin(done.image_ids, [10, 11])]
    assert len(filled) == 2
    for i in range(5):
        same = (done.image_ids == people.image_ids[i]) & (done.track_ids == people.track_ids[i])
        np.testing.assert_array_equal(done.keypoints[same][0], people.keypoints[i])


def test_a_settled_keypoint_keeps_less_of_its_error_the_less_the_image_confirms_it() -> None:
    time, truth = VideoTime(MOTION.load(DEFAULT)), np.repeat(walk((80, 120), (0, 0), 1), FRAMES, axis=0)
    refined = People(COCO, truth, np.ones((FRAMES, 17)), np.arange(FRAMES), track_ids=np.ones(FRAMES))
    refined.keypoints[15, 9] += 30
    scores, errors = np.full((FRAMES, 17), 0.9, np.float32), []
    for scores[15, 9] in (0.9, 0.3, 0.0):
        errors.append(np.linalg.norm(time.settle(refined, scores).keypoints[15, 9] - truth[15, 9]))
    assert errors[2] < 0.5 * errors[1] < 0.25 * errors[0]


def test_missing_keypoints_are_found_where_the_people_can_hold_them(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    people.keypoints[7, 9], people.scores[7, 9] = 0, 0
    done = refine_video(refiner, people, VideoFrames(film), network=motion)
    assert done.keypoints[7, 9].all()


def test_frames_in_a_folder_are_refined_as_their_film(
    people: People, film: Path, frames: Path, motion: Path, refiner: Refiner
) -> None:
    as_film = refine_video(refiner, people, VideoFrames(film), network=motion, fill=2)
    as_images = refine_video(refiner, people, ImageFolder(frames), network=motion, fill=2, fps=30)
    np.testing.assert_array_equal(as_images.image_ids, as_film.image_ids)
    np.testing.assert_allclose(as_images.keypoints, as_film.keypoints, atol=1e-3)
    with pytest.raises(InputError, match="need fps"):
        refine_video(refiner, people, ImageFolder(frames), network=motion)


def test_a_given_rate_counts_in_place_of_the_time_stamps(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    stamped, same, slow = (
        refine_video(refiner, people, VideoFrames(film), network=motion, fps=fps).keypoints for fps in (None, 30, 240)
    )
    np.testing.assert_allclose(same, stamped, atol=1e-3)
    assert np.abs(slow - stamped).max() > 0.01
    assert VideoTime.of(VideoFrames(film), 240, motion).propose(people).tracks[0].times[1] == 1 / 240


def test_a_frame_without_an_image_is_not_filled(people: People, frames: Path, motion: Path, refiner: Refiner) -> None:
    (frames / "000010.png").unlink()
    here = people[people.image_ids != 10]
    done = refine_video(refiner, here, ImageFolder(frames), network=motion, fill=2, fps=30)
    assert len(done) == len(here) + 1 and 10 not in done.image_ids


def test_people_of_absent_images_are_in_no_track(people: People, frames: Path, motion: Path, tmp_path: Path) -> None:
    people.source = Source(FORMATS["alphapose"], None, {i: ImageRecord(f"{i:06d}.png") for i in range(FRAMES)})
    write(people, tmp_path / "raw.json")
    (frames / "000015.png").unlink()
    found = read(tmp_path / "raw.json", images=frames, on_error="skip")
    smoothed = VideoTime.of(ImageFolder(frames), 30, motion).propose(found)
    absent = smoothed.people.image_ids < 0
    assert absent.sum() == 2
    np.testing.assert_array_equal(smoothed.people.keypoints[absent], found.keypoints[found.image_ids < 0])
    assert all((track.frames >= 0).all() for track in smoothed.tracks)


def test_what_is_before_has_the_places_of_the_file(people: People, film: Path, motion: Path) -> None:
    time = VideoTime.of(VideoFrames(film), network=motion, fill=2)
    proposal = time.propose(people)
    before = proposal.before(people)
    old = proposal.rows >= 0
    np.testing.assert_array_equal(before.keypoints[old], people.keypoints)
    np.testing.assert_array_equal(before.keypoints[~old], proposal.people.keypoints[~old])
    assert not np.array_equal(proposal.people.keypoints[old], people.keypoints)


def test_the_command_refines_over_time_goes_on_and_can_be_told_not_to(
    people: People, film: Path, frames: Path, tmp_path: Path
) -> None:
    checkpoint, results = tmp_path / "tiny.safetensors", tmp_path / "results.json"
    save_checkpoint(checkpoint, tiny_checkpoint())
    records = [
        {
            "image_id": int(image_id),
            "category_id": 1,
            "keypoints": np.concatenate([pose, np.ones((17, 1))], axis=1).ravel().tolist(),
            "score": 0.5,
        }
        for image_id, pose in zip(people.image_ids, people.keypoints, strict=True)
    ]
    results.write_text(json.dumps(records))

    def run(out: str, *more: object, source: tuple[object, ...] = ("--video_path", film)) -> list[dict]:
        options = ["--detection_json", results, *source, "--checkpoint", checkpoint, "--device", "cpu"]
        result = CliRunner().invoke(refine, [str(o) for o in [*options, "--out", tmp_path / out, *more]])
        assert result.exit_code == 0, result.output
        assert len(people) == 58 or "filled in" in result.output
        return json.loads((tmp_path / out).read_text())

    together, alone = run("together.json"), run("alone.json", "--temporal", "off")
    assert len(together) == len(alone) == len(people)
    assert [r["image_id"] for r in together] == [r["image_id"] for r in records]
    assert [r["keypoints"] for r in together] != [r["keypoints"] for r in alone]
    assert len(run("filled.json", "--fill", "3")) == len(people) + 2
    as_images = run("images.json", "--visualize", tmp_path / "shown", source=("--images", frames, "--fps", 30))
    assert (tmp_path / "shown" / "frames_tracks.html").is_file()
    for one, other in zip(as_images, together, strict=True):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=0.01)

    for record in records:  # AlphaPose's list, a format whose missing keypoints stay missing if they are not filled in
        record["image_id"] = f"{record['image_id']}.jpg"
    records[20]["keypoints"][27:30] = [0, 0, 0]
    results.write_text(json.dumps(records))
    assert run("missing.json")[20]["keypoints"][27:30] == [0, 0, 0]
    found = run("wrist.json", "--fill", "3")[20]["keypoints"][27:30]
    assert all(found) and found[2] == pytest.approx(0.5, abs=0.01)


@pytest.fixture
def command(frames: Path, people: People, tmp_path: Path) -> Callable[..., Result]:
    """Refine AlphaPose's results of a film, whose names have a prefix, by the frames in a folder."""
    save_checkpoint(tmp_path / "tiny.safetensors", tiny_checkpoint())
    people.source = Source(FORMATS["alphapose"], None, {i: ImageRecord(f"film_{i}.jpg") for i in range(FRAMES)})
    write(people, tmp_path / "raw.json")

    def run(*more: object) -> Result:
        options = ["--detection_json", tmp_path / "raw.json", "--images", frames, "--out", tmp_path / "refined.json"]
        options += ["--checkpoint", tmp_path / "tiny.safetensors", "--device", "cpu", *more]
        return CliRunner().invoke(refine, [str(option) for option in options])

    return run


def test_names_in_results_are_matched_with_frames_by_number(
    people: People, command: Callable[..., Result], tmp_path: Path
) -> None:
    write(people[people.image_ids != 10], tmp_path / "raw.json", "alphapose")
    result = command("--fps", 30, "--fill", 2)
    assert result.exit_code == 0, result.output
    refined = json.loads((tmp_path / "refined.json").read_text())
    assert sum(record["image_id"] == "film_10.jpg" for record in refined) == 2
    assert "filled in" in result.output and "not filled in" not in result.output


def test_frames_that_are_not_numbered_are_refused_over_time_or_not(
    frames: Path, command: Callable[..., Result]
) -> None:
    (frames / "000004.png").rename(frames / "last.png")
    for temporal in ("auto", "off"):
        result = command("--fps", 30, "--temporal", temporal)
        assert result.exit_code == 2 and "do not all end in different numbers" in result.stderr


def test_annotations_whose_ids_are_no_frame_numbers_are_refused(
    people: People, command: Callable[..., Result], tmp_path: Path
) -> None:
    people.areas[:] = 1e4
    write_annotations(tmp_path / "truth.json", people, images=FRAMES)
    truth = json.loads((tmp_path / "truth.json").read_text())
    for image in truth["images"]:
        image["file_name"] = f"{image['id']:06d}.png"
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    measured = command("--fps", 30, "--annotations", tmp_path / "truth.json")
    assert measured.exit_code == 0 and "AP before" in measured.output, measured.output
    truth["images"][3]["file_name"] = "000013.png"
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    refused = command("--fps", 30, "--annotations", tmp_path / "truth.json")
    assert refused.exit_code == 2 and "is 000013.png: with --fps, ids must be frame numbers" in refused.stderr


def test_another_frame_rate_is_another_run(frames: Path, command: Callable[..., Result]) -> None:
    whole = (frames / "000020.png").read_bytes()
    (frames / "000020.png").write_bytes(whole[:100])
    assert command("--fps", 30, "--test_batch", 4).exit_code == 2
    (frames / "000020.png").write_bytes(whole)
    assert "is of another run" in command("--fps", 25, "--test_batch", 4, "--resume").stderr
    assert command("--fps", 30, "--test_batch", 4, "--resume").exit_code == 0


def test_live_the_answers_are_those_of_the_past_alone(motion: Path, rng: np.random.Generator) -> None:
    network = TrackDenoiser.from_pretrained(motion).network
    for weights in network.parameters():
        weights.data += 0.02 * torch.randn_like(weights)
    track = np.concatenate(
        [rng.normal(0, 2, (40, 17, 2)) + 100 + 40 * rng.random((1, 17, 2)), np.ones((40, 17, 1))], -1
    )
    for latency in (0, 3):
        live = OnlineDenoiser(network, 30, latency)
        whole = denoise_live(network, track, 30.0, latency)[..., :2]
        for frame in range(40):
            found, sure = live(np.array([7]), track[None, frame])
            if frame >= latency:
                np.testing.assert_allclose(found[0, :, :2], whole[frame - latency], atol=1e-3)
        assert ((sure > 0) & (sure <= 1)).all()
        changed = track.copy()
        changed[25:] += 5
        before, after = whole, denoise_live(network, changed, 30.0, latency)[..., :2]
        np.testing.assert_array_equal(before[: 25 - latency], after[: 25 - latency])
        assert (before[25 - latency] != after[25 - latency]).any()
    for latency in (-1, 1.0, 1.5, 64):
        with pytest.raises(InputError, match="latency"):
            OnlineDenoiser(network, 30, latency)
    for shape in ((1, 16, 3), (1, 17, 2), (17, 3)):
        with pytest.raises(InputError, match="keypoints must be"):
            live(np.zeros(1), np.ones(shape))


def test_live_refinement_takes_people_as_they_come_and_go(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    online = OnlineRefiner(refiner, 30, motion, RefineSettings(batch_size=4, workers=1, flip_test=False))
    for index, frame in VideoFrames(film):
        here = people[people.image_ids == index]
        poses = np.concatenate([here.keypoints, here.scores[..., None]], axis=-1)
        found = online(frame, poses if index != 20 else poses[:0])
        assert found.shape == (len(here) if index != 20 else 0, 17, 3)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[..., 2], poses[: len(found), :, 2])


def test_live_refinement_takes_people_of_other_skeletons(
    people: People, film: Path, motion: Path, refiner: Refiner
) -> None:
    settings = RefineSettings(batch_size=4, workers=1, flip_test=False)
    arrays, objects = (OnlineRefiner(refiner, 30, motion, settings) for _ in range(2))
    halpe = load("halpe26")
    for index, frame in islice(VideoFrames(film), 3):
        here = people[people.image_ids == index]
        given = here.to_skeleton(halpe)
        given.keypoints[:, 17:], given.scores[:, 17:] = 7, 0.7
        found = objects(frame, given)
        np.testing.assert_array_equal(found.to_skeleton(here.skeleton).xyc, arrays(frame, here.xyc))
        np.testing.assert_array_equal(found.keypoints[:, 17:], 7)
    with pytest.raises(InputError, match="latency of 0"):
        OnlineRefiner(refiner, 30, motion, settings, latency=1)(frame, given)


def test_live_the_answer_may_come_later(people: People, film: Path, motion: Path, refiner: Refiner) -> None:
    settings = RefineSettings(batch_size=4, workers=1, flip_test=False)
    at_once, later = (OnlineRefiner(refiner, 30, motion, settings, latency) for latency in (0, 2))
    answers = []
    for index, frame in VideoFrames(film):
        pose = people.keypoints[:1] + 3 * index
        pose = np.concatenate([pose, np.full((1, 17, 1), 0.2 + 0.01 * index)], axis=-1)
        answers.append((at_once(frame, pose), later(frame, pose)))
        if index == 12:
            break
    now, ago = (np.stack(found)[:, 0] for found in zip(*answers, strict=True))
    np.testing.assert_array_equal(ago[2:, :, 2], now[:-2, :, 2])
    shift = np.linalg.norm(ago[2:, :, :2] - now[:-2, :, :2], axis=-1).mean()
    assert 0 < shift < np.linalg.norm(ago[2:, :, :2] - now[2:, :, :2], axis=-1).mean()


def test_live_who_has_no_estimate_is_handed_through(people: People, film: Path, motion: Path, refiner: Refiner) -> None:
    online = OnlineRefiner(refiner, 30, motion, RefineSettings(batch_size=4, workers=1, flip_test=False))
    frame = VideoFrames(film)[0]
    here = people[people.image_ids == 0]
    pose = np.concatenate([here.keypoints, here.scores[..., None]], axis=-1)[0]
    nobody = np.full((17, 3), (5.0, 6.0, 0.0))
    np.testing.assert_array_equal(online(frame, nobody[None]), [nobody])
    found = online(frame, np.stack([nobody, pose]))
    np.testing.assert_array_equal(found[0], nobody)
    assert (found[1] != nobody).all()
    lost = pose.copy()
    lost[3], lost[4, 2] = (np.nan, np.nan, 0.9), np.nan
    found = online(frame, lost[None])
    assert np.isfinite(found).all() and (found[0, 3:5, 2] == 0).all()
    assert np.isfinite(online(frame, pose[None])).all()
    for track_ids in ([3, 3], [3]):
        with pytest.raises(InputError, match="track_ids must be 2 different numbers"):
            online(frame, np.stack([pose, pose]), np.array(track_ids))
