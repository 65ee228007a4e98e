"""Decode images into RGB arrays, and find the file of an ``image_id``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from pathlib import Path

import numpy as np

from posefix.core.errors import InputError
from posefix.core.files import read_bytes
from posefix.core.people import People
from posefix.formats.coco import ImageRecord
from posefix.formats.images import EXTENSIONS, file_of, number_of, size_of
from posefix.media.opencv import cv2

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # begins a segment, or ends the image


def decode(path_or_bytes: str | Path | bytes, upright: bool = False) -> np.ndarray:
    """Decode an image to 8-bit RGB.

    Grey and palette images become colour, 16-bit ones keep their upper 8 bits, alpha is dropped.

    Args:
        path_or_bytes: an image file, or the bytes of one.
        upright: whether to rotate it by its EXIF data, which COCO ignores.

    Returns:
        (H, W, 3) uint8, RGB, in [0, 255].

    Raises:
        InputError: the file cannot be read, or is no image, or is cut off.
    """
    if isinstance(path_or_bytes, bytes):
        content, name = path_or_bytes, f"image of {len(path_or_bytes)} bytes"
    else:
        content, name = read_bytes(path_or_bytes), str(path_or_bytes)
    if not content:
        raise InputError(f"{name}: is empty, expected an image")
    try:
        flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{name}: cannot be decoded as an image ({error.err})") from None
    if image is None or _ends_early(content):
        raise InputError(f"{name}: cannot be decoded as an image; it is damaged, cut off, or of an unknown format")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _ends_early(content: bytes) -> bool:
    """Return whether a JPEG is truncated: OpenCV 4 decodes what is there and leaves the rest grey."""
    if not content.startswith(b"\xff\xd8"):
        return False
    position = 2
    while marker := _JPEG_MARKER.search(content, position):
        position, kind = marker.end(), content[marker.end() - 1]
        if kind == 0xD9:  # end of image
            return False
        position += int.from_bytes(content[position : position + 2], "big")  # skip the segment
    return True


def quiet_opencv() -> None:
    """Silence OpenCV's warnings about damaged images, which commands report themselves."""
    if hasattr(cv2, "setLogLevel"):  # in OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class ImageFolder:
    """Map image ids to the images of a folder.

    With ``images``, an id means the file that its record names, in the folder or, if it is not there, by its base name
    alone. Without, an id means the file whose name ends in that number, with any zero padding or prefix:
    ``COCO_val2014_000000000139.jpg`` and ``139.png`` are both image 139. Folders in it count if it has no such files.

    ``upright`` rotates images by their EXIF data, as most estimators do; COCO ignores EXIF.

    If the records give sizes, an image of another size raises an error, because coordinates of the records would mean
    other places in it; one that has its record's size only after the rotation by its EXIF data is rotated.

    Attributes:
        rotated: ids of images read so far that only their EXIF data rotate by 90 degrees, which was ignored.

    Raises:
        InputError: the folder does not exist or may not be read.
    """

    def __init__(
        self, folder: str | Path, images: Mapping[int, ImageRecord] | None = None, upright: bool = False
    ) -> None:
        self.folder, self._upright = Path(folder), upright
        self._images = images
        self.rotated: set[int] = set()
        if not os.path.isdir(self.folder):
            kind = "is a file" if os.path.exists(self.folder) else "does not exist"
            raise InputError(f"{folder}: {kind}, expected a folder of images")
        self._names = _numbered_names(self.folder) if images is None else {}

    @classmethod
    def of_people(cls, folder: str | Path, people: People, upright: bool = False) -> ImageFolder:
        """Find the images of people who were read from a file: by name if the file has names, else by number.

        Images found by name are upright; ``upright`` makes the others upright, too.
        """
        source = people.source
        by_number = source is None or source.format.kind == "id"
        if by_number and not (source and any(image.file_name for image in source.images.values())):
            return cls(folder, upright=upright)
        return cls(folder, source.images, upright=upright or not by_number)

    def __contains__(self, image_id: int) -> bool:
        return bool(self._candidates(image_id))

    def __getitem__(self, image_id: int) -> np.ndarray:
        """Decode an image (H, W, 3) uint8 RGB; InputError as :meth:`path`, :func:`decode`, or for another size."""
        path = self.path(image_id)
        image = decode(path, self._upright)
        record = self._images.get(image_id) if self._images is not None else None
        if record is None or record.width <= 0 or record.height <= 0:
            if not self._upright and size_of(path, upright=True) == image.shape[:2] != image.shape[1::-1]:
                self.rotated.add(image_id)
            return image
        (height, width), listed = image.shape[:2], (record.width, record.height)
        if _same_size((width, height), listed):
            return image
        if _same_size((height, width), listed):  # annotated as its EXIF data rotate it, or width and height exchanged
            return image if self._upright else decode(path, upright=True)
        raise InputError(
            f"{path}: has {width} x {height} pixels, but {listed[0]} x {listed[1]} in the annotations, so that poses "
            "would be looked for in the wrong place; give the images that were annotated, or take width and height out "
            "of the annotations if they are wrong"
        )

    def path(self, image_id: int) -> Path:
        """Find the file of an image; InputError when there is none, or several."""
        candidates = self._candidates(image_id)
        if len(candidates) > 1:
            names = " and ".join(sorted(p.relative_to(self.folder).as_posix() for p in candidates)[:2])
            raise InputError(f"{self.folder}: image_id {image_id} is claimed by {len(candidates)} files, {names}")
        if not candidates:
            if self._images is None:
                raise InputError(f"{self.folder}: no file name ends in the number of image_id {image_id}")
            record = self._images.get(image_id)
            what = "which the annotations do not list" if record is None else f"which is to be {record.file_name}"
            raise InputError(f"{self.folder}: no image for image_id {image_id}, {what}")
        return candidates[0]

    def name(self, image_id: int) -> str:
        """Return the path of an image relative to the folder; raises InputError as :meth:`path`."""
        return self.path(image_id).relative_to(self.folder).as_posix()

    def sizes(self, image_ids: np.ndarray) -> np.ndarray:
        """Return width and height (N, 2) float64 of images (N,), from records or file headers; NaN if unknown."""
        ids, inverse = np.unique(image_ids, return_inverse=True)
        return np.array([self._size(i) for i in ids.tolist()]).reshape(-1, 2)[inverse]

    def _size(self, image_id: int) -> tuple[float, float]:
        record = self._images.get(image_id) if self._images is not None else None
        if record is not None and record.width > 0 and record.height > 0:
            return record.width, record.height
        candidates = self._candidates(image_id)
        size = size_of(candidates[0], self._upright) if candidates else None
        return (np.nan, np.nan) if size is None else size

    def part(self, image_ids: list[int]) -> ImageFolder:
        """Restrict to some images, so that the object is small to send to another machine."""
        part = copy(self)
        part._names = {i: self._names[i] for i in image_ids if i in self._names}
        if self._images is not None:
            part._images = {i: self._images[i] for i in image_ids if i in self._images}
        return part

    def require(self, image_ids: Iterable[int]) -> None:
        """Raise InputError, with the number and the first five, if any of the ids has no image."""
        listed = "" if self._images is None else " that the annotations list"

        def describe(image_id: int) -> str:
            record = None if self._images is None else self._images.get(image_id)
            return f"{image_id} ({record.file_name})" if record and record.file_name else str(image_id)

        require_all(image_ids, self.__contains__, self.folder, f"have no image here{listed}", describe)

    def _candidates(self, image_id: int) -> list[Path]:
        if self._images is None:
            return [self.folder / name for name in self._names.get(image_id, ())]
        record = self._images.get(image_id)
        file = file_of(self.folder, record) if record else None
        return [file] if file else []


def _same_size(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= 1  # pixel, which rounding may take


def require_all(
    image_ids: Iterable[int],
    exists: Callable[[int], bool],
    source: Path,
    problem: str,
    describe: Callable[[int], str] = str,
) -> None:
    """Raise InputError, with the number and the first five, for the ids that do not exist."""
    wanted = sorted({int(i) for i in image_ids})
    if missing := [i for i in wanted if not exists(i)]:
        first = f"{'the first five' if len(missing) > 5 else 'namely'} {', '.join(map(describe, missing[:5]))}"
        raise InputError(f"{source}: {len(missing)} of {len(wanted)} image_ids {problem}, {first}")


def _numbered_names(folder: Path) -> dict[int, list[str]]:
    """Map the number at the end of the file names in a folder, or, if it has none, in those below, to the names."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    names: dict[int, list[str]] = {}
    for place, _, files in os.walk(folder, onerror=refuse):
        below = os.path.relpath(place, folder)
        for name in files:
            number = number_of(name) if os.path.splitext(name)[1].lower() in EXTENSIONS else None
            if number is not None:
                names.setdefault(number, []).append(name if below == "." else os.path.join(below, name))
        if names and below == ".":
            break
    return names
