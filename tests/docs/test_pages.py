"""The pages are true: every command of ours in them runs, on a sample of the estimator's files."""

from __future__ import annotations

import json
import pydoc
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from posefix import formats
from posefix.cli.main import main
from posefix.core.skeleton import load
from posefix.formats import FORMATS, ImageIndex
from posefix.formats.coco import ImageRecord

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "estimators").glob("*.md"))
GENERAL = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("index", "refine", "video", "diagnose"))]
SAMPLE = re.compile(r"<!-- sample: (\S+) as (\S+) -->")  # which sample a page's commands run on, and what they call it
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
WIDTH, HEIGHT = 640, 480


def commands_of(page: Path) -> list[list[str]]:
    """What follows ``posefix`` in the shell blocks of a page, without comments, as lists of words."""
    text = "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    return [words[1:] for line in text.splitlines() if (words := shlex.split(line, comments=True))[:1] == ["posefix"]]


def prepare(page: Path, folder: Path) -> None:
    """Lay out what the commands of a page expect: the results, photos, a film, ground truth, a skeleton."""
    for sample, called in SAMPLE.findall(page.read_text(encoding="utf-8")):
        source = ROOT / "tests" / "samples" / sample
        name, target = sample.split("/")[0], folder / called
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        if called == "results.json":
            shutil.copy(source, folder / "refined.json")
        skeleton = source.parent / "skeleton.yaml"
        if skeleton.exists():
            shutil.copy(skeleton, folder / "skeleton.yaml")
        content = FORMATS[name].read(source, load(skeleton) if skeleton.exists() else None, "stop")
        names = [picture_name(content, place) for place in range(len(content.images))]
        rng = np.random.default_rng(0)
        for text in names:
            (folder / "photos" / text).parent.mkdir(parents=True, exist_ok=True)
            noise = cv2.resize(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8), (WIDTH, HEIGHT))
            cv2.imwrite(str(folder / "photos" / text), noise)
        ids = range(len(names)) if content.kind == "name" else content.images
        records = {i: ImageRecord(text, WIDTH, HEIGHT) for i, text in zip(ids, names, strict=True)}
        index = ImageIndex(records, "the photos")
        people = formats.read(source, name, skeleton=content.skeleton, images=index).to_skeleton(load("coco17"))
        formats.write(people, folder / "truth.json", "coco-annotations")
        writer = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
        for _ in range(30):
            writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        writer.release()


def picture_name(content: formats.ParsedFile, place: int) -> str:
    key = content.images[place]
    name = content.listed[place].file_name if content.listed else str(key) if content.kind == "name" else f"{key:06d}"
    return name if Path(name).suffix in (".jpg", ".png") else f"{name}.jpg"


def test_every_format_has_a_page() -> None:
    shown = {sample.split("/")[0] for page in PAGES for sample, _ in SAMPLE.findall(page.read_text(encoding="utf-8"))}
    assert set(FORMATS) - {"coco-annotations", "mmpose-results"} <= shown | {
        name for page in PAGES for name in FORMATS if f"`{name}`" in page.read_text(encoding="utf-8")
    }


@pytest.mark.parametrize("page", [*PAGES, *GENERAL], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = commands_of(page)
    assert commands
    for command in commands:
        engine = ["--engine", "torch"] if command[0] == "refine" else []  # which needs not be compiled for each run
        run = CliRunner().invoke(main, [*command, *engine])
        assert run.exit_code == 0, f"{command}: {run.output}"
        if "--out" in command:
            assert (tmp_path / option(command, "--out")).exists()
        if "--annotations" in command and command[0] == "refine":
            assert "gain" in run.output
        if "--out" in command and command[0] == "refine":
            assert_same_format(Path(option(command, "--detection_json")), Path(option(command, "--out")), command)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def assert_same_format(given: Path, out: Path, command: list[str]) -> None:
    named = option(command, "--format") if "--format" in command else "auto"
    assert FORMATS[formats.format_of(out, named)].read is FORMATS[formats.format_of(given, named)].read
    if given.is_file() and out.suffix == ".json":
        assert type(json.loads(given.read_text())) is type(json.loads(out.read_text()))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.stem
)
def test_every_name_of_ours_on_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`((?:posefix|synth)\.[a-z_]+\.[\w.]+)`", text)
    for module, imported in re.findall(r"^from ((?:posefix|synth)[\w.]*) import (.*)$", text, re.MULTILINE):
        names += [f"{module}.{name.split()[0]}" for name in imported.split(",")]
    assert not [name for name in names if pydoc.locate(name) is None]
