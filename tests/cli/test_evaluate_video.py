"""``posefix evaluate --video``: files or folders of annotated videos are measured and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from posefix import formats
from posefix.cli.evaluate import evaluate
from posefix.formats.coco import ImageRecord
from posefix.motion.measures import RATIOS
from tests.motion_scenes import video, walk


@pytest.fixture
def folders(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two annotated videos of a person, noisy results and better ones, each in a folder."""
    for folder in ("truth", "raw", "better"):
        (tmp_path / folder).mkdir()
    for name in ("run", "walk"):
        real = walk((80, 200), (5, 0), 20)
        truth = video({1: real}, rng, noise=0)
        truth.boxes[:] = (0, 0, 100, 200)
        formats.write(truth, tmp_path / "truth" / f"{name}.json", "coco-annotations")
        for folder, noise in (("raw", 9), ("better", 1)):
            formats.write(video({1: real}, rng, noise), tmp_path / folder / f"{name}.json")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, ["--video", *map(str, arguments)])


def test_folders_of_videos_are_compared(folders: Path) -> None:
    chosen = (folders / "raw", folders / "better", "--annotations", folders / "truth")
    gain = json.loads(run(*chosen, "--json").stdout)["gain"]
    assert gain["position_error_high"] < 0 < gain["pck05_low"] and gain["smooth_acceleration_error_high"] < 0
    assert "position_error" in run(*chosen).output


def test_one_video_is_measured(folders: Path) -> None:
    found = run(folders / "raw" / "run.json", "--annotations", folders / "truth" / "run.json", "--json")
    assert set(json.loads(found.stdout)) == {*RATIOS, "AP", "identity_switches"}
    assert "jerk, %/frame^3 " in run(folders / "raw", "--annotations", folders / "truth").output


def test_of_one_video_no_interval_is_expected(folders: Path) -> None:
    reason = "no intervals: they need more than one video"
    one = [folders / name / "run.json" for name in ("raw", "better", "truth")]
    compared = run(*one[:2], "--annotations", one[2]).output
    assert reason in compared and "position_error, %" in compared
    assert reason not in run(folders / "raw", folders / "better", "--annotations", folders / "truth").output
    assert reason not in run(folders / "raw", folders / "raw", "--annotations", folders / "truth").output


def test_what_is_missing_is_said(folders: Path) -> None:
    (folders / "raw" / "walk.json").unlink()
    result = run(folders / "raw", "--annotations", folders / "truth")
    assert result.exit_code == 2 and "no results of 1 of the 2 videos" in result.output and "walk" in result.output
    result = run(folders / "better" / "run.json", "--annotations", folders / "truth")
    assert result.exit_code == 2 and "is not a folder" in result.output
    result = run(folders / "better", "--annotations", folders / "truth" / "run.json")
    assert result.exit_code == 2 and "give folders in both places, or files in both" in result.output
    poses = formats.read(folders / "better" / "run.json")
    poses.source = formats.Source(formats.FORMATS["openpose"], None, {i: ImageRecord(f"{i}") for i in range(20)})
    formats.write(poses, folders / "poses")
    (folders / "poses" / "3_keypoints.json").write_text("{")
    result = run(folders / "poses", "--annotations", folders / "truth" / "run.json")
    assert result.exit_code == 2 and "give folders" not in result.output and "3_keypoints" in result.output
