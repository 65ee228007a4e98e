"""What cannot be used from Python ends in one sentence, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import posefix
from posefix.core.skeleton import load
from posefix.lifting.lift import Lifter, camera_of
from posefix.motion.network import MOTION
from posefix.motion.online import OnlineDenoiser
from posefix.motion.smoothing import filter_by, smooth_people
from posefix.motion.tracks import tracks_of
from posefix.refine.refiner import Refiner
from tests.motion_scenes import walk
from tests.tiny import tiny_checkpoint

NOBODY = posefix.People.empty(load("coco17"))
MEDIAN = filter_by("median", 6.0)
STANDING = walk((300, 200), (1, 0), 9)


def walker(keypoints: np.ndarray) -> posefix.People:
    """One person in nine frames."""
    return posefix.People(load("coco17"), keypoints, np.ones((9, 17)), np.arange(9), track_ids=np.ones(9))


MISUSES: dict[str, Callable[[Path], object]] = {
    "people must be posefix.People": lambda path: posefix.write(np.zeros((1, 17, 3)), path / "out.json"),
    "video must be posefix.VideoFrames": lambda path: posefix.refine_video(
        Refiner(tiny_checkpoint(), "cpu", engine="torch"), NOBODY, "film.mp4"
    ),
    "found NoneType": lambda path: posefix.refine_video(None, None, "film.mp4"),
    "fps must be a number above 0, got '30'": lambda path: OnlineDenoiser(MOTION.load(), "30"),
    "fps must be a number above 0, got 0": lambda path: tracks_of(NOBODY, fps=0),
    "fps must be a number above 0, got -3": lambda path: tracks_of(NOBODY, fps=-3),
    "fill must be .* got '3'": lambda path: smooth_people(NOBODY, MEDIAN, fill="3"),
    "fill must be .* got -1": lambda path: smooth_people(NOBODY, MEDIAN, fill=-1),
    "height must be a number above 0, got 0": lambda path: Lifter.from_pretrained(height=0),
    "height must be a number above 0, got -1": lambda path: Lifter.from_pretrained(height=-1),
    "the size of images must be": lambda path: camera_of(0, 0),
    "between 0.* fractions of the image": lambda path: smooth_people(walker(STANDING / 480), MEDIAN),
    "between 0.* and 0.* fractions of": lambda path: tracks_of(walker(STANDING / 480)),
    "between 0.*, fractions of the image": lambda path: Lifter.from_pretrained()(walker(STANDING / 480), 640, 480),
    "NaN or infinite": lambda path: smooth_people(walker(np.where(STANDING > 320, np.nan, STANDING)), MEDIAN),
    "is NaN or": lambda path: Lifter.from_pretrained()(walker(np.where(STANDING > 320, np.inf, STANDING)), 640, 480),
    "this lifter is for body25 poses, not coco17": lambda path: Lifter.from_pretrained(skeleton=load("body25"))(
        walker(STANDING), 640, 480
    ),
    r"got \(17, 3\); for one person, give keypoints\[None\]": lambda path: Lifter.from_pretrained()(
        walker(STANDING).xyc[0], 640, 480
    ),
    "field_of_view must be": lambda path: camera_of(640, 480, 180),
}


@pytest.mark.parametrize("message", MISUSES)
def test_a_misuse_is_one_sentence(message: str, tmp_path: Path) -> None:
    with pytest.raises(posefix.InputError, match=message) as error:
        MISUSES[message](tmp_path)
    assert "\n" not in str(error.value) and not any(tmp_path.iterdir())


def test_the_public_names_are_listed() -> None:
    assert set(posefix.__all__) <= set(dir(posefix))
