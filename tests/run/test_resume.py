"""The whole command interrupted and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from posefix.run.journal import SUFFIX
from tests.refine_command import arguments, assert_clear, run
from tests.tiny import random_people, write_results

ROOT = Path(__file__).resolve().parents[2]


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
