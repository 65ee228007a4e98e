"""Photographs of people in installed packages, and the keypoints annotated on them by hand (``people.json``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_bytes, read_json
from posefix.core.people import People
from posefix.formats.coco import read_annotations
from posefix.media.images import decode
from posefix.media.video import VideoFrames

ANNOTATIONS = Path(__file__).with_name("people.json")
VIDEO_SUFFIXES = frozenset({".mp4"})


@dataclass(frozen=True)
class Photo:
    """One annotated photograph, or one frame of a video.

    Attributes:
        image_id: its id in the annotations.
        package: the distribution whose file it is.
        requirement: what ``pip install`` wants to hear to get that distribution.
        file_name: path of the file below the folder that packages are installed in.
        sha256: of the file, in hexadecimal.
        frame: number of the frame in a video, counted from 0; None for a picture.
        size: (width, height), pixels.
        title, credit, license: what it shows, whose it is, under which licence.
    """

    image_id: int
    package: str
    requirement: str
    file_name: str
    sha256: str
    frame: int | None
    size: tuple[int, int]
    title: str
    credit: str
    license: str


def annotated_photos(path: Path = ANNOTATIONS) -> tuple[list[Photo], People]:
    """All photographs of the annotation file and the people on them, whether or not the packages are installed.

    The people carry COCO's visibility as scores, and what they are called in ``extra[i]["label"]``.
    """
    content = read_json(path)
    licenses = {entry["id"]: entry["name"] for entry in content["licenses"]}
    photos = [
        Photo(
            image_id=image["id"],
            size=(image["width"], image["height"]),
            license=licenses[image["license"]],
            **{k: image[k] for k in ("package", "requirement", "file_name", "sha256", "frame", "title", "credit")},
        )
        for image in content["images"]
    ]
    return photos, read_annotations(path).people


def locate(photo: Photo) -> Path:
    """The installed file of a photograph.

    Raises:
        InputError: the package is not installed, or its file is missing or another one than was annotated.
    """
    remedy = f"install it with: pip install {photo.requirement}"
    try:
        path = Path(str(metadata.distribution(photo.package).locate_file(photo.file_name)))
    except metadata.PackageNotFoundError:
        raise InputError(f"the package {photo.package}, which ships {photo.file_name}, is missing; {remedy}") from None
    if not path.is_file():
        raise InputError(f"{path}: the installed {photo.package} does not ship this file; {remedy}")
    if hashlib.sha256(read_bytes(path)).hexdigest() != photo.sha256:
        raise InputError(f"{path}: not the file that was annotated (its sha256 is another); {remedy}")
    return path


def read_photo(photo: Photo) -> np.ndarray:
    """(H, W, 3) uint8 RGB pixels of a photograph.

    Raises:
        InputError: as :func:`locate`, or the file cannot be decoded.
    """
    path = locate(photo)
    image = decode(path) if path.suffix not in VIDEO_SUFFIXES else _read_frame(path, photo.frame or 0)
    if image.shape[1::-1] != photo.size:
        expected, found = ("x".join(map(str, size)) for size in (photo.size, image.shape[1::-1]))
        raise InputError(f"{path}: {found} pixels, but {expected} were annotated")
    return image


def _read_frame(path: Path, number: int) -> np.ndarray:
    """One frame of a video, reached by decoding from the start: seeking is not exact in every build of OpenCV."""
    frame = next((frame for index, frame in VideoFrames(path) if index == number), None)
    if frame is None:
        raise InputError(f"{path}: frame {number} of the video cannot be decoded")
    return frame


def load_photos() -> tuple[list[Photo], People, dict[int, np.ndarray], list[str]]:
    """Whatever of the annotated photographs is installed here.

    Returns:
        The photographs, the people on them, the pixels by image id ((H, W, 3) uint8 RGB), and for each photograph that
        could not be had the sentence that says why.

    Raises:
        InputError: when none can be had.
    """
    photos, people = annotated_photos()
    images: dict[int, np.ndarray] = {}
    problems: list[str] = []
    for photo in photos:
        try:
            images[photo.image_id] = read_photo(photo)
        except InputError as problem:
            problems.append(str(problem))
    if not images:
        raise InputError(f"none of the demo's photographs can be had here: {problems[0]}")
    found = [photo for photo in photos if photo.image_id in images]
    return found, people[np.isin(people.image_ids, list(images))], images, problems
