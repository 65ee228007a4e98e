"""What is not installed is said in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from posefix import InputError
from posefix.core.errors import require


def test_an_installed_module_is_returned() -> None:
    assert require("json.decoder", "any", "a test").JSONDecoder is not None


def test_a_missing_module_is_named_with_its_extra() -> None:
    with pytest.raises(InputError, match=r'^a report needs no_such_module, .*repository: pip install "\.\[report\]"$'):
        require("no_such_module.part", "report", "a report")


def printed(program: str) -> str:
    """What a program prints, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("missing", "imported", "called", "sentence"),
    [
        ("cv2", "posefix", "Refiner", "PoseFix needs OpenCV 4.8 or newer"),
        ("albumentations", "posefix.training.data.augment", "Appearance(None)", 'pip install ".[train]"'),
    ],
)
def test_what_is_missing_is_said(missing: str, imported: str, called: str, sentence: str) -> None:
    program = f"""
import sys
from posefix import InputError
sys.modules[{missing!r}] = None  # importing it raises ModuleNotFoundError
import {imported}
try:
    {imported}.{called}
except InputError as error:
    print(error)
"""
    assert sentence in printed(program)


def test_refining_imports_nothing_that_an_extra_installs() -> None:
    program = """
import sys
import posefix.cli
import posefix.run.local
import posefix.training.train
print(sorted({"albumentations", "matplotlib", "jinja2", "onnx", "scipy", "av", "pandas"} & set(sys.modules)))
"""
    assert printed(program) == "[]"
