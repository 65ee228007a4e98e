"""The samples in ``tests/samples``, how to read them, and what it means that two are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from posefix import formats
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.formats import FORMATS, ImageIndex
from posefix.formats.coco import ImageRecord

SAMPLES = Path(__file__).parent / "samples"
EACH = [
    pytest.param(folder.name, path, id=f"{folder.name}-{path.name}")
    for folder in sorted(SAMPLES.iterdir())
    for path in sorted(folder.iterdir())
    if path.suffix != ".yaml"
]
WIDTH, HEIGHT = 640, 480
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{},:\s]+')
NUMBER = re.compile(r"[-+0-9.]")


def skeleton_of(name: str) -> Skeleton | None:
    """The skeleton that has to be brought with the samples of a format."""
    beside = SAMPLES / name / "skeleton.yaml"
    return load(beside) if beside.exists() else None


def index_of(name: str, path: Path) -> ImageIndex:
    """Images of one size with the names that a sample has for them."""
    content = FORMATS[name].read(path, skeleton_of(name), "stop")
    names = [str(key) if content.kind == "name" else f"{place}.png" for place, key in enumerate(content.images)]
    ids = content.images if content.kind == "index" else range(len(names))
    records = {i: ImageRecord(text, WIDTH, HEIGHT) for i, text in zip(ids, names, strict=True)}
    return ImageIndex(records, "the images")


def read(name: str, path: Path, images: ImageIndex | None = None) -> People:
    return formats.read(path, name, skeleton=skeleton_of(name), images=images or index_of(name, path))


def files_of(path: Path) -> dict[str, Path]:
    return {str(file.relative_to(path)): file for file in path.rglob("*")} if path.is_dir() else {"": path}


def assert_same_content(path: Path, other: Path) -> None:
    """The same files with the same bytes, or the same JSON values, of lines or of the whole."""

    def values(content: bytes, lines: bool) -> list:
        texts = content.splitlines() if lines else [content]
        return [json.loads(text, parse_constant=lambda c: c if c == "NaN" else float(c)) for text in texts]

    ours, theirs = files_of(path), files_of(other)
    assert ours.keys() == theirs.keys()
    for part, file in ours.items():
        content, written, lines = file.read_bytes(), theirs[part].read_bytes(), file.suffix == ".jsonl"
        assert content == written or values(content, lines) == values(written, lines), part


def changes(path: Path, other: Path) -> list[tuple[str, str]]:
    """The words and numbers that are others in files of the same form: before and after."""
    ours, theirs = files_of(path), files_of(other)
    assert ours.keys() == theirs.keys()
    pairs = [
        pair
        for part, file in ours.items()
        for pair in zip(*(WORD.findall(f.read_text()) for f in (file, theirs[part])), strict=True)
    ]
    return [(old, new) for old, new in pairs if old != new and not (NUMBER.match(old) and float(old) == float(new))]


def assert_same_people(people: People, other: People) -> None:
    for column in ("keypoints", "scores", "image_ids", "boxes", "person_scores"):
        np.testing.assert_array_equal(getattr(people, column), getattr(other, column), err_msg=column)
    assert people.skeleton == other.skeleton


def with_images(people: People, *names: str) -> People:
    """The same people of images whose names and sizes are known; ``names`` are those of the images 0, 1, ..."""
    named = enumerate(names) if names else ((i, f"{i:012d}.jpg") for i in np.unique(people.image_ids).tolist())
    known = {i: ImageRecord(name, WIDTH, HEIGHT) for i, name in named}
    people.source = formats.Source(FORMATS["coco"], None, known)
    return people


def drawn_photos(folder: Path, names: list[str], orientation: int = 1) -> Path:
    """Photos of 640 x 480 pixels as they are seen; stored lying on their side if the EXIF orientation says so."""
    rng = np.random.default_rng(3)
    for name in names:
        photo = cv2.resize(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        stored = np.ascontiguousarray(np.rot90(photo)) if orientation == 6 else photo
        exif = Image.Exif()
        exif[0x112] = orientation
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored).save(folder / name, exif=exif, quality=95)
    return folder
