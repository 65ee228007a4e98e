"""The command line by way of Python."""

from __future__ import annotations

import subprocess
import sys

import posefix


def test_python_runs_the_package() -> None:
    command = [sys.executable, "-m", "posefix", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["posefix,", "version", posefix.__version__]
