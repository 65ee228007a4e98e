"""The demo: its annotations fit the photographs, and its experiment measures what it says."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from posefix.core.files import read_json
from posefix.demo import ANNOTATIONS, CREDITS, FOLDER, load_photos
from posefix.demo.__main__ import Poses, demonstrate, erroneous, main, measure, median_draws
from posefix.evaluation.diagnosis import count_moves
from posefix.media.images import decode
from synth import ErrorType, Statistics

TRUTH, IMAGES = load_photos()
PEOPLE = pytest.mark.parametrize("person", range(len(TRUTH)), ids=[r["label"] for r in TRUTH.extra])


class Oracle:
    """Moves every keypoint the given share of the way to the truth."""

    def __init__(self, share: float) -> None:
        self.share = share

    def refine(self, people, images):
        truth = np.repeat(TRUTH.keypoints, len(people) // len(TRUTH), axis=0)
        return people.with_keypoints(people.keypoints + np.float32(self.share) * (truth - people.keypoints))


def trial(share: float, seed: int = 0, draws: int = 6) -> tuple[Poses, Poses]:
    given = erroneous(TRUTH, Statistics.load("posefix"), draws, np.random.default_rng(seed))
    return tuple(measure(people.keypoints, TRUTH) for people in (given, Oracle(share).refine(given, {})))


def moves(before: Poses, after: Poses) -> np.ndarray:
    return count_moves(before.types, after.types)


@PEOPLE
def test_keypoints_lie_inside_the_image_and_the_box(person):
    points, labelled = TRUTH.keypoints[person], TRUTH.labelled[person]
    x, y, w, h = TRUTH.boxes[person]
    height, width = IMAGES[int(TRUTH.image_ids[person])].shape[:2]
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
    content, notice = read_json(ANNOTATIONS), (FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    assert set(IMAGES) == set(TRUTH.image_ids.tolist())
    assert tuple(content["categories"][0]["keypoints"]) == TRUTH.skeleton.keypoint_names
    for image in content["images"]:
        assert IMAGES[image["id"]].shape == (image["height"], image["width"], 3)
        assert f"`{image['file_name']}`" in notice and image["credit"] in CREDITS
    pictures = {path.name for path in FOLDER.glob("*.jpg")}
    assert pictures == {image["file_name"] for image in content["images"]}
    assert all((FOLDER / name).stat().st_size <= 120_000 for name in pictures)


def test_perfect_refiner_scores_one_and_idle_refiner_changes_nothing():
    perfect, idle = trial(1.0), trial(0.0)
    np.testing.assert_allclose(perfect[1].oks, 1, atol=1e-6)
    assert moves(*perfect)[:, 1:].sum() == 0
    np.testing.assert_array_equal(idle[0].oks, idle[1].oks)
    assert np.all(moves(*idle) == np.diag(np.diag(moves(*idle))))
    assert 0.5 < idle[0].oks.mean() < 0.95


def test_nearer_poses_measure_better():
    results = [trial(share)[1] for share in (0.0, 0.5, 0.9)]
    assert np.all(np.diff([r.oks.mean() for r in results]) > 0)


def test_transitions_count_each_annotated_keypoint_once():
    counts = moves(*trial(0.5, draws=4))
    assert counts.sum() == 4 * TRUTH.labelled.sum()
    assert np.all(counts[ErrorType.JITTER, ErrorType.MISS :] == 0)


def test_refiner_is_told_nothing_but_the_drawn_poses():
    given = erroneous(TRUTH, Statistics.load("posefix"), 3, np.random.default_rng(0))
    assert not given.boxes.any() and not given.areas.any()
    np.testing.assert_array_equal(given.labelled, np.repeat(TRUTH.labelled, 3, axis=0))


def test_same_seed_same_draws():
    np.testing.assert_array_equal(trial(0.5, seed=3)[0].keypoints, trial(0.5, seed=3)[0].keypoints)
    assert np.any(trial(0.5, seed=3)[0].keypoints != trial(0.5, seed=4)[0].keypoints)


@pytest.mark.parametrize("draws", [1, 4, 7])
def test_the_draw_that_is_shown_is_the_median_one(draws, rng):
    before, after = rng.random((2, 5, draws))
    empty = np.zeros((5, draws, 17))
    chosen = median_draws(*(Poses(empty, oks, empty) for oks in (before, after)))
    change = after - before
    picked = change[np.arange(5), chosen]
    np.testing.assert_allclose(picked, np.quantile(change, 0.5, axis=1, method="lower"))


def test_command_writes_the_picture_and_says_what_became_of_the_errors(tmp_path):
    console = Console(record=True, width=120)
    out = tmp_path / "new" / "folder"
    made, refined = demonstrate(console, Oracle(0.5), out, seed=0, draws=3)
    assert decode(out / "before_after.png").shape[1] == 1600
    text = console.export_text()
    assert f"{made.oks.mean():.3f}" in text and f"{refined.oks.mean():.3f}" in text
    counts = moves(made, refined)
    good = counts[ErrorType.JITTER, ErrorType.GOOD] / counts[ErrorType.JITTER].sum()
    line = next(line for line in text.splitlines() if "Jitter" in line)
    assert f"{counts[ErrorType.JITTER].sum() / counts.sum():.1%}" in line and f"{good:.1%}" in line


def test_command_says_in_one_sentence_what_is_wrong(tmp_path):
    result = CliRunner().invoke(main, ["--out", str(tmp_path), "--checkpoint", "none.safetensors"])
    assert result.exit_code == 2 and "none.safetensors" in result.output and "Traceback" not in result.output
