"""Find out which image a name, a number or a place in results means."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from posefix.core.errors import InputError
from posefix.core.files import first_repeated, read_json
from posefix.formats.coco import ImageRecord, read_images
from posefix.formats.parsed_file import ImageKind

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_ORIENTATION, _TURNED = 0x112, (5, 6, 7, 8)  # the EXIF tag, and its values for pictures that lie on their side
_DIGITS = 18  # of an id: more are no 64-bit number


class ImageIndex:
    """The images of a data set: ids, names and sizes.

    Args:
        records: the images by id.
        what: names the data set in messages.
        folder: where the files are, if sizes may have to be read from them.
        video: the images are the frames of a video, the ids their numbers from 0 on; of this (width, height).
        numbered: whether the ids are the data set's own, so that an id in results means the image that has it.
        upright: sizes are those after the rotation that EXIF asks for, as estimators see images; COCO ignores it.
    """

    def __init__(
        self,
        records: Mapping[int, ImageRecord],
        what: str,
        folder: Path | None = None,
        video: tuple[int, int] | None = None,
        numbered: bool = True,
        upright: bool = False,
    ) -> None:
        self.records, self.what, self.numbered, self.upright = dict(records), what, numbered, upright
        self._folder, self.video = folder, video
        self._by_name: dict[str, list[int]] = {}
        for image_id, record in self.records.items():
            for name in {base_name(record.file_name), without_extension(base_name(record.file_name))}:
                self._by_name.setdefault(name, []).append(image_id)

    @classmethod
    def of_annotations(cls, path: Path, folder: Path | None = None) -> ImageIndex:
        """The images that an annotations file lists; raises InputError as reading it does."""
        return cls(read_images(path, read_json(path)), str(path), folder)

    @classmethod
    def of_folder(cls, folder: Path) -> ImageIndex:
        """The images in a folder and the folders in it, sorted by name; InputError if there is no such folder.

        The id of an image is the number that its name ends in, where every image has one of its own; else its place.
        """
        if not os.path.isdir(folder):
            kind = "is a file" if os.path.exists(folder) else "does not exist"
            raise InputError(f"{folder}: {kind}, expected a folder of images")
        names = sorted(
            os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            for place, _, files in os.walk(folder)
            for name in files
            if os.path.splitext(name)[1].lower() in EXTENSIONS
        )
        ids, numbered = ids_of(names)
        records = {i: ImageRecord(name) for i, name in zip(ids, names, strict=True)}
        return cls(records, str(folder), folder, numbered=numbered, upright=True)

    @classmethod
    def of_video(cls, path: Path, size: tuple[int, int]) -> ImageIndex:
        """The frames of a video."""
        return cls({}, str(path), video=size)

    def match(
        self,
        keys: Sequence[int | str],
        kind: ImageKind,
        first_frame: int = 0,
        any_file_name: bool = False,
        skip: bool = False,
    ) -> np.ndarray:
        """Ids (M,) int64 of the images that M keys mean.

        A name means the image whose name it is, or ends it after a slash, with or without its extension. In a video it
        means the frame whose number, from ``first_frame`` on, it ends in. A place means the n-th image or frame, where
        the places are those of all images, or their names count from 0 or 1; else the image whose name ends in it.

        Args:
            keys: names, places or ids.
            kind: which of these they are.
            first_frame: the number that names give the first frame of a video.
            any_file_name: a single name may be that of the results: it then means the only image.
            skip: names that mean no image get ids below 0, which no image has, instead of an error.

        Raises:
            InputError: naming the first five that mean no image, or several.
        """
        if kind == "id":
            return np.array(keys, np.int64)
        if self.video is not None:
            return self._frames(keys, first_frame)
        if kind == "index":
            return self._placed([int(key) for key in keys])
        found = [self._named(str(key)) for key in keys]
        if any_file_name and not found[0] and len(keys) == len(self.records) == 1:
            return np.array(list(self.records), np.int64)
        if not skip:
            self._refuse(keys, [not ids for ids in found], "are not there")
        self._refuse(keys, [len(ids) > 1 for ids in found], "can each be several of its images")
        ids = [meant[0] if meant else -1 - place for place, meant in enumerate(found)]
        if (twice := first_repeated(ids)) is not None:
            names = [key for key, image_id in zip(keys, ids, strict=True) if image_id == twice]
            raise InputError(f"{self.what}: {names[0]!r} and {names[1]!r} mean the same image")
        return np.array(ids, np.int64)

    def size(self, image_id: int) -> tuple[int, int] | None:
        """Width and height of an image in pixels; None where they cannot be told."""
        if self.video is not None:
            return self.video
        record = self.records.get(image_id)
        if record is not None and record.width > 0 and record.height > 0:
            return record.width, record.height
        if record is None or self._folder is None:
            return None
        file = file_of(self._folder, record)
        found = _size_of(file, self.upright) if file else None
        if found is not None:
            self.records[image_id] = ImageRecord(record.file_name, *found)
        return found

    def _named(self, key: str) -> list[int]:
        """The images that a name can mean: those with the most folders in common, then those of the same extension."""
        name = base_name(key)
        found = {*self._by_name.get(name, ()), *self._by_name.get(without_extension(name), ())}
        folders = _parts(key)[-2::-1]

        def likeness(image_id: int) -> tuple[int, bool, bool]:
            *theirs, last = _parts(self.records[image_id].file_name)
            common = len(os.path.commonprefix([folders, theirs[::-1]]))  # noqa: RUF071 (lists of names)
            return common, last == name, common == len(theirs)

        likest = max(map(likeness, found), default=None)
        return [image_id for image_id in found if likeness(image_id) == likest]

    def _placed(self, places: list[int]) -> np.ndarray:
        ids, frames = list(self.records), np.array(places, np.int64)
        if not places or sorted(places) == list(range(len(ids))):
            return np.array(ids, np.int64)[frames]
        count_from_one = set(ids) == set(range(1, len(ids) + 1))
        for shift in (1, 0) if count_from_one else (0, 1):
            if self.numbered and all(place + shift in self.records for place in places):
                return frames + shift
        raise InputError(
            f"{self.what}: has {len(ids)} images, but the results, which do not name theirs, are of {len(places)} "
            f"frames, the last the {max(places) + 1}-th; there must be as many images in the same order, or image "
            "names that end in the numbers of the frames"
        )

    def _frames(self, keys: Sequence[int | str], first: int) -> np.ndarray:
        numbers = [key + first if isinstance(key, int) else number_of(key) for key in keys]
        self._refuse(keys, [number is None or number < first for number in numbers], "do not end in a frame number")
        return np.array(numbers, np.int64) - first

    def _refuse(self, keys: Sequence[int | str], wrong: Sequence[bool], what: str) -> None:
        """Raise InputError that names the first five wrong keys, if there are any."""
        if any(wrong):
            named = [repr(key)[:100] for key, is_wrong in zip(keys, wrong, strict=True) if is_wrong]
            raise InputError(
                f"{self.what}: {len(named)} of {len(keys)} images that the results name {what}, "
                f"{'the first five' if len(named) > 5 else 'namely'} {', '.join(named[:5])}"
            )


def ids_of(names: Sequence[str]) -> tuple[list[int], bool]:
    """Ids for images: the numbers that their names end in, if each has its own, else places; and whether they are."""
    numbers = [number for number in map(number_of, names) if number is not None]
    numbered = len(set(numbers)) == len(names)
    return (numbers if numbered else list(range(len(names)))), numbered


def number_of(name: str) -> int | None:
    """The number that a file name ends in before its extension: 139 of ``a/COCO_val2014_000000000139.jpg``."""
    stem = without_extension(base_name(name))
    digits = stem[len(stem.rstrip("0123456789")) :]
    significant = digits.lstrip("0")
    return int(significant or "0") if digits and len(significant) <= _DIGITS else None


def file_of(folder: Path, record: ImageRecord) -> Path | None:
    """The file of an image in a folder, or, if it is not there, that of its base name alone; None if there is none."""
    named = (folder / record.file_name, folder / base_name(record.file_name))
    return next((path for path in named if os.path.isfile(path)), None)


def base_name(name: str) -> str:
    """The last part of an image's name, without folders."""
    return (_parts(name) or [""])[-1]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]


def without_extension(name: str) -> str:
    """A name without the extension of an image file; other endings stay."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in EXTENSIONS else name


def _size_of(path: Path, upright: bool) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            turned = upright and image.getexif().get(_ORIENTATION, 1) in _TURNED
            width, height = (int(length) for length in image.size)
            return (height, width) if turned else (width, height)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError):
        return None
