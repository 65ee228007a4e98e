"""The demo: its annotations fit the photographs, and its experiment measures what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from posefix.core.errors import InputError
from posefix.core.files import read_json
from posefix.demo import photos as demo_photos
from posefix.demo.experiment import Poses, Trial, interval, run_trial
from posefix.media.images import decode
from synth import ErrorType, Statistics

PHOTOS, TRUTH = demo_photos.annotated_photos()
BY_ID = {photo.image_id: photo for photo in PHOTOS}
PEOPLE = pytest.mark.parametrize("person", range(len(TRUTH)), ids=[r["label"] for r in TRUTH.extra])


def installed(photo):
    """The file of a photograph; skips the test where its package is not installed."""
    try:
        metadata.distribution(photo.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{photo.package} is not installed")
    return demo_photos.locate(photo)


class Oracle:
    """Moves every keypoint the given share of the way to the truth, and remembers what it was given."""

    def __init__(self, share: float) -> None:
        self.share = share

    def refine(self, people, images):
        self.given = people
        truth = np.repeat(TRUTH.keypoints, len(people) // len(TRUTH), axis=0)
        return people.with_keypoints(people.keypoints + np.float32(self.share) * (truth - people.keypoints))


def trial(share: float, seed: int = 0, draws: int = 6) -> Trial:
    return run_trial(TRUTH, {}, Oracle(share), Statistics.load("posefix"), draws, np.random.default_rng(seed))


@PEOPLE
def test_keypoints_lie_inside_the_image_and_the_box(person):
    points, labelled = TRUTH.keypoints[person], TRUTH.labelled[person]
    x, y, w, h = TRUTH.boxes[person]
    width, height = BY_ID[int(TRUTH.image_ids[person])].size
    assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
    assert np.all((points[labelled] >= [x, y]) & (points[labelled] <= [x + w, y + h]))
    assert np.all(points[~labelled] == 0)
    assert set(TRUTH.scores[person]) <= {0, 1, 2}
    assert TRUTH.extra[person]["num_keypoints"] == labelled.sum()


@PEOPLE
def test_left_and_right_are_the_persons_own(person):
    """Who shows both ears faces the camera: their left is on the right. Who shows one ear looks away from it."""
    sk, points, labelled = TRUTH.skeleton, TRUTH.keypoints[person], TRUTH.labelled[person]
    left = np.array([i for i, name in enumerate(sk.keypoint_names) if name.startswith("left_")])
    right = sk.flip[left]
    ears = labelled[[sk.index("left_ear"), sk.index("right_ear")]]
    if ears.all():
        both = labelled[left] & labelled[right]
        assert np.all(points[left[both], 0] > points[right[both], 0])
    else:
        ear = sk.index("left_ear" if ears[0] else "right_ear")
        assert (points[sk.index("nose"), 0] < points[ear, 0]) == ears[0]


@PEOPLE
def test_limbs_are_of_human_length(person):
    limbs = TRUTH.skeleton.limbs[TRUTH.labelled[person][TRUTH.skeleton.limbs].all(1)]
    ends = TRUTH.keypoints[person][limbs]
    assert np.all(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1) < 1.2 * np.sqrt(TRUTH.areas[person]))


def test_every_photo_has_people_and_says_whose_it_is():
    assert set(BY_ID) == set(TRUTH.image_ids.tolist())
    assert all(photo.credit and photo.license and photo.requirement for photo in PHOTOS)
    names = read_json(demo_photos.ANNOTATIONS)["categories"][0]["keypoints"]
    assert tuple(names) == TRUTH.skeleton.keypoint_names


@pytest.mark.parametrize("photo", PHOTOS, ids=[p.title for p in PHOTOS])
def test_installed_file_is_the_one_that_was_annotated(photo):
    installed(photo)
    image = demo_photos.read_photo(photo)
    assert image.dtype == np.uint8 and image.shape == (photo.size[1], photo.size[0], 3)


def test_a_file_that_changed_is_refused():
    photo = PHOTOS[0]
    installed(photo)
    with pytest.raises(InputError, match="not the file that was annotated"):
        demo_photos.locate(replace(photo, sha256="0" * 64))


def test_video_frame_is_the_one_asked_for(tmp_path):
    path = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for level in range(0, 250, 50):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    assert abs(demo_photos._read_frame(path, 3).mean() - 150) < 5
    with pytest.raises(InputError, match="frame 5"):
        demo_photos._read_frame(path, 5)


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(demo_photos.metadata, "distribution", nothing)
    for photo in PHOTOS:
        with pytest.raises(InputError, match=f"{photo.package}.*pip install {photo.requirement}"):
            demo_photos.locate(photo)
    with pytest.raises(InputError, match="none of the demo's photographs"):
        demo_photos.load_photos()


def test_what_is_missing_leaves_the_rest(monkeypatch):
    def only_skimage(photo):
        if photo.package == "scikit-image":
            return np.zeros((*photo.size[::-1], 3), np.uint8)
        raise InputError(f"no {photo.package}")

    monkeypatch.setattr(demo_photos, "read_photo", only_skimage)
    photos, people, images, problems = demo_photos.load_photos()
    assert {photo.package for photo in photos} == {"scikit-image"}
    assert set(people.image_ids.tolist()) == set(images) == {photo.image_id for photo in photos}
    assert len(problems) == len(PHOTOS) - len(photos)


def test_perfect_refiner_scores_one_and_idle_refiner_changes_nothing():
    perfect, idle = trial(1.0), trial(0.0)
    np.testing.assert_allclose(perfect.after.oks, 1, atol=1e-6)
    assert perfect.transitions()[:, 1:].sum() == 0 and perfect.after.share_within(1e-6) == 1
    np.testing.assert_array_equal(idle.before.oks, idle.after.oks)
    assert np.all(idle.transitions() == np.diag(np.diag(idle.transitions())))
    assert 0.5 < idle.before.oks.mean() < 0.95


def test_nearer_poses_measure_better():
    results = [trial(share).after for share in (0.0, 0.5, 0.9)]
    assert np.all(np.diff([r.oks.mean() for r in results]) > 0)
    assert np.all(np.diff([r.share_within(0.05) for r in results]) > 0)


def test_transitions_count_each_annotated_keypoint_once():
    counts = trial(0.5, draws=4).transitions()
    assert counts.sum() == 4 * TRUTH.labelled.sum()
    assert np.all(counts[ErrorType.JITTER, ErrorType.MISS :] == 0)


def test_refiner_is_told_nothing_but_the_drawn_poses():
    oracle = Oracle(0.0)
    run_trial(TRUTH, {}, oracle, Statistics.load("posefix"), 3, np.random.default_rng(0))
    assert not oracle.given.boxes.any() and not oracle.given.areas.any()
    np.testing.assert_array_equal(oracle.given.labelled, np.repeat(TRUTH.labelled, 3, axis=0))


def test_same_seed_same_draws():
    np.testing.assert_array_equal(trial(0.5, seed=3).before.keypoints, trial(0.5, seed=3).before.keypoints)
    assert np.any(trial(0.5, seed=3).before.keypoints != trial(0.5, seed=4).before.keypoints)


@pytest.mark.parametrize("draws", [1, 4, 7])
def test_the_draw_that_is_shown_is_the_median_one(draws, rng):
    before, after = rng.random((2, 5, draws))
    empty = np.zeros((5, draws, 17))
    chosen = Trial(*(Poses(empty, oks, empty, empty) for oks in (before, after))).median_draws()
    change = after - before
    picked = change[np.arange(5), chosen]
    np.testing.assert_allclose(picked, np.quantile(change, 0.5, axis=1, method="lower"))


def test_interval_holds_the_mean_and_ignores_differences_between_people(rng):
    values = rng.normal([[0.0], [10.0]], 1.0, (2, 200))
    low, high = interval(values, rng)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.2)
    constant = np.broadcast_to([[0.25], [0.75]], (2, 9))
    assert interval(constant, rng) == (0.5, 0.5)


@pytest.fixture
def command(monkeypatch):
    """The demo command with every photograph grey and a refiner that goes half of the way."""
    from posefix.refine.refiner import Refiner
    from tools import demo

    grey = {i: np.full((*photo.size[::-1], 3), 128, np.uint8) for i, photo in BY_ID.items()}
    monkeypatch.setattr(demo, "load_photos", lambda: (PHOTOS, TRUTH, grey, []))
    monkeypatch.setattr(Refiner, "from_pretrained", lambda *_, **__: Oracle(0.5))
    return demo.main


def test_command_writes_picture_and_numbers(command, tmp_path):
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "new" / "folder"), "--draws", "3"])
    assert result.exit_code == 0, result.output
    picture = decode(tmp_path / "new" / "folder" / "before_after.png")
    assert picture.shape[1] == 1600 and np.all(picture[0] == 255)
    numbers = json.loads((tmp_path / "new" / "folder" / "numbers.json").read_text())
    means = {name: value["mean"] for name, value in numbers["OKS"].items()}
    assert means["gain"] == pytest.approx(means["after"] - means["before"]) and means["gain"] > 0.05
    for shares in numbers["errors"].values():
        assert sum(shares.values()) == pytest.approx(1)
    assert f"{means['before']:.3f}" in result.output


def test_command_says_in_one_sentence_what_is_wrong(command, tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "file")])
    assert result.exit_code == 2 and "cannot be made" in result.output and "Traceback" not in result.output
